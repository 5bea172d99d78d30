//! Endless streams in a drain: a route with `"drain": "cut"` ends a stream between two events, and
//! the client receives each event exactly once; a route with `wait` leaves the stream alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult};
use sluice_tests::upstream::{Reply, Request, Upstream};
use sluice_tests::{eventually, http1, http2};

const EVENTS: usize = 100_000;
const DRAINS: usize = 10;

fn configuration(epoch: usize) -> Value {
    json!({
        "version": 1,
        "routes": [
            { "name": "events", "match": { "path": { "prefix": "/events" } }, "buffering": "off",
              "timeouts": { "read": "10s" }, "drain": "cut" },
            { "name": "lines", "match": { "path": { "prefix": "/lines" } }, "buffering": "off", "drain": "cut" },
            { "name": "waits", "match": { "path": { "prefix": "/waits" } }, "buffering": "off" },
        ],
        "drain": { "refresh": "50ms", "state": { "epoch": epoch, "mode": "reload", "window": "200ms" } },
    })
}

fn event(number: usize) -> String {
    format!("id: {number}\ndata: {number} {number} {number}\n\n")
}

/// Sends the events after `last-event-id`, up to `allowed`, in chunks that end at arbitrary bytes.
fn events(request: &Request, reply: &mut Reply, allowed: &AtomicUsize) {
    let last = request.header("last-event-id").and_then(|id| id.parse().ok()).unwrap_or(0);
    reply.send_headers(
        200,
        &[("content-type", "text/event-stream"), ("transfer-encoding", "chunked")],
    );
    let mut next: usize = last + 1;
    let mut pending = Vec::new();
    while next <= EVENTS && reply.is_open() {
        let until = (next + 200).min(allowed.load(Ordering::Relaxed) + 1);
        pending.extend((next..until).flat_map(|number| event(number).into_bytes()));
        next = next.max(until);
        while pending.len() > 1000 {
            let rest = pending.split_off(1 + (next * 7919 + pending.len()) % 997);
            reply.send_chunk(&std::mem::replace(&mut pending, rest));
        }
        if until <= next && pending.is_empty() {
            reply.send_chunk(b": nothing new\n\n");
        } else {
            reply.send_chunk(&std::mem::take(&mut pending));
        }
        reply.pause(5);
    }
    reply.send_chunk(b"");
}

/// Checks the events of one connection and returns the number of the last one.
fn check(body: &[u8], last: usize) -> usize {
    let text = std::str::from_utf8(body).expect("text");
    assert!(
        text.is_empty() || text.ends_with("\n\n"),
        "torn: {:?}",
        &text[text.len().saturating_sub(80)..]
    );
    let events = text.split_inclusive("\n\n").filter(|event| !event.starts_with(':'));
    events.fold(last, |last, found| {
        assert_eq!(found, event(last + 1), "after {last}");
        last + 1
    })
}

/// Follows the events over HTTP/1.1 to the last one and counts the cuts.
fn follow(port: u16, cuts: &AtomicUsize) {
    let mut last = 0;
    while last < EVENTS {
        let mut client = http1::Client::connect(port).with_timeout(Duration::from_secs(60));
        client.send("GET", "/events", &[("last-event-id", &last.to_string())]);
        let response = client.receive();
        assert_eq!(response.status, 200);
        last = check(&response.body.bytes, last);
        assert_eq!(response.body.complete, last == EVENTS);
        cuts.fetch_add(usize::from(!response.body.complete), Ordering::Relaxed);
    }
}

/// Follows the events over HTTP/2, on one connection until it gets GOAWAY, and counts the
/// reconnects.
fn follow_over_http_2(port: u16, moves: &AtomicUsize) {
    let mut last = 0;
    let connect = || http2::Client::connect(port).with_timeout(Duration::from_secs(60));
    let mut client = connect();
    while last < EVENTS {
        let id = last.to_string();
        let headers = [("last-event-id", id.as_str())];
        let Ok(pending) = client.try_start("GET", "/events", &headers, Some(b"")) else {
            client = connect();
            moves.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        // A stream that was opened after the GOAWAY was never processed.
        let Some(response) = client.try_finish(pending) else { continue };
        assert_eq!(response.status, 200);
        last = check(&response.body, last);
    }
}

#[test]
fn ten_drains_lose_none_of_a_hundred_thousand_events() {
    let allowed = Arc::new(AtomicUsize::new(1000));
    let released = allowed.clone();
    let upstream = Upstream::start(move |request, reply| events(request, reply, &released));
    let mut envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration(1)));
    let port = envoy.port;
    let moved: [Arc<AtomicUsize>; 3] = Default::default();
    let [one, two, three] = moved.clone();
    let clients = [
        thread::spawn(move || follow(port, &one)),
        thread::spawn(move || follow(port, &two)),
        thread::spawn(move || follow_over_http_2(port, &three)),
    ];
    for drain in 1..=DRAINS {
        // The worker has observed the connections of all three clients.
        envoy.wait_for_stat("http.ingress.downstream_rq_active", 3);
        assert_eq!(envoy.push(&configuration(drain + 1)), PushResult::Accepted);
        allowed.store(drain * (EVENTS / DRAINS) - 1000, Ordering::Relaxed);
        for client in &moved {
            eventually("each client to reconnect", || {
                (client.load(Ordering::Relaxed) >= drain).then_some(())
            });
        }
    }
    allowed.store(EVENTS, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("an unbroken sequence"));
    assert!(envoy.stat("wasmcustom.sluice.route.events.ended.drain_cut") >= 3 * DRAINS as u64);
    assert_eq!(envoy.stat("wasmcustom.sluice.route.events.ended.read_timeout"), 0);
}

#[test]
fn ndjson_is_cut_between_lines_and_waiting_routes_are_not_cut() {
    let upstream = Upstream::start(|request, reply| {
        let kind = match request.path() {
            "/lines/compressed" => {
                [("content-type", "application/x-ndjson"), ("content-encoding", "gzip")]
            }
            _ => [("content-type", "application/x-ndjson"), ("x-a", "b")],
        };
        reply.send_headers(200, &[&kind[..], &[("transfer-encoding", "chunked")]].concat());
        for number in 0..40 {
            reply.send_chunk(format!("{{\"number\":{number}}}\n{{\"num").as_bytes());
            reply.pause(50);
            reply.send_chunk(b"ber\":\"half\"}\n");
        }
        reply.send_chunk(b"");
    });
    let mut envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration(1)));
    let streams = ["/lines", "/lines/compressed", "/waits"].map(|path| {
        let mut client = http1::Client::connect(envoy.port);
        client.send("GET", path, &[]);
        thread::spawn(move || client.receive())
    });
    envoy.wait_for_stat("http.ingress.downstream_rq_active", 3);
    assert_eq!(envoy.push(&configuration(2)), PushResult::Accepted);
    let [lines, compressed, waits] = streams.map(|stream| stream.join().expect("a response"));
    assert!(!lines.body.complete);
    let text = String::from_utf8(lines.body.bytes).expect("text");
    assert!(text.ends_with('\n'), "{text:?}");
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{text:?}");
    assert!(compressed.body.complete && waits.body.complete);
}

/// When the drain ends, some streams are idle and others are inside an event.
#[test]
fn no_stream_hangs_after_a_drain_is_canceled() {
    let upstream = Upstream::start(|_, reply| {
        reply.send_headers(
            200,
            &[("content-type", "text/event-stream"), ("transfer-encoding", "chunked")],
        );
        for number in 1..40 {
            let event = event(number);
            let (begin, end) = event.split_at(5);
            reply.send_chunk(begin.as_bytes());
            reply.pause(25);
            reply.send_chunk(end.as_bytes());
            reply.pause(25);
        }
        reply.send_chunk(b"");
    });
    let mut envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration(1)));
    let streams: Vec<_> = (0..40)
        .map(|_| {
            let mut client = http1::Client::connect(envoy.port);
            client.send("GET", "/events", &[]);
            thread::spawn(move || client.receive())
        })
        .collect();
    envoy.wait_for_stat("http.ingress.downstream_rq_active", 40);
    assert_eq!(envoy.push(&configuration(2)), PushResult::Accepted);
    let mut off = configuration(3);
    off["drain"]["state"] = json!({ "epoch": 3, "mode": "off" });
    assert_eq!(envoy.push(&off), PushResult::Accepted);
    for stream in streams {
        let body = stream.join().expect("an end").body;
        assert_eq!(check(&body.bytes, 0) == 39, body.complete);
    }
}
