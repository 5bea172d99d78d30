//! Envoy handles malformed HTTP from clients and upstreams in the same way with and without the
//! filter.

use std::thread::{scope, sleep};
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::upstream::{Reply, Request, Upstream};

const THREADS: usize = 16;

/// A configuration in which buffering, routes and drains are all active.
fn configuration() -> Value {
    json!({
        "version": 1,
        "defaults": { "buffering": { "response": "on", "request": "on", "max_bytes": 100_000 } },
        "routes": [{ "name": "off", "match": { "path": { "prefix": "/off" } }, "buffering": "off" }],
        "drain": {}
    })
}

/// Malformed responses; the upstream closes the connection after each.
fn broken_responses() -> Vec<Vec<u8>> {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut broken: Vec<Vec<u8>> = [
        "",
        "garbage\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        &format!("{chunked}zz\r\nabc\r\n0\r\n\r\n"),
        &format!("{chunked}fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        &format!("{chunked}3\r\nabcdef\r\n0\r\n\r\n"),
        &format!("{chunked}3\r\nabc\r\n"),
        &format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "a".repeat(100_000)),
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    // A valid response, truncated after every byte.
    let good = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nx-a: b\r\n\r\nabcdefghi";
    broken.extend((1..good.len()).map(|end| good[..end].to_vec()));
    broken
}

/// Malformed requests, each for a connection of its own.
fn broken_requests() -> Vec<Vec<u8>> {
    let post = "POST / HTTP/1.1\r\nhost: a\r\n";
    [
        "garbage\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\nhost: a\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "a".repeat(100_000)),
        format!("{post}content-length: -1\r\n\r\n"),
        format!("{post}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
        format!("{post}content-length: 99999999999999999999999\r\n\r\n"),
        format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"),
        format!(
            "{post}transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ),
        format!("{post}transfer-encoding: gzip\r\n\r\nabc"),
        "GET /\u{0} HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET http://b/absolute HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET /?%zz&=# HTTP/1.1\r\nhost: a:b:c\r\n\r\n".to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}

/// The parts of a response that a client can observe.
#[derive(Debug, PartialEq)]
struct Observed {
    status: Option<u16>,
    headers: Vec<String>,
    body: Vec<u8>,
    complete: bool,
    stays_open: bool,
}

fn observe(client: &mut Client) -> Observed {
    let Some(response) = client.try_receive() else {
        let (headers, body) = (Vec::new(), Vec::new());
        return Observed { status: None, headers, body, complete: false, stays_open: false };
    };
    // The first two differ in every run; the filter adds `x-accel-buffering`.
    let ignored = ["date", "x-envoy-upstream-service-time", "x-accel-buffering"];
    let names = response.headers.fields.iter().map(|(name, _)| name.clone());
    Observed {
        status: Some(response.status),
        headers: names.filter(|name| !ignored.contains(&name.as_str())).collect(),
        complete: response.body.complete,
        body: response.body.bytes,
        stays_open: !client.closed_within(Duration::from_millis(50)),
    }
}

fn pair(upstream: &Upstream) -> [Envoy; 2] {
    let with = Bootstrap::discovered(upstream.port, &configuration());
    [Envoy::start(with.clone()), Envoy::start(with.without("sluice"))]
}

#[test]
fn a_malformed_response_has_the_same_effect_as_without_the_filter() {
    let responses = broken_responses();
    let count = responses.len();
    let upstream = Upstream::start(move |request: &Request, reply: &mut Reply| {
        let number = request.path().rsplit('/').next().and_then(|number| number.parse().ok());
        let bytes: &Vec<u8> = &responses[number.unwrap_or(0_usize)];
        reply.write(bytes);
        reply.close();
    });
    let [with, without] = pair(&upstream);
    let compare = |number: usize| {
        for path in ["/on", "/off"] {
            let [mut with, mut without] = [&with, &without].map(|envoy| {
                let mut client = Client::connect(envoy.port);
                client.send("GET", &format!("{path}/{number}"), &[]);
                observe(&mut client)
            });
            // The filter buffers this body, so a truncated one never reaches the client.
            if !without.complete && path == "/on" {
                (with.body, without.body) = (Vec::new(), Vec::new());
            }
            assert_eq!(with, without, "{path}, response {number}");
        }
    };
    // Envoy closes a connection one second after a truncated response, so the cases run in
    // parallel.
    scope(|scope| {
        for first in 0..THREADS {
            scope.spawn(move || (first..count).step_by(THREADS).for_each(compare));
        }
    });
}

#[test]
fn a_malformed_request_has_the_same_effect_as_without_the_filter() {
    let upstream = Upstream::start(|request, reply| {
        let start = request.headers.start_line.clone();
        reply.respond(200, &[], start.as_bytes());
    });
    let [with, without] = pair(&upstream);
    for request in broken_requests() {
        let [with, without] = [&with, &without].map(|envoy| {
            let mut client = Client::connect(envoy.port);
            client.try_write(&request);
            observe(&mut client)
        });
        assert_eq!(with, without, "{:?}", String::from_utf8_lossy(&request));
    }
}

#[test]
fn no_request_stays_in_flight_when_clients_disconnect() {
    let upstream = Upstream::start(|_, reply| {
        reply.send_headers(200, &[("content-length", "9")]);
        for chunk in [b"abc", b"def", b"ghi"] {
            reply.write(chunk);
            reply.pause(30);
        }
    });
    let envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration()));
    for patience in 0..12 {
        for path in ["/on", "/off"] {
            let mut client = Client::connect(envoy.port);
            client.send("POST", path, &[("content-length", "6")]);
            client.write(b"abc");
            if patience > 4 {
                client.try_write(b"def");
            }
            sleep(Duration::from_millis(patience * 10));
        }
    }
    envoy.wait_for_stat("wasmcustom.sluice.in_flight", 0);
    assert!(Client::get_once(envoy.port, "/on").body.complete);
}
