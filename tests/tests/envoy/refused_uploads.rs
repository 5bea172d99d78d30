//! Uploads that the filter refuses, from clients that write everything before they read. With
//! `lingering`, they receive the reply.

use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::http2;
use sluice_tests::upstream::Upstream;

const SIZE: usize = 20_000_000;
const TOKEN: (&str, &str) = ("authorization", "Bearer open sesame");
const MISSING: &str = "set allow_on_headers_stop_iteration: true";

fn configuration(lingering: &Value) -> Value {
    let hash = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
    let mut configuration = json!({
        "version": 1,
        "defaults": { "buffering": { "request": "on", "max_bytes": 1000 } },
        "routes": [{ "name": "streamed", "match": { "path": { "exact": "/streamed" } },
                     "buffering": { "request": "off" } }],
        "drain": { "refresh": "100ms", "admin": { "path": "/admin", "token_sha256": hash } },
    });
    if !lingering.is_null() {
        configuration["lingering"] = lingering.clone();
    }
    configuration
}

fn start(upstream: &Upstream, lingering: &Value, delivers_bodies: bool) -> Envoy {
    let bootstrap =
        Bootstrap::example("static", upstream.port).configured(&configuration(lingering));
    Envoy::start(bootstrap.changed("config", |config| {
        config["allow_on_headers_stop_iteration"] = json!(delivers_bodies);
    }))
}

/// Sends the whole body before it reads; returns the status and the body of the reply, if the client
/// receives one.
fn upload(client: &mut Client, path: &str, size: usize) -> Option<(u16, String)> {
    client.send("POST", path, &[TOKEN, ("content-length", &size.to_string())]);
    let chunk = vec![b'x'; 100_000];
    for part in chunk.repeat(size.div_ceil(chunk.len()))[..size].chunks(chunk.len()) {
        if !client.try_write(part) {
            return None;
        }
    }
    let response = client.try_receive()?;
    Some((response.status, String::from_utf8_lossy(&response.body.bytes).into_owned()))
}

fn assert_too_large(reply: Option<(u16, String)>, text: &str) {
    let (status, body) = reply.expect("a reply");
    assert_eq!(status, 413, "{body}");
    assert!(body.contains(text), "{body}");
}

#[test]
fn a_client_that_reads_last_receives_the_reply_and_keeps_its_connection() {
    let upstream = Upstream::ok();
    let envoy = start(&upstream, &json!({}), true);
    let mut client = Client::connect(envoy.port);
    for _ in 0..2 {
        assert_too_large(upload(&mut client, "/", SIZE), "the request body has");
    }
    assert_too_large(upload(&mut client, "/admin", SIZE), "the body is too large");
    assert_eq!(client.get("/").status, 200);
    assert_eq!(upstream.requests("/").len(), 1);
    assert!(!envoy.log().contains(MISSING));
}

#[test]
fn without_lingering_such_a_client_loses_the_reply() {
    let envoy = start(&Upstream::ok(), &Value::Null, true);
    assert_eq!(upload(&mut Client::connect(envoy.port), "/", SIZE), None);
}

/// A command of unknown size is too large as soon as its 4097th byte arrives.
#[test]
fn a_command_in_chunks_is_received_to_its_end() {
    let upstream = Upstream::ok();
    let envoy = start(&upstream, &json!({}), true);
    let mut client = Client::connect(envoy.port);
    client.send("POST", "/admin", &[TOKEN, ("transfer-encoding", "chunked")]);
    let chunk = [b"186a0\r\n", &vec![b'x'; 100_000][..], b"\r\n"].concat();
    for _ in 0..SIZE / 100_000 {
        assert!(client.try_write(&chunk), "{:?}", client.receive());
    }
    client.write(b"0\r\n\r\n");
    let response = client.receive();
    assert_eq!(response.status, 413);
    assert!(!response.closes());
}

#[test]
fn an_http_2_client_that_reads_last_receives_the_reply() {
    let upstream = Upstream::ok();
    let envoy = start(&upstream, &json!({}), true);
    let client = http2::Client::connect(envoy.port);
    for (path, text) in [("/", "the request body has"), ("/admin", "the body is too large")] {
        let request = Request::post(format!("http://example.com{path}"))
            .header("content-length", SIZE)
            .header(TOKEN.0, TOKEN.1);
        let request = request.body(()).expect("a well-formed request");
        let (pending, mut stream) = client.try_open(request, false).expect("an open connection");
        stream.send_data(Bytes::from(vec![b'x'; SIZE]), true).expect("an open stream");
        let response = client.finish(pending);
        assert_eq!((response.status, response.reset), (413, None));
        let body = String::from_utf8_lossy(&response.body).into_owned();
        assert!(body.contains(text), "{body}");
        // The client was allowed to send everything.
        assert_eq!(stream.capacity(), 0);
        assert!(response.end_after > Duration::ZERO);
    }
    assert!(upstream.requests("/").is_empty());
}

/// The bytes and the time are limited.
#[test]
fn a_reply_does_not_wait_beyond_its_bounds() {
    let upstream = Upstream::ok();
    let bounds = json!({ "max_bytes": 100_000, "timeout": "1s" });
    let envoy = start(&upstream, &bounds, true);
    let begin = |size: &str| {
        let mut client = Client::connect(envoy.port);
        client.send("POST", "/", &[("content-length", size)]);
        client.write(b"the first bytes");
        client.receive()
    };
    let declares_too_much = begin("100001");
    assert_eq!(declares_too_much.status, 413);
    assert!(declares_too_much.headers_after < Duration::from_millis(900));
    let is_slow = begin("100000");
    assert_eq!(is_slow.status, 413);
    assert!(is_slow.headers_after > Duration::from_millis(900), "{:?}", is_slow.headers_after);

    let mut client = Client::connect(envoy.port);
    client.send("POST", "/admin", &[TOKEN, ("transfer-encoding", "chunked")]);
    client.write(&[b"1adb0\r\n", &vec![b'x'; 110_000][..], b"\r\n"].concat());
    let response = client.receive();
    assert_eq!(response.status, 413);
    assert!(response.headers_after < Duration::from_millis(900), "{:?}", response.headers_after);
}

/// Without the plugin option the reply waits for one refresh, until an upload shows that the option
/// is missing.
#[test]
fn without_the_plugin_option_a_reply_is_hardly_late() {
    let upstream = Upstream::ok();
    let envoy = start(&upstream, &json!({}), false);
    let refused = || {
        let mut client = Client::connect(envoy.port);
        client.send("POST", "/", &[("content-length", "5000")]);
        client.write(b"the first bytes");
        let response = client.receive();
        assert_eq!(response.status, 413);
        response.headers_after
    };
    let first = refused();
    assert!((90..1000).contains(&first.as_millis()), "{first:?}");
    let start = Instant::now();
    assert_eq!(Client::connect(envoy.port).post("/streamed", b"12345").status, 200);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(upstream.requests("/streamed")[0].body, b"12345");
    sluice_tests::eventually("the warning", || envoy.log().contains(MISSING).then_some(()));
    let later = (0..5).map(|_| refused()).min().expect("some");
    assert!(later < Duration::from_millis(50), "{later:?}");
}

/// A client that leaves while its upload is discarded leaves nothing behind.
#[test]
fn clients_may_leave_while_their_upload_is_discarded() {
    let upstream = Upstream::ok();
    let envoy = start(&upstream, &json!({ "timeout": "300ms" }), true);
    for _ in 0..50 {
        let mut client = Client::connect(envoy.port);
        client.send("POST", "/", &[("content-length", "50000")]);
        client.write(&[b'x'; 20_000]);
    }
    envoy.wait_for_stat("http.ingress.downstream_rq_active", 0);
    sleep(Duration::from_millis(600));
    assert_eq!(Client::get_once(envoy.port, "/").status, 200);
    envoy.wait_for_stat("wasmcustom.sluice.in_flight", 0);
}
