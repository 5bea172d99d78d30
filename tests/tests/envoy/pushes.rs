//! Configurations pushed under load: no request fails, and none is decided by a configuration that
//! a later one has replaced.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, Pushed};
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

const LASTING: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(200);
/// The `refresh` of the configurations: how long a worker may take to follow.
const REFRESH: Duration = Duration::from_millis(100);

/// Each generation has a time limit of its own, which Envoy tells the upstream, and drains the
/// connections of the one before.
fn generation(number: u64) -> Value {
    json!({
        "version": 1,
        "defaults": { "timeouts": { "request": format!("{}ms", 100_000 + number) } },
        "drain": { "refresh": "100ms",
                   "state": { "epoch": number, "mode": "reload", "window": "50ms" } }
    })
}

/// The generation that decided a request, which the upstream sends back as its body.
fn decided_by(body: &[u8]) -> u64 {
    let limit = String::from_utf8_lossy(body).parse::<u64>().expect("the upstream echoes a number");
    limit - 100_000
}

#[test]
fn no_request_fails_and_none_is_decided_by_an_old_configuration() {
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
                    assert!(by >= oldest, "decided by {by} when {oldest} was in force");
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
        while start.elapsed() < LASTING {
            last += 1;
            let began = Instant::now();
            let pushed = envoy.push(&generation(last));
            sleep(REFRESH);
            settled.store(last, Ordering::SeqCst);
            if pushed != Pushed::Accepted {
                running.store(false, Ordering::Relaxed);
                panic!("generation {last} was refused");
            }
            sleep(EVERY.saturating_sub(began.elapsed()));
        }
        running.store(false, Ordering::Relaxed);
    });
    envoy.await_stat("wasmcustom.sluice.drain.epoch", last);
    assert_eq!(envoy.stat("wasmcustom.sluice.drain.stale"), 0);
    assert!(last > 50, "{last} generations");
    assert!(requests.into_inner() > 10_000);
    assert!(closes.into_inner() > last, "the drains did close connections");
}
