//! Configuration pushes under load: no request fails, and no request uses a configuration that a
//! later one has replaced.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult};
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

const DURATION: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(200);
/// The `refresh` of the configurations: the time within which a worker applies a change.
const REFRESH: Duration = Duration::from_millis(100);

/// A configuration with a different request timeout for each generation, which Envoy sends to the
/// upstream. Each generation also drains the connections of the previous one.
fn generation(number: u64) -> Value {
    json!({
        "version": 1,
        "defaults": { "timeouts": { "request": format!("{}ms", 100_000 + number) } },
        "drain": { "refresh": "100ms",
                   "state": { "epoch": number, "mode": "reload", "window": "50ms" } }
    })
}

/// The generation that a request used; the upstream returns it as the response body.
fn decided_by(body: &[u8]) -> u64 {
    let limit = String::from_utf8_lossy(body).parse::<u64>().expect("the upstream echoes a number");
    limit - 100_000
}

#[test]
fn no_request_fails_and_none_uses_a_replaced_configuration() {
    let upstream = Upstream::start(|request, reply| {
        let limit = request.header("x-envoy-expected-rq-timeout-ms").unwrap_or("none").to_owned();
        reply.respond(200, &[], limit.as_bytes());
    });
    let bootstrap = Bootstrap::discovered(upstream.port, &generation(1));
    let mut envoy = Envoy::start_with_workers(bootstrap, 4);
    let port = envoy.port;
    let settled = AtomicU64::new(1);
    let running = AtomicBool::new(true);
    let (requests, closes) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut last = 1;
    scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(port);
                while running.load(Ordering::Relaxed) {
                    let oldest = settled.load(Ordering::SeqCst);
                    let response = client.get("/");
                    assert_eq!(response.status, 200);
                    let by = decided_by(&response.body.bytes);
                    assert!(by >= oldest, "used generation {by} when {oldest} was in force");
                    requests.fetch_add(1, Ordering::Relaxed);
                    if response.closes() {
                        closes.fetch_add(1, Ordering::Relaxed);
                        client = Client::connect(port);
                    }
                    sleep(Duration::from_millis(2));
                }
            });
        }
        let start = Instant::now();
        while start.elapsed() < DURATION {
            last += 1;
            let began = Instant::now();
            let pushed = envoy.push(&generation(last));
            sleep(REFRESH);
            settled.store(last, Ordering::SeqCst);
            if pushed != PushResult::Accepted {
                running.store(false, Ordering::Relaxed);
                panic!("generation {last} was rejected");
            }
            sleep(INTERVAL.saturating_sub(began.elapsed()));
        }
        running.store(false, Ordering::Relaxed);
    });
    envoy.wait_for_stat("wasmcustom.sluice.drain.epoch", last);
    assert_eq!(envoy.stat("wasmcustom.sluice.drain.stale"), 0);
    assert!(last > 50, "{last} generations");
    assert!(requests.into_inner() > 10_000);
    assert!(closes.into_inner() > last, "the drains closed connections");
}
