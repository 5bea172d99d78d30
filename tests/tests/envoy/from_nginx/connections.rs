//! Directives for client connections: idle timeout and shutdown.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use sluice_tests::envoy::PushResult;
use sluice_tests::http1::Client;
use sluice_tests::upstream::{Reply, Request, Upstream};
use sluice_tests::{TEST_TIMEOUT, eventually};

use super::page::Section;

pub(super) fn keepalive_timeout(section: &Section) {
    let script = |request: &Request, reply: &mut Reply| {
        if request.path() == "/slow" {
            reply.pause(2000);
        }
        reply.respond(200, &[], b"ok");
    };
    let proxies = section.both(script);
    let closed = proxies.each_ref().map(|proxy| {
        let mut client = Client::connect(proxy.port);
        assert_eq!(
            client.get("/slow").status,
            200,
            "a request may take longer than the idle timeout"
        );
        let idle = Instant::now();
        assert!(client.closed_within(Duration::from_secs(10)));
        assert!(idle.elapsed() > Duration::from_millis(950), "{:?}", idle.elapsed());
        idle.elapsed()
    });
    assert!(closed[1] > closed[0].max(Duration::from_millis(5950)), "{closed:?}");
    let [_, envoy] = proxies;
    let mut client = Client::connect(envoy.port);
    assert!(!client.get("/").closes());
    sleep(Duration::from_millis(2500));
    assert!(
        client.get("/").closes(),
        "a request after the idle timeout is answered, then the connection closes"
    );
}

/// Serves an event stream whose first event arrives in two halves, a slow body, or a fast response.
fn slow(request: &Request, reply: &mut Reply) {
    match request.path() {
        "/page" => {
            reply.send_headers(200, &[("content-length", "9")]);
            for part in [b"abc", b"def", b"ghi"] {
                reply.write(part);
                reply.pause(1500);
            }
            return;
        }
        "/quick" => return reply.respond(200, &[], b"ok"),
        _ => {}
    }
    reply.send_headers(
        200,
        &[("content-type", "text/event-stream"), ("transfer-encoding", "chunked")],
    );
    reply.send_chunk(b"data: one\n\ndata: t");
    reply.pause(4000);
    reply.send_chunk(b"wo\n\n");
    for _ in 0..50 {
        reply.pause(100);
        reply.send_chunk(b"data: more\n\n");
    }
    reply.send_chunk(b"");
}

/// Opens three connections: one with an event stream, one with a slow page, one idle.
fn begin(port: u16, upstream: &Upstream) -> [Client; 3] {
    let mut clients = [(); 3].map(|()| Client::connect(port));
    for (client, path) in clients.iter_mut().zip(["/events", "/page"]) {
        client.send("GET", path, &[]);
        eventually("a request to arrive", || upstream.requests(path).pop());
    }
    assert!(!clients[2].get("/quick").closes());
    clients
}

pub(super) fn worker_shutdown_timeout(section: &Section) {
    let upstreams = [(); 2].map(|()| Upstream::start(slow));
    let nginx = section.nginx(&[upstreams[0].port]);
    let mut before = section.json();
    before["drain"] = json!({});
    let mut envoy = section.envoy_with(&[upstreams[1].port], &before);

    let [mut events, mut page, mut idle] = begin(nginx.port, &upstreams[0]);
    let begun = Instant::now();
    nginx.reload(TEST_TIMEOUT);
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    let body = events.receive().body;
    assert_eq!(
        (body.complete, &body.bytes[..]),
        (false, &b"data: one\n\ndata: t"[..]),
        "half an event"
    );
    assert!(page.try_receive().is_none_or(|page| !page.body.complete), "at most half of the page");
    assert!(idle.closed_within(Duration::from_secs(1)), "closed without a response");

    let [mut events, mut page, mut idle] = begin(envoy.port, &upstreams[1]);
    assert_eq!(envoy.push(&section.json()), PushResult::Accepted);
    let body = events.receive().body;
    let text = String::from_utf8(body.bytes).expect("text");
    assert!(!body.complete && text.starts_with("data: one\n\ndata: two\n\n"), "{text:?}");
    assert!(text.ends_with("\n\n"), "{text:?}");
    assert!(page.receive().body.complete, "the whole page");
    assert!(idle.get("/quick").closes(), "closed with its next response");
}
