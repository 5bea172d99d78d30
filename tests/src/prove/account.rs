//! What one client saw of its connections and requests.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Precision of what is measured, in decimal digits.
const DIGITS: u8 = 2;

/// How a client treats its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1.1, looks for a close right before it writes, as hyper, Go and browsers do.
    Looking,
    /// HTTP/1.1, writes without a look.
    Blind,
    /// HTTP/2.
    Http2,
}

/// Why a request got no complete response with status 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    /// No connection could be made for it.
    #[error("no connection")]
    NoConnection,
    /// The connection broke while it was written.
    #[error("not written")]
    NotWritten,
    /// The connection ended before a response began, or nothing came in time.
    #[error("no response")]
    NoResponse,
    /// The connection ended within the response.
    #[error("response cut")]
    Cut,
    /// The response has another status.
    #[error("status {0}")]
    Status(u16),
}

/// What became of a request: how long it took.
pub(super) type Outcome = Result<Duration, Failure>;

/// A connection; times count from the begin of the run.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// When it was there.
    pub opened: Duration,
    /// When the client learned that it must open another one.
    pub closed: Option<Duration>,
}

/// What one client saw.
#[derive(Debug, Clone)]
pub struct Account {
    /// What it is.
    pub kind: Kind,
    /// How many requests it made.
    pub requests: u64,
    /// Those that failed.
    pub failures: Vec<Failure>,
    /// Its connections, one after the other.
    pub connections: Vec<Span>,
    /// Microseconds from the begin of a request, with its new connection if it needed one, to the
    /// end of its response.
    pub latency: Histogram<u64>,
    /// Nanoseconds from the last look at a connection to the end of the write: in this time a close
    /// goes unnoticed. Only for those who look.
    pub gap: Histogram<u64>,
}

impl Account {
    pub(super) fn new(kind: Kind) -> Self {
        let histogram = || Histogram::new(DIGITS).expect("a precision");
        let (failures, connections) = (Vec::new(), Vec::new());
        Self { kind, requests: 0, failures, connections, latency: histogram(), gap: histogram() }
    }

    pub(super) fn opened(&mut self, at: Duration) {
        self.connections.push(Span { opened: at, closed: None });
    }

    pub(super) fn closed(&mut self, at: Duration) {
        if let Some(last) = self.connections.last_mut() {
            last.closed.get_or_insert(at);
        }
    }

    pub(super) fn note(&mut self, outcome: Outcome) {
        self.requests += 1;
        match outcome {
            Ok(took) => record(&mut self.latency, took.as_micros()),
            Err(failure) => self.failures.push(failure),
        }
    }

    pub(super) fn note_gap(&mut self, gap: Duration) {
        record(&mut self.gap, gap.as_nanos());
    }
}

/// What all clients of a run saw.
#[derive(Debug, Clone)]
pub struct Accounts(pub(super) Vec<Account>);

impl Accounts {
    /// How many requests were made.
    pub fn requests(&self) -> u64 {
        self.0.iter().map(|account| account.requests).sum()
    }

    /// How many requests failed.
    pub fn failed(&self) -> usize {
        self.failures().count()
    }

    /// Those of one kind of client.
    pub fn of(&self, kind: Kind) -> Self {
        Self(self.0.iter().filter(|account| account.kind == kind).cloned().collect())
    }

    /// When connections were opened that were not a client's first, in order.
    pub fn reconnects(&self) -> Vec<Duration> {
        let later = self.0.iter().flat_map(|account| account.connections.iter().skip(1));
        let mut moments: Vec<_> = later.map(|span| span.opened).collect();
        moments.sort();
        moments
    }

    pub(super) fn failures(&self) -> impl Iterator<Item = Failure> {
        self.0.iter().flat_map(|account| account.failures.iter().copied())
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = &Span> {
        self.0.iter().flat_map(|account| &account.connections)
    }

    /// The latencies, or the gaps, of all clients in one.
    pub(super) fn merged(&self, of: impl Fn(&Account) -> &Histogram<u64>) -> Histogram<u64> {
        let mut all = Histogram::new(DIGITS).expect("a precision");
        for account in &self.0 {
            all.add(of(account)).expect("a histogram that grows takes any value");
        }
        all
    }
}

fn record(histogram: &mut Histogram<u64>, value: u128) {
    let value = value.try_into().unwrap_or(u64::MAX);
    histogram.record(value).expect("a histogram that grows takes any value");
}
