//! The clients of a trace on real sockets. Each connection is a thread that sends its requests at
//! their times, connects again after the proxy has closed the connection, and records what it
//! observes.

mod http1;
mod http2;

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_sim::trace::{EventKind, Exchange, Protocol, Text, Trace};

use super::clock::ExchangeClock;
use super::playback::Playback;
use super::proxy::UPSTREAM;
use super::upstream::{self, EXCHANGE};

/// A connection of a trace with its requests.
pub(super) struct Connection {
    protocol: Protocol,
    requests: Vec<Request>,
    sockets: Mutex<Sockets>,
}

/// The sockets of a connection, so that another thread can close them.
#[derive(Default)]
struct Sockets {
    handles: Vec<Handle>,
    /// The client has closed the connection and opens no new socket.
    closed: bool,
}

enum Handle {
    Http1(TcpStream),
    Http2(Arc<crate::http2::Client>),
}

impl Handle {
    fn close(&self) {
        match self {
            // This fails if the proxy has closed the connection already.
            Self::Http1(stream) => drop(stream.shutdown(Shutdown::Both)),
            Self::Http2(client) => client.abort(),
        }
    }
}

struct Request {
    id: String,
    at: Duration,
    method: String,
    authority: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<(Duration, Vec<u8>)>,
    trailers: Vec<(String, String)>,
    exchange_clock: ExchangeClock,
}

impl Connection {
    /// The connections of a trace; `times` are the times of its events.
    ///
    /// # Panics
    /// If a real Envoy cannot do what the trace describes.
    pub(super) fn of(
        trace: &Trace<'_>,
        times: &[Duration],
        run: u32,
        exchange_clock: impl Fn(u32) -> ExchangeClock,
    ) -> Vec<Self> {
        let mut connections: Vec<Self> = trace
            .connections
            .iter()
            .map(|_| Self {
                protocol: Protocol::Http1,
                requests: Vec::new(),
                sockets: Mutex::default(),
            })
            .collect();
        for (event, time) in trace.events.iter().zip(times) {
            match &event.kind {
                EventKind::Open { connection, open, .. } => {
                    connections[connection.0].protocol = open.protocol;
                }
                EventKind::Exchange(exchange) => {
                    let name = upstream::name(run, event.line);
                    let request = Request::new(name, *time, exchange_clock(event.line), exchange);
                    connections[exchange.connection.0].requests.push(request);
                }
                EventKind::Configure { .. } | EventKind::Close { .. } => {}
                other => panic!("a real Envoy cannot be made to do this: {other:?}"),
            }
        }
        connections
    }

    /// Sends the requests, and records the observation of each.
    pub(super) fn run(&self, playback: &Playback) {
        match self.protocol {
            Protocol::Http10 | Protocol::Http1 => self.send_sequentially(playback),
            Protocol::Http2 => self.send_concurrently(playback),
            Protocol::Http3 => panic!("the listener does not support HTTP/3"),
        }
    }

    /// Closes the connection and its exchanges from the client's side.
    pub(super) fn close(&self) {
        let mut sockets = self.lock();
        sockets.closed = true;
        sockets.handles.iter().for_each(Handle::close);
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn add_socket(&self, handle: Handle) {
        let mut sockets = self.lock();
        if sockets.closed {
            handle.close();
        }
        sockets.handles.push(handle);
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    fn new(
        name: String,
        at: Duration,
        exchange_clock: ExchangeClock,
        exchange: &Exchange<'_>,
    ) -> Self {
        let request = &exchange.request;
        let text = |value: &Option<Text<'_>>, default: &str| {
            value.as_ref().map_or_else(|| default.to_owned(), ToString::to_string)
        };
        let mut headers = upstream::owned(&request.headers);
        headers.push((EXCHANGE.to_owned(), name));
        headers.extend(upstream::cluster(exchange).map(|name| (UPSTREAM.to_owned(), name)));
        Self {
            id: exchange.id.to_string(),
            at,
            method: text(&request.method, "GET"),
            authority: text(&request.authority, "localhost"),
            path: text(&request.path, "/"),
            headers,
            body: upstream::chunks(&request.body),
            trailers: upstream::owned(&request.trailers),
            exchange_clock,
        }
    }
}
