//! The clients of a trace on real sockets: each connection is a thread that sends its requests when
//! their time has come, opens a new connection where the proxy closed the old one, and notes what it saw.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Protocol, Seen, Trace, sha256, upstream, visible};
use crate::{http1, http2};
use sluice_sim::trace::{Exchange, Kind};

/// A connection of a trace with its requests.
pub(super) struct Connection {
    protocol: Protocol,
    requests: Vec<Request>,
}

#[derive(Clone)]
struct Request {
    id: String,
    at: Duration,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<(Duration, Vec<u8>)>,
}

/// Sleeps until `moment`, not at all if it has passed.
pub(super) fn sleep_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

impl Connection {
    /// The connections of a trace.
    pub(super) fn of(trace: &Trace<'_>) -> Vec<Self> {
        let mut connections: Vec<Self> = trace
            .connections
            .iter()
            .map(|_| Self { protocol: Protocol::Http1, requests: Vec::new() })
            .collect();
        for event in &trace.events {
            match &event.kind {
                Kind::Open { connection, open } => {
                    connections[connection.0].protocol = open.protocol;
                }
                Kind::Exchange(exchange) => {
                    let request = Request::new(event.at, exchange);
                    connections[exchange.connection.0].requests.push(request);
                }
                Kind::Configure { .. } | Kind::Metrics(_) => {}
                other => panic!("a real Envoy cannot be made to do this: {other:?}"),
            }
        }
        connections.retain(|connection| !connection.requests.is_empty());
        connections
    }

    /// Sends the requests; what came of each.
    pub(super) fn run(&self, port: u16, run: u32, start: Instant) -> Vec<(String, Seen)> {
        match self.protocol {
            Protocol::Http1 => self.one_by_one(port, run, start),
            Protocol::Http2 => self.side_by_side(port, run, start),
            Protocol::Http3 => panic!("the listener speaks no HTTP/3"),
        }
    }

    fn one_by_one(&self, port: u16, run: u32, start: Instant) -> Vec<(String, Seen)> {
        let mut client: Option<http1::Client> = None;
        let mut all = Vec::new();
        for request in &self.requests {
            sleep_until(start + request.at);
            let connection = client.get_or_insert_with(|| http1::Client::connect(port));
            let sent_all = request.send(connection, run);
            let sent = Instant::now();
            let response = connection.try_receive();
            let usable = response
                .as_ref()
                .is_some_and(|response| sent_all && response.body.complete && !response.closes());
            all.push((request.id.clone(), Seen::http1(response, sent_all, sent)));
            if !usable {
                client = None;
            }
        }
        all
    }

    fn side_by_side(&self, port: u16, run: u32, start: Instant) -> Vec<(String, Seen)> {
        sleep_until(start + self.requests[0].at);
        let mut client = Arc::new(http2::Client::connect(port));
        std::thread::scope(|scope| {
            let waiting: Vec<_> = self
                .requests
                .iter()
                .map(|request| {
                    sleep_until(start + request.at);
                    let headers = request.wire_headers(run);
                    let headers: Vec<(&str, &str)> =
                        headers.iter().map(|(name, value)| (&**name, &**value)).collect();
                    let body: Vec<u8> =
                        request.body.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
                    let start = |client: &http2::Client| {
                        client.try_start(&request.method, &request.path, &headers, Some(&body))
                    };
                    let pending = start(&client).unwrap_or_else(|_| {
                        client = Arc::new(http2::Client::connect(port));
                        start(&client).expect("a new connection takes streams")
                    });
                    let (client, id) = (client.clone(), request.id.clone());
                    scope.spawn(move || (id, Seen::http2(&client.finish(pending))))
                })
                .collect();
            waiting.into_iter().map(|stream| stream.join().expect("a stream")).collect()
        })
    }
}

impl Request {
    fn new(at: Duration, exchange: &Exchange<'_>) -> Self {
        let request = &exchange.request;
        let text = |value: &Option<sluice_sim::trace::Text<'_>>, default: &str| {
            value.as_ref().map_or_else(|| default.to_owned(), ToString::to_string)
        };
        let mut body = Vec::new();
        let mut offset = 0;
        for chunk in &request.body {
            for _ in 0..chunk.times {
                let mut bytes = Vec::new();
                chunk.content.write_to(offset, &mut bytes);
                offset += bytes.len() as u64;
                body.push((chunk.after, bytes));
            }
        }
        Self {
            id: exchange.id.to_string(),
            at,
            method: text(&request.method, "GET"),
            path: text(&request.path, "/"),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            body,
        }
    }

    fn wire_headers(&self, run: u32) -> Vec<(String, String)> {
        let mut headers = self.headers.clone();
        headers.push((upstream::EXCHANGE.to_owned(), upstream::name(run, &self.id)));
        headers
    }

    /// Sends head and body; whether the proxy took all of it.
    fn send(&self, client: &mut http1::Client, run: u32) -> bool {
        let mut headers = self.wire_headers(run);
        let has_length =
            headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let chunked = !self.body.is_empty() && !has_length;
        if chunked {
            headers.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
        }
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        client.send(&self.method, &self.path, &headers);
        for (pause, bytes) in &self.body {
            std::thread::sleep(*pause);
            let mut wire = Vec::new();
            match chunked {
                true => {
                    wire.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                    wire.extend_from_slice(bytes);
                    wire.extend_from_slice(b"\r\n");
                }
                false => wire.extend_from_slice(bytes),
            }
            if !client.try_write(&wire) {
                return false;
            }
        }
        !chunked || client.try_write(b"0\r\n\r\n")
    }
}

impl Seen {
    fn http1(response: Option<http1::Response>, sent_all: bool, sent: Instant) -> Self {
        let Some(response) = response else {
            return Self {
                status: None,
                headers: Vec::new(),
                body: sha256(b""),
                bytes: 0,
                complete: false,
                closed: None,
                attempts: 0,
                last: sent.elapsed(),
            };
        };
        let reusable = response.body.complete && sent_all;
        Self {
            status: Some(response.status),
            headers: visible(response.head.headers.iter().cloned()),
            body: sha256(&response.body.bytes),
            bytes: response.body.bytes.len() as u64,
            complete: response.body.complete,
            closed: reusable.then(|| response.closes()),
            attempts: 0,
            last: response.end_after,
        }
    }

    fn http2(response: &http2::Response) -> Self {
        Self {
            status: Some(response.status),
            headers: visible(response.headers.iter().map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })),
            body: sha256(&response.body),
            bytes: response.body.len() as u64,
            complete: response.reset.is_none(),
            // GOAWAY belongs to the connection; no response tells of it.
            closed: None,
            attempts: 0,
            last: response.end_after,
        }
    }
}
