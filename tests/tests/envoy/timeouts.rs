//! The timeouts of a route apply, and without a timeout no stream is cut.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::http2;
use sluice_tests::upstream::{Reply, Upstream};

fn configuration() -> Value {
    json!({
        "version": 1,
        "routes": [
            { "name": "login", "match": { "path": { "prefix": "/login" } }, "timeouts": { "request": "500ms" } },
            { "name": "tries", "match": { "path": { "prefix": "/tries" } },
              "timeouts": { "request": "10s", "per_try": "300ms" },
              "retry": { "on": ["reset"], "attempts": 3 } },
            { "name": "endless", "match": { "path": { "prefix": "/endless" } }, "timeouts": { "request": "0s" } },
            { "name": "logs", "match": { "path": { "prefix": "/logs" } }, "buffering": "off" },
        ]
    })
}

fn start(upstream: &Upstream) -> Envoy {
    Envoy::start(Bootstrap::example("static", upstream.port).configured(&configuration()))
}

/// Sends a chunked body with one line every half second.
fn lines(reply: &mut Reply, count: usize) {
    reply.send_headers(200, &[("transfer-encoding", "chunked"), ("content-type", "text/plain")]);
    for number in 0..count {
        reply.send_chunk(format!("line {number}\n").as_bytes());
        reply.pause(500);
    }
    reply.send_chunk(b"");
}

/// The timeout of a later ordinary request shows that the upgrade's timeout would have fired.
#[test]
fn an_accepted_upgrade_outlives_the_request_timeout() {
    let upstream = Upstream::start(|request, reply| {
        if request.header("upgrade") != Some("websocket") || request.path().ends_with("silent") {
            reply.pause(1500);
            return reply.respond(200, &[], b"late");
        }
        reply.send_headers(101, &[("upgrade", "websocket"), ("connection", "upgrade")]);
        let bytes = reply.read();
        reply.write(&bytes);
        reply.close();
    });
    let envoy = start(&upstream);
    let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
    let mut chat = Client::connect(envoy.port);
    chat.send("GET", "/login", &upgrade);
    assert_eq!(chat.receive().status, 101);
    assert_eq!(Client::get_once(envoy.port, "/login").status, 504);
    chat.write(b"still here");
    assert_eq!(chat.read_some(16), b"still here");
    let mut silent = Client::connect(envoy.port);
    silent.send("GET", "/login?silent", &upgrade);
    assert_eq!(silent.receive().status, 504);
}

#[test]
fn a_route_has_its_own_request_timeout() {
    let upstream = Upstream::start(|_, reply| {
        reply.pause(1500);
        reply.respond(200, &[], b"late");
    });
    let envoy = start(&upstream);
    let login = Client::get_once(envoy.port, "/login");
    assert_eq!(login.status, 504);
    let limit = Duration::from_millis(450)..Duration::from_millis(1200);
    assert!(limit.contains(&login.end_after), "{:?}", login.end_after);
    assert_eq!(Client::get_once(envoy.port, "/other").status, 200);
    let login = http2::Client::connect(envoy.port).get("/login");
    assert_eq!((login.status, login.reset), (504, None));
}

#[test]
fn each_attempt_has_its_timeout_and_is_retried() {
    let upstream = Upstream::start(|_, reply| {
        if reply.earlier_requests < 2 {
            reply.pause(2000);
        }
        reply.respond(200, &[], b"at last");
    });
    let envoy = start(&upstream);
    let response = Client::get_once(envoy.port, "/tries");
    assert_eq!((response.status, &response.body.bytes[..]), (200, &b"at last"[..]));
    assert_eq!(upstream.requests("/tries").len(), 3);
    assert!(response.end_after < Duration::from_millis(1800), "{:?}", response.end_after);
}

#[test]
fn a_timeout_within_a_response_leaves_it_visibly_incomplete() {
    let upstream = Upstream::start(|_, reply| lines(reply, 6));
    let envoy = start(&upstream);
    let cut = Client::get_once(envoy.port, "/login");
    assert_eq!((cut.status, cut.body.complete), (200, false));
    assert!(cut.body.bytes.starts_with(b"line 0\n"));
    let cut = http2::Client::connect(envoy.port).get("/login");
    assert_eq!((cut.status, cut.reset.is_some()), (200, true));
}

#[test]
fn streams_outlive_envoys_default_timeout() {
    // Envoy's default for the whole response is 15 s.
    let upstream = Upstream::start(|_, reply| lines(reply, 36));
    let envoy = start(&upstream);
    let [endless, logs, other] = ["/endless", "/logs", "/other"].map(|path| {
        let mut client = Client::connect(envoy.port);
        client.send("GET", path, &[]);
        std::thread::spawn(move || client.receive())
    });
    for stream in [endless, logs] {
        let stream = stream.join().unwrap();
        assert!(stream.body.complete);
        assert_eq!(stream.body.chunks.len(), 36, "one chunk for each line");
        assert!(stream.end_after > Duration::from_secs(17));
    }
    assert!(!other.join().unwrap().body.complete, "without the filter Envoy cuts it");
}
