//! A drain closes each old connection once, within its window, and no request fails.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult};
use sluice_tests::http1::Client;
use sluice_tests::http2;
use sluice_tests::upstream::Upstream;

const CLOSED: &str = "wasmcustom.sluice.route.default.drain_closed";

fn calm() -> Value {
    json!({ "version": 1, "drain": { "refresh": "100ms" },
            "health": { "path": "/health", "drain_status": 503 } })
}

fn draining(state: Value) -> Value {
    let mut configuration = calm();
    configuration["drain"]["state"] = state;
    configuration
}

fn reload(epoch: u64, window: &str) -> Value {
    draining(json!({ "epoch": epoch, "mode": "reload", "window": window }))
}

/// Sends requests until the connection closes and returns the time it took; `None` after `time`.
fn requests_until_close(client: &mut Client, time: Duration) -> Option<Duration> {
    let start = Instant::now();
    while start.elapsed() < time {
        let response = client.get("/");
        assert_eq!(response.status, 200);
        assert_eq!(response.header("x-sluice-drain"), None, "the bridge removes the marker");
        if response.closes() {
            assert!(
                client.closed_within(Duration::from_secs(2)),
                "the close was announced but did not happen"
            );
            return Some(start.elapsed());
        }
        sleep(Duration::from_millis(20));
    }
    None
}

#[test]
fn old_connections_close_within_the_window_and_new_ones_stay_open() {
    let upstream = Upstream::ok();
    let mut envoy = Envoy::start_with_workers(Bootstrap::discovered(upstream.port, &calm()), 2);
    let mut old: Vec<Client> = (0..12).map(|_| Client::connect(envoy.port)).collect();
    for client in &mut old {
        assert_eq!(requests_until_close(client, Duration::from_millis(40)), None, "no drain yet");
    }
    assert_eq!(envoy.push(&reload(1, "2s")), PushResult::Accepted);
    sleep(Duration::from_millis(300));
    let mut new: Vec<Client> = (0..8).map(|_| Client::connect(envoy.port)).collect();
    let threads: Vec<_> = old
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || requests_until_close(&mut client, Duration::from_secs(6)))
        })
        .collect();
    let closes = threads.into_iter().map(|thread| thread.join().unwrap());
    let mut closes: Vec<_> =
        closes.map(|close| close.expect("an old connection stayed open")).collect();
    closes.sort();
    assert!(closes[11] < Duration::from_millis(2500), "{closes:?}");
    // Twelve random moments fall within one quarter of the window three times in a million.
    assert!(closes[11] - closes[0] > Duration::from_millis(500), "not all at once: {closes:?}");
    for client in &mut new {
        assert_eq!(requests_until_close(client, Duration::from_millis(200)), None);
    }
    envoy.wait_for_stat(CLOSED, 12);
    envoy.wait_for_stat("wasmcustom.sluice.drain.epoch", 1);
}

#[test]
fn a_repeated_epoch_changes_nothing_and_a_higher_epoch_drains_again() {
    let upstream = Upstream::ok();
    let mut envoy = Envoy::start(Bootstrap::discovered(upstream.port, &reload(5, "1ms")));
    let mut client = Client::connect(envoy.port);
    assert_eq!(requests_until_close(&mut client, Duration::from_millis(300)), None);
    let mut again = reload(5, "1ms");
    again["routes"] = json!([{ "name": "other", "match": { "path": { "exact": "/other" } } }]);
    for unchanged in [again, reload(4, "1ms")] {
        assert_eq!(envoy.push(&unchanged), PushResult::Accepted);
        assert_eq!(requests_until_close(&mut client, Duration::from_millis(300)), None);
    }
    assert_eq!(envoy.push(&reload(6, "1ms")), PushResult::Accepted);
    assert!(requests_until_close(&mut client, Duration::from_secs(3)).is_some());
}

#[test]
fn http_2_connections_get_goaway_and_finish_their_streams() {
    let upstream = Upstream::start(|request, reply| {
        if request.path() == "/slow" {
            reply.pause(1500);
        }
        reply.respond(200, &[], request.path().as_bytes());
    });
    let mut envoy = Envoy::start(Bootstrap::discovered(upstream.port, &calm()));
    let mut old = http2::Client::connect(envoy.port);
    assert_eq!(old.get("/").status, 200);
    assert!(!old.goaway_within(Duration::from_millis(300)), "no drain yet");
    let slow: Vec<_> = (0..3).map(|_| old.start("GET", "/slow", &[], Some(b""))).collect();
    assert_eq!(envoy.push(&reload(1, "1ms")), PushResult::Accepted);
    sleep(Duration::from_millis(300));
    let last = old.get("/last");
    assert_eq!((last.status, last.reset), (200, None));
    assert_eq!(last.header("connection"), None);
    for pending in slow {
        let response = old.finish(pending);
        assert_eq!((&response.body[..], response.reset), (&b"/slow"[..], None));
    }
    assert!(old.goaway_within(Duration::from_secs(5)), "no GOAWAY");
    let mut new = http2::Client::connect(envoy.port);
    for _ in 0..5 {
        assert_eq!(new.get("/").status, 200);
    }
    assert!(!new.goaway_within(Duration::from_millis(300)));
}

#[test]
fn terminate_closes_every_connection_and_fails_the_health_check() {
    let upstream = Upstream::start(|request, reply| {
        if request.path() == "/slow" {
            reply.pause(1000);
        }
        reply.respond(200, &[], b"done");
    });
    let mut envoy = Envoy::start(Bootstrap::discovered(upstream.port, &calm()));
    assert_eq!(Client::get_once(envoy.port, "/health").status, 200, "the upstream answers");
    let mut slow = Client::connect(envoy.port);
    slow.send("GET", "/slow", &[]);
    sleep(Duration::from_millis(100));
    let terminate = draining(json!({ "epoch": 1, "mode": "terminate", "window": "1ms" }));
    assert_eq!(envoy.push(&terminate), PushResult::Accepted);
    sleep(Duration::from_millis(200));
    let health = Client::get_once(envoy.port, "/health");
    let report: Value = serde_json::from_slice(&health.body.bytes).unwrap();
    assert_eq!(health.status, 503);
    assert_eq!((&report["mode"], &report["epoch"]), (&json!("terminate"), &json!(1)));
    assert_eq!((&report["instance"], &report["in_flight"]), (&json!("proxy-1"), &json!(1)));
    let response = slow.receive();
    assert_eq!((response.status, &response.body.bytes[..]), (200, &b"done"[..]));
    assert!(response.closes(), "a request in flight completes, then its connection closes");
    let mut new = Client::connect(envoy.port);
    assert!(new.get("/").closes());
    assert!(new.closed_within(Duration::from_secs(2)));
}

#[test]
fn a_kept_alive_connection_of_http_1_0_closes() {
    let upstream = Upstream::ok();
    let mut envoy = Envoy::start(Bootstrap::discovered(upstream.port, &calm()));
    let mut client = Client::connect(envoy.port);
    let mut get = || {
        client.write(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        client.receive()
    };
    assert_eq!(get().header("connection"), Some("keep-alive"));
    assert_eq!(envoy.push(&reload(1, "1ms")), PushResult::Accepted);
    envoy.wait_for_stat("wasmcustom.sluice.drain.epoch", 1);
    assert_eq!(get().header("connection"), Some("close"));
    assert!(client.closed_within(Duration::from_secs(2)));
}

#[test]
fn an_upgraded_connection_is_not_closed() {
    let upstream = Upstream::start(|request, reply| {
        if request.header("upgrade").is_none() {
            return reply.respond(200, &[], b"ok");
        }
        reply.send_headers(101, &[("upgrade", "websocket"), ("connection", "upgrade")]);
        for _ in 0..3 {
            let bytes = reply.read();
            reply.write(&bytes);
        }
        reply.close();
    });
    let terminate = draining(json!({ "epoch": 1, "mode": "terminate", "window": "1ms" }));
    let envoy = Envoy::start(Bootstrap::discovered(upstream.port, &terminate));
    let mut client = Client::connect(envoy.port);
    client.send("GET", "/chat", &[("upgrade", "websocket"), ("connection", "upgrade")]);
    let response = client.receive();
    assert_eq!((response.status, response.header("x-sluice-drain")), (101, None));
    for word in [&b"one"[..], b"two", b"three"] {
        client.write(word);
        assert_eq!(client.read_some(16), word);
    }
    assert!(Client::get_once(envoy.port, "/").closes());
    envoy.wait_for_stat(CLOSED, 1);
}

#[test]
fn a_missing_bridge_is_logged_and_counted() {
    let upstream = Upstream::ok();
    let terminate = draining(json!({ "epoch": 1, "mode": "terminate", "window": "1ms" }));
    let bootstrap = Bootstrap::discovered(upstream.port, &terminate).without("sluice-drain-bridge");
    let envoy = Envoy::start(bootstrap);
    let mut client = Client::connect(envoy.port);
    for _ in 0..3 {
        assert!(!client.get("/").closes(), "without the bridge nothing closes it");
    }
    envoy.wait_for_stat("wasmcustom.sluice.drain.bridge_missing", 3);
    let log = envoy.log();
    let lines = log.lines().filter(|line| line.contains("bridge")).count();
    assert_eq!(lines, 1, "logged once, not for each stream");
}
