//! The clients of streams. Each has a thread, and a new connection for each stream.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use fastrand::Rng;

use super::ending::Ending;
use super::stats::{Lengths, StreamStats};
use crate::{http1, http2};

/// The pause between two streams of a client.
const PAUSE: Duration = Duration::from_millis(100);

/// No stream lasts longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// The headers of RFC 6455's example.
const UPGRADE: [(&str, &str); 4] = [
    ("upgrade", "websocket"),
    ("connection", "upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// What a client requests, one stream after the other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// An event stream, from the last whole event on.
    Events,
    /// A WebSocket.
    Socket,
    /// Completions of any length in this range.
    Completions(Lengths),
}

/// The version of HTTP that a client speaks, and the port.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proxy {
    Http1(u16),
    Http2(u16),
}

/// What a client received of a stream: the body, and whether the transfer ended regularly.
struct Received {
    body: Vec<u8>,
    complete: bool,
}

/// Requests streams until the run is over.
pub(super) fn work(kind: Kind, proxy: Proxy, seed: u64, is_over: &AtomicBool) -> StreamStats {
    let mut stats = StreamStats::default();
    let mut random = Rng::with_seed(seed);
    let mut last_event = "0".to_owned();
    let is_over = || is_over.load(Ordering::Relaxed);
    while !is_over() {
        let before = stats;
        match kind {
            Kind::Events => {
                let received = receive(proxy, "GET", "/streams/events", &last_event);
                let ending = received.as_ref().map_or(Ending::Torn, |received| {
                    Ending::of_events(&received.body, received.complete)
                });
                stats.events.record(ending);
                last_event = received
                    .and_then(|received| last_whole_event(&received.body))
                    .unwrap_or(last_event);
            }
            Kind::Socket => stats.sockets.record(Ending::of_frames(&receive_frames(proxy))),
            Kind::Completions(lengths) => {
                let length =
                    random.u128(lengths.shortest.as_millis()..=lengths.longest.as_millis());
                let path = format!("/completions?milliseconds={length}");
                let received = receive(proxy, "POST", &path, "");
                let is_complete = received.is_some_and(|received| {
                    received.complete && received.body.ends_with(b"data: [DONE]\n\n")
                });
                stats.completions += 1;
                stats.lost += usize::from(!is_complete);
            }
        }
        if is_over() {
            // The service ends the streams of the last moment.
            return before;
        }
        sleep(PAUSE.mul_f64(random.f64()));
    }
    stats
}

/// The response to one request on a new connection; `None` if none with status 200 began.
fn receive(proxy: Proxy, method: &str, path: &str, last_event: &str) -> Option<Received> {
    let headers = [("last-event-id", last_event), ("content-length", "0")];
    let headers = if method == "GET" { &headers[..1] } else { &headers[1..] };
    match proxy {
        Proxy::Http1(port) => {
            let mut client = http1::Client::try_connect(port).ok()?;
            client.try_send(method, path, headers);
            let response = client.try_receive().filter(|response| response.status == 200)?;
            Some(Received { body: response.body.bytes, complete: response.body.complete })
        }
        Proxy::Http2(port) => {
            let client = http2::Client::try_connect(port).ok()?.with_timeout(LONGEST);
            let pending = client.try_start(method, path, headers, Some(b"")).ok()?;
            let response = client.try_finish(pending).filter(|response| response.status == 200)?;
            Some(Received { body: response.body, complete: response.reset.is_none() })
        }
    }
}

/// The bytes that a server sent on a WebSocket; none if the proxy refused the upgrade.
fn receive_frames(proxy: Proxy) -> Vec<u8> {
    let (Proxy::Http1(port) | Proxy::Http2(port)) = proxy;
    let receive = || {
        let mut client = http1::Client::try_connect(port).ok()?;
        client.try_send("GET", "/streams/socket", &UPGRADE);
        client.try_receive().filter(|response| response.status == 101)?;
        Some(client.read_to_end())
    };
    receive().unwrap_or_default()
}

/// The id of the last event that ends before the end of the body.
fn last_whole_event(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (whole, _) = text.rsplit_once("\n\n")?;
    let id = whole.lines().rev().find_map(|line| line.strip_prefix("id: "))?;
    Some(id.to_owned())
}
