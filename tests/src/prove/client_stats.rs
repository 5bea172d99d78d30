//! The requests and connections of one client, and the sums over all clients.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The precision of the histograms, in decimal digits.
const DIGITS: u8 = 2;

/// How a client uses its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// HTTP/1.1; checks for a close immediately before it writes, as hyper, Go and browsers do.
    Checking,
    /// HTTP/1.1; writes without a check.
    Blind,
    /// HTTP/2.
    Http2,
}

/// Why a request got no complete response with status 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
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
    /// The response has another status.
    #[error("status {0}")]
    Status(u16),
}

/// The latency of a request that succeeded.
pub(super) type RequestResult = Result<Duration, Failure>;

/// When a connection was open. Times count from the start of the run.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionSpan {
    /// When the connection was established.
    pub opened: Duration,
    /// When the client detected that it needs a new connection.
    pub closed: Option<Duration>,
}

/// The requests and connections of one client.
#[derive(Debug, Clone)]
pub struct ClientStats {
    /// The kind of the client.
    pub kind: ClientKind,
    /// The number of requests.
    pub requests: u64,
    /// The requests that failed.
    pub failures: Vec<Failure>,
    /// The connections in the order in which they were opened.
    pub connections: Vec<ConnectionSpan>,
    /// Microseconds from the start of a request, including a new connection if it needed one, to
    /// the end of the response.
    pub latency: Histogram<u64>,
    /// Nanoseconds from the check of a connection to the end of the write. The client does not
    /// detect a close in this time. Only for clients that check.
    pub check_to_write: Histogram<u64>,
}

impl ClientStats {
    pub(super) fn new(kind: ClientKind) -> Self {
        Self {
            kind,
            requests: 0,
            failures: Vec::new(),
            connections: Vec::new(),
            latency: histogram(),
            check_to_write: histogram(),
        }
    }

    pub(super) fn connection_opened(&mut self, at: Duration) {
        self.connections.push(ConnectionSpan { opened: at, closed: None });
    }

    pub(super) fn connection_closed(&mut self, at: Duration) {
        if let Some(last) = self.connections.last_mut() {
            last.closed.get_or_insert(at);
        }
    }

    pub(super) fn record(&mut self, result: RequestResult) {
        self.requests += 1;
        match result {
            Ok(latency) => record(&mut self.latency, latency.as_micros()),
            Err(failure) => self.failures.push(failure),
        }
    }

    pub(super) fn record_check_to_write(&mut self, time: Duration) {
        record(&mut self.check_to_write, time.as_nanos());
    }
}

/// The statistics of all clients of a run.
#[derive(Debug, Clone)]
pub struct AllClients(pub(super) Vec<ClientStats>);

impl AllClients {
    /// The number of requests.
    pub fn requests(&self) -> u64 {
        self.0.iter().map(|client| client.requests).sum()
    }

    /// The number of failed requests.
    pub fn failed(&self) -> usize {
        self.failures().count()
    }

    /// The clients of one kind.
    pub fn of(&self, kind: ClientKind) -> Self {
        Self(self.0.iter().filter(|client| client.kind == kind).cloned().collect())
    }

    /// When connections were opened other than the first of each client, in order.
    pub fn reconnects(&self) -> Vec<Duration> {
        let later = self.0.iter().flat_map(|client| client.connections.iter().skip(1));
        let mut times: Vec<_> = later.map(|span| span.opened).collect();
        times.sort();
        times
    }

    pub(super) fn failures(&self) -> impl Iterator<Item = Failure> {
        self.0.iter().flat_map(|client| client.failures.iter().copied())
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = &ConnectionSpan> {
        self.0.iter().flat_map(|client| &client.connections)
    }

    /// The sum of one histogram over all clients.
    pub(super) fn merged(&self, of: impl Fn(&ClientStats) -> &Histogram<u64>) -> Histogram<u64> {
        let mut all = histogram();
        for client in &self.0 {
            all.add(of(client)).expect("a histogram that resizes accepts any value");
        }
        all
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("a valid precision")
}

fn record(histogram: &mut Histogram<u64>, value: u128) {
    let value = value.try_into().unwrap_or(u64::MAX);
    histogram.record(value).expect("a histogram that resizes accepts any value");
}
