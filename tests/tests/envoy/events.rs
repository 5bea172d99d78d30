//! Server-sent events reach the client without delay.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

const EVENTS: usize = 200;

#[test]
fn each_event_reaches_the_client_without_delay() {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let noted = sent.clone();
    let upstream = Upstream::start(move |_, reply| {
        reply.send_headers(
            200,
            &[("content-type", "text/event-stream"), ("transfer-encoding", "chunked")],
        );
        for number in 0..EVENTS {
            reply.pause(10);
            noted.lock().unwrap().push(Instant::now());
            reply.send_chunk(format!("data: {number}\n\n").as_bytes());
        }
        reply.send_chunk(b"");
    });
    let configuration = json!({ "version": 1, "defaults": { "buffering": "auto" }, "drain": {} });
    let envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration));
    let response = Client::get_once(envoy.port, "/");
    let mut bytes = 0;
    let mut arrived = Vec::new();
    for (at, length) in &response.body.arrivals {
        bytes += length;
        let events = response.body.bytes[..bytes].windows(2).filter(|end| end == b"\n\n").count();
        arrived.resize(events, *at);
    }
    let sent = sent.lock().unwrap();
    assert_eq!((arrived.len(), sent.len()), (EVENTS, EVENTS));
    let mut delays: Vec<Duration> =
        arrived.iter().zip(sent.iter()).map(|(arrived, sent)| *arrived - *sent).collect();
    delays.sort();
    assert!(delays[EVENTS / 2] < Duration::from_millis(5), "{:?}", delays[EVENTS / 2]);
}
