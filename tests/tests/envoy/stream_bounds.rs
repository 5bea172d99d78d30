//! A route with `"streams": "finish"`: in a drain, each kind of stream has its time, and then ends
//! at a boundary that the client can see, or a second later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult};
use sluice_tests::upstream::{Reply, Request, Upstream};
use sluice_tests::{grpc_health, http1, http2};

const LAST: &str = "event: bye\ndata: {}\n\n";
const CLOSE: [u8; 4] = [0x88, 2, 0x03, 0xf4];
const UPGRADE: [(&str, &str); 2] = [("upgrade", "websocket"), ("connection", "upgrade")];

fn configuration(drain: &Value) -> Value {
    json!({
        "version": 1,
        "defaults": {
            "buffering": "off",
            "drain": { "streams": "finish", "within": "1s", "last_event": LAST },
        },
        "drain": drain,
    })
}

fn terminate() -> Value {
    configuration(&json!({
        "refresh": "50ms", "state": { "epoch": 1, "mode": "terminate", "window": "0s" }
    }))
}

fn event(number: usize) -> Vec<u8> {
    format!("id: {number}\ndata: {number}\n\n").into_bytes()
}

fn line(number: usize) -> Vec<u8> {
    format!("{{\"number\":{number}}}\n").into_bytes()
}

fn message(number: usize) -> Vec<u8> {
    let payload = number.to_string().into_bytes();
    [&[0, 0, 0, 0, payload.len() as u8], &payload[..]].concat()
}

/// A frame of a server, compressed or not.
fn frame(number: usize) -> Vec<u8> {
    let payload = number.to_string().into_bytes();
    let first = if number.is_multiple_of(3) { 0xc1 } else { 0x81 };
    [&[first, payload.len() as u8], &payload[..]].concat()
}

/// The pieces of a numbered stream. They end at arbitrary bytes.
fn pieces(item: fn(usize) -> Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
    let mut pending = Vec::new();
    (0..2_000_usize).map(move |number| {
        pending.extend(item(number));
        let keep = number % pending.len().min(5);
        let rest = pending.split_off(pending.len() - keep);
        std::mem::replace(&mut pending, rest)
    })
}

fn stream(reply: &mut Reply, content_type: &str, item: fn(usize) -> Vec<u8>) {
    let chunked = [("content-type", content_type), ("transfer-encoding", "chunked")];
    reply.send_headers(200, &chunked);
    for piece in pieces(item) {
        if !reply.is_open() {
            return;
        }
        if !piece.is_empty() {
            reply.send_chunk(&piece);
        }
        reply.pause(10);
    }
}

fn serve(request: &Request, reply: &mut Reply, is_draining: &AtomicBool) {
    let wait = |reply: &Reply| {
        while !is_draining.load(Ordering::Relaxed) {
            reply.pause(10);
        }
    };
    match request.path() {
        "/events" => stream(reply, "text/event-stream", event),
        "/lines" => stream(reply, "application/x-ndjson", line),
        "/grpc" => stream(reply, "application/grpc", message),
        "/opaque" => stream(reply, "text/html", event),
        "/short" => {
            reply.send_headers(
                200,
                &[("content-type", "text/event-stream"), ("transfer-encoding", "chunked")],
            );
            reply.send_chunk(&event(0));
            wait(reply);
            reply.pause(500);
            reply.send_chunk(&event(1));
            reply.send_chunk(b"");
        }
        "/silent" => {
            reply.send_headers(
                200,
                &[("content-type", "text/event-stream"), ("transfer-encoding", "chunked")],
            );
            reply.send_chunk(&event(0));
            reply.pause(20_000);
        }
        "/download" => {
            reply.send_headers(200, &[("content-length", "1000000")]);
            while reply.is_open() {
                reply.write(b"0123456789");
                reply.pause(10);
            }
        }
        "/never" => reply.pause(20_000),
        path @ ("/socket" | "/broken") => {
            reply.send_headers(101, &UPGRADE);
            for piece in pieces(if path == "/socket" { frame } else { event }) {
                reply.write(&piece);
                reply.pause(10);
            }
        }
        _ => reply.respond(200, &[], b"ok"),
    }
    reply.close();
}

/// What a client received: the status, the body, and whether it ended as a complete response.
struct Received {
    status: u16,
    body: Vec<u8>,
    complete: bool,
}

fn over_http_1(port: u16, path: &str) -> Received {
    let mut client = http1::Client::connect(port).with_timeout(Duration::from_secs(60));
    let is_socket = matches!(path, "/socket" | "/broken");
    client.send("GET", path, if is_socket { &UPGRADE } else { &[] });
    let response = client.receive();
    let (body, complete) = match is_socket {
        true => (client.read_to_end(), false),
        false => (response.body.bytes, response.body.complete),
    };
    Received { status: response.status, body, complete }
}

fn over_http_2(port: u16, path: &str) -> Received {
    let client = http2::Client::connect(port).with_timeout(Duration::from_secs(60));
    let pending = match path {
        "/socket" | "/broken" => {
            // Envoy accepts an extended CONNECT only after its settings have arrived.
            thread::sleep(Duration::from_millis(100));
            let mut request = http::Request::connect(format!("http://example.com{path}")).body(());
            let request = request.as_mut().expect("a well-formed request");
            request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
            let request = std::mem::take(request);
            let (pending, stream) = client.try_open(request, false).expect("an open connection");
            // The client's side stays open.
            std::mem::forget(stream);
            pending
        }
        _ => client.start("GET", path, &[], Some(b"")),
    };
    let response = client.finish(pending);
    Received { status: response.status, body: response.body, complete: response.reset.is_none() }
}

/// Whether the bytes are the start of the numbered stream, with whole items only.
fn is_whole(bytes: &[u8], item: fn(usize) -> Vec<u8>) -> bool {
    let mut expected = Vec::new();
    let numbers = (0..2_000).take_while(|number| {
        let is_shorter = expected.len() < bytes.len();
        if is_shorter {
            expected.extend(item(*number));
        }
        is_shorter
    });
    let count = numbers.count();
    assert!(count > 20, "only {count} items: a stream may last for a second");
    expected == bytes
}

fn check(path: &str, received: &Received, is_http_2: bool) {
    let Received { status, body, complete } = received;
    let text = String::from_utf8_lossy(&body[body.len().saturating_sub(60)..]).into_owned();
    let place = format!("{path} ended with {text:?}");
    let upgraded = if is_http_2 { 200 } else { 101 };
    let expected = match path {
        "/never" => 503,
        "/socket" | "/broken" => upgraded,
        _ => 200,
    };
    assert_eq!(*status, expected, "{place}");
    assert_eq!(*complete, matches!(path, "/short" | "/never"), "{place}");
    let without = |last: &[u8]| body.strip_suffix(last).unwrap_or_else(|| panic!("{place}"));
    match path {
        "/events" => assert!(is_whole(without(LAST.as_bytes()), event), "{place}"),
        "/lines" => assert!(is_whole(body, line), "{place}"),
        "/grpc" => assert!(is_whole(body, message), "{place}"),
        "/socket" => assert!(is_whole(without(&CLOSE), frame), "{place}"),
        "/short" => assert_eq!(*body, [event(0), event(1)].concat()),
        "/silent" => assert_eq!(*body, event(0), "a silent stream gets no last event"),
        "/broken" => assert!(!body.ends_with(&CLOSE), "{place}"),
        "/never" => assert!(body.starts_with(b"drain_deadline"), "{place}"),
        _ => assert!(!body.is_empty()),
    }
}

const PATHS: [&str; 10] = [
    "/events",
    "/lines",
    "/grpc",
    "/socket",
    "/short",
    "/silent",
    "/opaque",
    "/download",
    "/broken",
    "/never",
];

fn streams_end(is_http_2: bool, receive: fn(u16, &str) -> Received) {
    let is_draining = Arc::new(AtomicBool::new(false));
    let seen = is_draining.clone();
    let upstream = Upstream::start(move |request, reply| serve(request, reply, &seen));
    let before = configuration(&json!({ "refresh": "50ms" }));
    let options = json!({
        "http2_protocol_options": { "allow_connect": true },
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
    });
    let bootstrap = Bootstrap::discovered(upstream.port, &before).with_connection_manager(&options);
    let mut envoy = Envoy::start(bootstrap);
    let port = envoy.port;
    let clients = PATHS.map(|path| (path, thread::spawn(move || receive(port, path))));
    envoy.wait_for_stat("http.ingress.downstream_rq_active", PATHS.len() as u64);
    assert_eq!(envoy.push(&terminate()), PushResult::Accepted);
    envoy.wait_for_stat("wasmcustom.sluice.drain.epoch", 1);
    is_draining.store(true, Ordering::Relaxed);
    for (path, client) in clients {
        check(path, &client.join().expect("a response"), is_http_2);
    }
    let ended = |reason: &str| format!("wasmcustom.sluice.route.default.ended.{reason}");
    envoy.wait_for_stat(&ended("drain_cut"), 5);
    envoy.wait_for_stat(&ended("drain_deadline"), 4);
    envoy.wait_for_stat("wasmcustom.sluice.drain.broken_framing", 1);
}

#[test]
fn each_kind_of_stream_ends_at_a_boundary_over_http_1() {
    streams_end(false, over_http_1);
}

#[test]
fn each_kind_of_stream_ends_at_a_boundary_over_http_2() {
    streams_end(true, over_http_2);
}

/// A reset over HTTP/2 overtakes the bytes for which the client has not opened its window.
#[test]
fn a_client_that_does_not_read_receives_its_window() {
    const WINDOW: usize = 65_535;
    let large = |number: usize| format!("id: {number}\ndata: {}\n\n", "x".repeat(10_000));
    let upstream = Upstream::start(move |_, reply| {
        let chunked = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")];
        reply.send_headers(200, &chunked);
        for number in 0.. {
            reply.send_chunk(large(number).as_bytes());
            if !reply.is_open() {
                return;
            }
        }
    });
    let before = configuration(&json!({ "refresh": "50ms" }));
    let mut envoy = Envoy::start(Bootstrap::discovered(upstream.port, &before));
    let client = http2::Client::connect(envoy.port).with_timeout(Duration::from_secs(60));
    let pending = client.start("GET", "/", &[], Some(b""));
    sluice_tests::eventually("the window to be used up", || {
        (envoy.stat("http2.pending_send_bytes") > 0).then_some(())
    });
    assert_eq!(envoy.push(&terminate()), PushResult::Accepted);
    envoy.wait_for_stat("http.ingress.downstream_rq_active", 0);
    let response = client.finish(pending);
    assert!(response.reset.is_some());
    assert_eq!(response.body.len(), WINDOW);
    let sent: String = (0..10).map(large).collect();
    assert!(sent.as_bytes().starts_with(&response.body));
}

/// Envoy resets the stream with INTERNAL_ERROR. A filter cannot add trailers to a stream that goes on.
#[test]
fn a_grpc_client_sees_a_status_after_the_last_message() {
    let before = configuration(&json!({ "refresh": "50ms" }));
    let bootstrap = Bootstrap::discovered(grpc_health::serve(), &before).http_2_upstream();
    let mut envoy = Envoy::start(bootstrap);
    let call = grpc_health::Watch::start(envoy.port);
    envoy.wait_for_stat("http.ingress.downstream_rq_active", 1);
    assert_eq!(envoy.push(&terminate()), PushResult::Accepted);
    assert_eq!(call.finish(), ["SERVING", "INTERNAL"]);
    assert_eq!(envoy.stat("wasmcustom.sluice.route.default.ended.drain_cut"), 1);
}

#[test]
fn the_state_names_the_streams_that_the_drain_waits_for() {
    let upstream = Upstream::start(|request, reply| {
        serve(request, reply, &AtomicBool::new(false));
    });
    let hash = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
    let mut configured = configuration(&json!({
        "refresh": "50ms", "admin": { "path": "/admin", "token_sha256": hash },
    }));
    configured["routes"] = json!([{ "name": "llm", "match": { "path": { "prefix": "/events" } } }]);
    configured["defaults"]["drain"]["within"] = json!("1m");
    let envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configured));
    let open = ["/events", "/never"].map(|path| {
        let mut client = http1::Client::connect(envoy.port);
        client.send("GET", path, &[]);
        client
    });
    envoy.wait_for_stat("http.ingress.downstream_rq_active", 2);
    let token = [("authorization", "Bearer open sesame"), ("content-length", "0")];
    let ask = |method: &str, path: &str| -> Value {
        let mut client = http1::Client::connect(envoy.port);
        client.send(method, path, &token);
        serde_json::from_slice(&client.receive().body.bytes).expect("JSON")
    };
    ask("POST", "/admin?mode=terminate&window=0s");
    let expected = json!([{ "route": "default", "kind": "request", "streams": 1 },
                          { "route": "llm", "kind": "events", "streams": 1 }]);
    sluice_tests::eventually("both streams in the state", || {
        (ask("GET", "/admin")["waits_for"] == expected).then_some(())
    });
    drop(open);
    sluice_tests::eventually("no stream in the state", || {
        ask("GET", "/admin").get("waits_for").is_none().then_some(())
    });
}
