//! A buffered body arrives at once; a streamed body arrives chunk by chunk.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::{Client, Response};
use sluice_tests::http2;
use sluice_tests::upstream::{Reply, Request, Upstream};

fn configuration() -> Value {
    let route = |name: &str, buffering: Value| json!({ "name": name, "match": { "path": { "prefix": format!("/{name}") } }, "buffering": buffering });
    json!({
        "version": 1,
        "routes": [
            route("on", json!({ "response": "on", "request": "on", "max_bytes": 1000 })),
            route("off", json!("off")),
            route("auto", json!("auto")),
        ]
    })
}

fn start(upstream: &Upstream) -> Envoy {
    Envoy::start(Bootstrap::discovered(upstream.port, &configuration()))
}

/// Sends three chunks, 300 ms apart. The path selects a declared length or chunked encoding, and
/// extra response headers.
fn three_chunks(request: &Request, reply: &mut Reply) {
    let path = request.path();
    let mut headers = vec![match path.contains("length") {
        true => ("content-length", "9"),
        false => ("transfer-encoding", "chunked"),
    }];
    if path.contains("events") {
        headers.push(("content-type", "text/event-stream; charset=utf-8"));
    }
    if path.contains("accel-no") {
        headers.push(("x-accel-buffering", "no"));
    }
    reply.send_headers(200, &headers);
    for chunk in [b"abc", b"def", b"ghi"] {
        match path.contains("length") {
            true => reply.write(chunk),
            false => reply.send_chunk(chunk),
        }
        reply.pause(300);
    }
    if !path.contains("length") {
        reply.send_chunk(b"");
    }
}

/// Whether the first chunk arrived well before the last: 600 ms on an idle machine, and otherwise
/// together.
fn streamed(response: &Response) -> bool {
    assert_eq!((&response.body.bytes[..], response.body.complete), (&b"abcdefghi"[..], true));
    let chunks = &response.body.arrivals;
    chunks[chunks.len() - 1].0 - chunks[0].0 > Duration::from_millis(200)
}

#[test]
fn each_mode_buffers_as_documented_and_streams_the_rest() {
    let upstream = Upstream::start(three_chunks);
    let envoy = start(&upstream);
    let streams = |path: &str| streamed(&Client::get_once(envoy.port, path));
    assert!(!streams("/on/length"));
    assert!(!streams("/on/length/events"), "`on` buffers every content type");
    assert!(streams("/on/chunked"), "a body of unknown length is not buffered");
    assert!(streams("/off/length"));
    assert!(!streams("/auto/length"));
    assert!(streams("/auto/length/events"));
    assert!(streams("/auto/length/accel-no"));
    assert!(streams("/other/length"), "without a route everything is streamed");
    let off = Client::get_once(envoy.port, "/off/chunked");
    assert_eq!(
        (off.header("x-accel-buffering"), &off.body.chunks[..]),
        (Some("no"), &[3, 3, 3][..])
    );
    envoy.wait_for_stat("wasmcustom.sluice.route.on.buffered", 2);
    envoy.wait_for_stat("wasmcustom.sluice.route.auto.buffered", 1);
    envoy.wait_for_stat("wasmcustom.sluice.in_flight", 0);
}

#[test]
fn a_buffered_upload_reaches_the_upstream_at_once() {
    let upstream = Upstream::ok();
    let envoy = start(&upstream);
    for (path, held) in [("/on", true), ("/off", false)] {
        let mut client = Client::connect(envoy.port);
        client.send("POST", path, &[("content-length", "9")]);
        for chunk in [b"abc", b"def", b"ghi"] {
            client.write(chunk);
            sleep(Duration::from_millis(150));
        }
        let sent = Instant::now();
        assert_eq!(client.receive().status, 200);
        let request = upstream.requests(path).remove(0);
        assert_eq!(&request.body[..], b"abcdefghi");
        let spread = request.arrivals.last().unwrap().0 - request.arrivals[0].0;
        assert_eq!(spread < Duration::from_millis(100), held, "{path}: {spread:?}");
        assert!(request.arrivals[0].0 < sent);
    }
    envoy.wait_for_stat("wasmcustom.sluice.route.on.request_buffered", 1);
}

#[test]
fn an_upload_of_unknown_length_is_streamed() {
    let upstream = Upstream::ok();
    let envoy = start(&upstream);
    let mut client = Client::connect(envoy.port);
    client.send("POST", "/on", &[("transfer-encoding", "chunked")]);
    client.write(b"3\r\nabc\r\n");
    sleep(Duration::from_millis(300));
    client.write(b"3\r\ndef\r\n0\r\n\r\n");
    assert_eq!(client.receive().status, 200);
    let request = upstream.requests("/on").remove(0);
    assert_eq!(&request.body[..], b"abcdef");
    assert!(
        request.arrivals.last().unwrap().0 - request.arrivals[0].0 > Duration::from_millis(200)
    );
}

#[test]
fn an_upload_with_a_declared_length_above_max_bytes_gets_413() {
    let upstream = Upstream::ok();
    let envoy = start(&upstream);
    let mut client = Client::connect(envoy.port);
    client.send("POST", "/on", &[("content-length", "1001")]);
    let response = client.receive();
    assert_eq!(response.status, 413);
    assert!(response.end_after < Duration::from_millis(500), "{:?}", response.end_after);
    assert_eq!(upstream.requests("/on").len(), 0, "the upstream receives nothing");
    assert_eq!(Client::connect(envoy.port).post("/on", &[7; 1000]).status, 200);
    assert_eq!(upstream.requests("/on").len(), 1);
}

#[test]
fn a_buffered_response_whose_upstream_fails_is_incomplete() {
    let upstream = Upstream::start(|_, reply| {
        reply.send_headers(200, &[("content-length", "9")]);
        reply.write(b"abc");
        reply.pause(100);
        reply.close();
    });
    let envoy = start(&upstream);
    for path in ["/on", "/off", "/auto"] {
        assert!(!Client::get_once(envoy.port, path).body.complete, "{path}");
    }
}

#[test]
fn trailers_complete_a_buffered_response_and_are_forwarded() {
    let chunks: &[&[u8]] = &[b"abc", b"def", b"ghi"];
    let upstream = Bootstrap::discovered(http2::serve_chunks(chunks), &configuration());
    let envoy = Envoy::start(upstream.http_2_upstream());
    let client = http2::Client::connect(envoy.port);
    for path in ["/on", "/off", "/auto", "/other"] {
        let response = client.finish(client.start("GET", path, &[], Some(b"")));
        assert_eq!((&response.body[..], response.reset), (&b"abcdefghi"[..], None), "{path}");
        let trailers = response.trailers.expect("trailers");
        assert_eq!(trailers.get("x-checksum").expect("a checksum"), "12345", "{path}");
    }
}

#[test]
fn trailers_complete_a_buffered_upload() {
    let upstream = Upstream::ok();
    let envoy = start(&upstream);
    let client = http2::Client::connect(envoy.port);
    // If the upload is streamed, a declared length lets the upstream respond before the trailers.
    for (path, length) in [("/on", Some("9")), ("/on/unknown", None), ("/off", None)] {
        let headers: Vec<_> = length.map(|length| ("content-length", length)).into_iter().collect();
        let pending = client.upload(path, &headers, &[b"abc", b"def", b"ghi"]);
        assert_eq!(client.finish(pending).status, 200, "{path}");
        assert_eq!(&upstream.requests(path)[0].body[..], b"abcdefghi", "{path}");
    }
}
