//! The clients of a trace on real sockets: each connection is a thread that sends its requests when
//! their time has come, opens a new connection where the proxy closed the old one, and notes what it saw.

mod http1;
mod http2;

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_sim::trace::{EventKind, Exchange, Protocol, Text, Trace};

use super::clock::Pace;
use super::performance::Run;
use super::proxy::UPSTREAM;
use super::upstream::{self, EXCHANGE};

/// A connection of a trace with its requests.
pub(super) struct Connection {
    protocol: Protocol,
    requests: Vec<Request>,
    open: Mutex<Opened>,
}

/// The sockets behind a connection, for whoever closes it from outside.
#[derive(Default)]
struct Opened {
    handles: Vec<Handle>,
    /// The client has left for good.
    gone: bool,
}

enum Handle {
    Http1(TcpStream),
    Http2(Arc<crate::http2::Client>),
}

impl Handle {
    fn close(&self) {
        match self {
            // It fails where the proxy was first.
            Self::Http1(stream) => drop(stream.shutdown(Shutdown::Both)),
            Self::Http2(client) => client.abort(),
        }
    }
}

struct Request {
    id: String,
    moment: Duration,
    method: String,
    authority: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<(Duration, Vec<u8>)>,
    trailers: Vec<(String, String)>,
    pace: Pace,
}

impl Connection {
    /// The connections of a trace whose events happen at `moments`.
    ///
    /// # Panics
    /// If the trace does what no client of a real Envoy can do here.
    pub(super) fn of(
        trace: &Trace<'_>,
        moments: &[Duration],
        run: u32,
        pace: impl Fn(u32) -> Pace,
    ) -> Vec<Self> {
        let mut connections: Vec<Self> = trace
            .connections
            .iter()
            .map(|_| Self {
                protocol: Protocol::Http1,
                requests: Vec::new(),
                open: Mutex::default(),
            })
            .collect();
        for (event, moment) in trace.events.iter().zip(moments) {
            match &event.kind {
                EventKind::Open { connection, open } => {
                    connections[connection.0].protocol = open.protocol;
                }
                EventKind::Exchange(exchange) => {
                    let name = upstream::name(run, event.line);
                    let request = Request::new(name, *moment, pace(event.line), exchange);
                    connections[exchange.connection.0].requests.push(request);
                }
                EventKind::Configure { .. } | EventKind::Close { .. } => {}
                other => panic!("a real Envoy cannot be made to do this: {other:?}"),
            }
        }
        connections
    }

    /// Sends the requests, and notes what came of each.
    pub(super) fn play(&self, run: &Run) {
        match self.protocol {
            Protocol::Http1 => self.one_by_one(run),
            Protocol::Http2 => self.side_by_side(run),
            Protocol::Http3 => panic!("the listener speaks no HTTP/3"),
        }
    }

    /// Closes it from the client's side, with whatever is under way.
    pub(super) fn close(&self) {
        let mut open = self.lock();
        open.gone = true;
        open.handles.iter().for_each(Handle::close);
    }

    fn is_gone(&self) -> bool {
        self.lock().gone
    }

    fn opened(&self, handle: Handle) {
        let mut open = self.lock();
        if open.gone {
            handle.close();
        }
        open.handles.push(handle);
    }

    fn lock(&self) -> MutexGuard<'_, Opened> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    fn new(name: String, moment: Duration, pace: Pace, exchange: &Exchange<'_>) -> Self {
        let request = &exchange.request;
        let text = |value: &Option<Text<'_>>, default: &str| {
            value.as_ref().map_or_else(|| default.to_owned(), ToString::to_string)
        };
        let mut headers = upstream::owned(&request.headers);
        headers.push((EXCHANGE.to_owned(), name));
        headers.extend(upstream::choice(exchange).map(|choice| (UPSTREAM.to_owned(), choice)));
        Self {
            id: exchange.id.to_string(),
            moment,
            method: text(&request.method, "GET"),
            authority: text(&request.authority, "localhost"),
            path: text(&request.path, "/"),
            headers,
            body: upstream::chunks(&request.body),
            trailers: upstream::owned(&request.trailers),
            pace,
        }
    }
}
