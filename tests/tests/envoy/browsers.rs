//! A page in a real browser follows an event stream, a streamed response and a WebSocket through
//! ten drains.

use std::time::Duration;

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use sluice_tests::chromium::Chromium;
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult};
use sluice_tests::eventually_within;
use sluice_tests::upstream::{Reply, Request, Upstream};

const DRAINS: u64 = 10;
const STREAMS: [&str; 3] = ["events", "lines", "socket"];

/// The browser notices the end of a stream after a second (Envoy's `delayed_close_timeout`).
const LONGEST_DRAIN: Duration = Duration::from_secs(60);

fn configuration(epoch: u64) -> Value {
    json!({
        "version": 1,
        "defaults": {
            "buffering": "off",
            "timeouts": { "request": "0s" },
            "drain": { "streams": "finish", "within": "100ms",
                       "last_event": "event: bye\ndata: {}\n\n" },
        },
        "drain": { "refresh": "50ms",
                   "state": { "epoch": epoch, "mode": "reload", "window": "100ms" } },
    })
}

/// Sends numbered items until the connection closes. The writes end at arbitrary bytes.
fn stream(
    reply: &mut Reply,
    first: u64,
    item: fn(u64) -> Vec<u8>,
    mut write: impl FnMut(&mut Reply, &[u8]),
) {
    let mut pending = Vec::new();
    let mut number = first;
    while reply.is_open() {
        pending.extend(item(number));
        let rest = pending.split_off(pending.len() - number as usize % pending.len().min(5));
        write(reply, &std::mem::replace(&mut pending, rest));
        reply.pause(10);
        number += 1;
    }
}

fn event(number: u64) -> Vec<u8> {
    format!("id: {number}\ndata: {number}\n\n").into_bytes()
}

fn line(number: u64) -> Vec<u8> {
    format!("{{\"number\":{number}}}\n").into_bytes()
}

/// An unmasked text frame.
fn frame(number: u64) -> Vec<u8> {
    let text = number.to_string();
    [&[0x81, text.len() as u8], text.as_bytes()].concat()
}

/// The `sec-websocket-accept` of a handshake (RFC 6455, 4.2.2).
fn accept(key: &str) -> String {
    Base64::encode_string(&Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}

fn serve(request: &Request, reply: &mut Reply) {
    let (path, query) = request.path().split_once('?').unwrap_or((request.path(), ""));
    let after = query.strip_prefix("after=").or(request.header("last-event-id"));
    let first = 1 + after.and_then(|number| number.parse().ok()).unwrap_or(0);
    let chunked = |kind| [("content-type", kind), ("transfer-encoding", "chunked")];
    match path {
        "/" => {
            let page = include_bytes!("browsers/page.html");
            reply.respond(200, &[("content-type", "text/html")], page);
        }
        "/report" => reply.respond(204, &[], b""),
        "/events" => {
            reply.send_headers(200, &chunked("text/event-stream"));
            // Browsers wait for some seconds by default before they reconnect.
            reply.send_chunk(b"retry: 10\n\n");
            stream(reply, first, event, Reply::send_chunk);
        }
        "/lines" => {
            reply.send_headers(200, &chunked("application/x-ndjson"));
            stream(reply, first, line, Reply::send_chunk);
        }
        "/socket" => {
            let accept = accept(request.header("sec-websocket-key").unwrap_or_default());
            let headers = [
                ("upgrade", "websocket"),
                ("connection", "upgrade"),
                ("sec-websocket-accept", accept.as_str()),
            ];
            reply.send_headers(101, &headers);
            stream(reply, first, frame, Reply::write);
        }
        _ => reply.respond(404, &[], b""),
    }
}

/// The last record of the page.
fn record(upstream: &Upstream) -> Value {
    let reports = upstream.requests("/report");
    let complete = reports.iter().rev().find(|report| report.complete);
    complete.map_or(Value::Null, |report| {
        serde_json::from_slice(&report.body).expect("the page sends JSON")
    })
}

fn follow_drains(bootstrap: impl FnOnce(Bootstrap) -> Bootstrap, scheme: &str, version: &str) {
    let upstream = Upstream::start(serve);
    let options = json!({
        "http2_protocol_options": { "allow_connect": true },
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
    });
    let discovered = Bootstrap::discovered(upstream.port, &configuration(1));
    let mut envoy = Envoy::start(bootstrap(discovered.with_connection_manager(&options)));
    let _browser = Chromium::open(&format!("{scheme}://127.0.0.1:{}/", envoy.port));
    let wait_for_streams = |opened: [u64; 3]| {
        eventually_within(LONGEST_DRAIN, "the page to open its streams again", || {
            let record = record(&upstream);
            let now = STREAMS.map(|stream| record[stream]["opened"].as_u64().unwrap_or(0));
            now.iter().zip(opened).all(|(now, before)| *now > before).then_some(now)
        })
    };
    let mut opened = wait_for_streams([0; 3]);
    for drain in 1..=DRAINS {
        assert_eq!(envoy.push(&configuration(1 + drain)), PushResult::Accepted);
        opened = wait_for_streams(opened);
    }
    let record = record(&upstream);
    for stream in STREAMS {
        assert_eq!(record[stream]["gaps"], 0, "{record}");
        assert!(record[stream]["last"].as_u64() > Some(100), "{record}");
    }
    assert_eq!(record["events"]["failed"], 0, "{record}");
    assert!(record["events"]["goodbyes"].as_u64() >= Some(DRAINS), "{record}");
    assert_eq!(record["lines"]["torn"], 0, "{record}");
    let ends = |stream: &str| record[stream]["ends"].as_array().expect("a list").clone();
    assert!(ends("lines").iter().all(|end| end == "TypeError"), "{record}");
    assert!(ends("socket").len() as u64 >= DRAINS, "{record}");
    assert!(ends("socket").iter().all(|code| code == 1012), "{record}");
    assert_eq!(record["reports"]["failed"], 0, "{record}");
    assert!(envoy.stat(&format!("http.ingress.downstream_cx_{version}_total")) > 0);
    // Without an open HTTP/2 connection, Chromium opens a WebSocket over HTTP/1.1.
    let over_http_1 = envoy.stat("http.ingress.downstream_cx_http1_total");
    assert!(version == "http1" || over_http_1 < opened[2], "{over_http_1} of {opened:?}");
}

#[test]
fn a_browser_follows_ten_drains_over_http_1() {
    follow_drains(|bootstrap| bootstrap, "http", "http1");
}

/// Browsers speak HTTP/2 only over TLS.
#[test]
fn a_browser_follows_ten_drains_over_http_2() {
    follow_drains(Bootstrap::with_tls, "https", "http2");
}
