//! What the clients saw: their connections, responses and failed requests, with times. All clients
//! write to one journal; after each epoch it is read and cut.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A request that was open for less time is not kept: it cannot show that a count is too low.
const LONG: Duration = Duration::from_millis(800);

/// The journal of a run.
#[derive(Debug)]
pub(super) struct Journal {
    start: Instant,
    entries: Mutex<Entries>,
}

/// A part of the journal.
#[derive(Debug, Default, Clone)]
pub(super) struct Entries {
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    /// The requests without a complete response.
    pub(super) open: BTreeMap<RequestId, Request>,
    /// The requests that were open for a long time and have ended, with the time of the end.
    pub(super) long: Vec<(Request, Duration)>,
    pub(super) failures: Vec<FailedRequest>,
    /// The number of requests that have ended.
    pub(super) requests: u64,
    /// Pipelined requests after a response that closed the connection.
    pub(super) unanswered: u64,
    last_id: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestId(u64);

/// A connection of a client.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) proxy: usize,
    pub(super) client: &'static str,
    pub(super) opened: Duration,
    pub(super) first_response: Option<Duration>,
    pub(super) closed: Option<Duration>,
    /// The responses since the last cut, in the order of their ends.
    pub(super) responses: Vec<Response>,
}

/// A complete response with status 200.
#[derive(Debug, Clone, Copy)]
pub(super) struct Response {
    /// When the client wrote the request.
    pub(super) sent: Duration,
    pub(super) received: Duration,
    pub(super) close: Close,
}

/// Whether a response closes its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    No,
    /// The filter marked the response.
    ByFilter,
    /// Envoy closes the connection for its own reasons.
    ByEnvoy,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) proxy: usize,
    /// When its connection was opened.
    pub(super) opened: Duration,
    /// When its headers were written.
    pub(super) sent: Duration,
    /// Whether its body takes time.
    pub(super) uploads: bool,
}

/// A request without a complete response with status 200.
#[derive(Debug, Clone)]
pub(super) struct FailedRequest {
    pub(super) client: &'static str,
    pub(super) request: Request,
    pub(super) at: Duration,
    pub(super) failure: Failure,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The client could not connect.
    #[error("no connection")]
    NoConnection,
    /// The connection failed while the request was written.
    #[error("not written")]
    NotWritten,
    /// The connection ended, or the timeout expired, before a response began.
    #[error("no response")]
    NoResponse,
    /// The connection ended within the response.
    #[error("response cut")]
    Cut,
    /// The response has another status, for the reason that Envoy states.
    #[error("status {0} {1}")]
    Status(u16, String),
}

impl Journal {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, entries: Mutex::default() }
    }

    /// The time since the start of the run.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connection_opened(&self, proxy: usize, client: &'static str) -> ConnectionId {
        let mut entries = self.entries();
        let id = ConnectionId(entries.next_id());
        let connection = Connection {
            proxy,
            client,
            opened: self.now(),
            first_response: None,
            closed: None,
            responses: Vec::new(),
        };
        entries.connections.insert(id, connection);
        id
    }

    pub(super) fn connection_closed(&self, id: ConnectionId) {
        let now = self.now();
        if let Some(connection) = self.entries().connections.get_mut(&id) {
            connection.closed.get_or_insert(now);
        }
    }

    /// The headers of a request were written.
    pub(super) fn request_sent(&self, connection: ConnectionId, uploads: bool) -> RequestId {
        let mut entries = self.entries();
        let id = RequestId(entries.next_id());
        let connection = &entries.connections[&connection];
        let (proxy, opened) = (connection.proxy, connection.opened);
        entries.open.insert(id, Request { proxy, opened, sent: self.now(), uploads });
        id
    }

    /// A complete response with status 200 arrived.
    pub(super) fn response_received(&self, on: ConnectionId, id: RequestId, close: Close) {
        let now = self.now();
        let mut entries = self.entries();
        let Some(request) = entries.end(id, now) else { return };
        if let Some(connection) = entries.connections.get_mut(&on) {
            connection.first_response.get_or_insert(now);
            connection.responses.push(Response { sent: request.sent, received: now, close });
        }
    }

    /// The request got no complete response with status 200.
    pub(super) fn request_failed(&self, client: &'static str, id: RequestId, failure: Failure) {
        let now = self.now();
        let mut entries = self.entries();
        if let Some(request) = entries.end(id, now) {
            entries.failures.push(FailedRequest { client, request, at: now, failure });
        }
    }

    /// A request for which there was no connection, or of a client without records.
    pub(super) fn failed_without_record(
        &self,
        client: &'static str,
        proxy: usize,
        sent: Duration,
        failure: Failure,
    ) {
        let request = Request { proxy, opened: sent, sent, uploads: false };
        let failed = FailedRequest { client, request, at: self.now(), failure };
        let mut entries = self.entries();
        entries.requests += 1;
        entries.failures.push(failed);
    }

    /// The proxy closed the connection after an earlier response, so it does not process this
    /// pipelined request.
    pub(super) fn request_unanswered(&self, id: RequestId) {
        let mut entries = self.entries();
        entries.open.remove(&id);
        entries.unanswered += 1;
    }

    /// Returns the entries since the last cut, and removes those that no later epoch needs. Long
    /// requests that ended after `keep_long` are kept.
    pub(super) fn cut(&self, keep_long: Duration) -> Entries {
        let mut entries = self.entries();
        let cut = entries.clone();
        entries.connections.retain(|_, connection| {
            connection.responses.clear();
            connection.closed.is_none()
        });
        entries.long.retain(|(_, end)| *end > keep_long);
        entries.failures.clear();
        entries.requests = 0;
        entries.unanswered = 0;
        cut
    }
}

impl Entries {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn end(&mut self, id: RequestId, now: Duration) -> Option<Request> {
        let request = self.open.remove(&id)?;
        self.requests += 1;
        if now.saturating_sub(request.sent) >= LONG {
            self.long.push((request, now));
        }
        Some(request)
    }
}
