//! The report of a replay.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::trace::{EndedBy, Outcome, Trace};
use crate::{HeaderMap, LogLevel, Metric};

use super::calls::CallReport;
use super::options::Options;
use super::serialize::{
    display, header_fields, is_zero, level, metrics, nanoseconds, optional_display,
    optional_nanoseconds, optional_text, raw_objects,
};

/// The report of a replay. Times count from the start of the trace and are serialized in
/// nanoseconds.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Report<'t> {
    /// The name of the trace.
    pub trace: &'t str,
    /// The name of the profile.
    pub profile: &'static str,
    /// The preset and the version of the proxy, if a setup describes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    pub seed: u64,
    /// The number of workers.
    pub workers: u32,
    /// Whether the proxy had a filter.
    pub filter: bool,
    /// The virtual time at the end.
    #[serde(serialize_with = "nanoseconds")]
    pub ended: Duration,
    /// In the order of the trace.
    pub exchanges: Vec<ExchangeReport<'t>>,
    /// In the order of the trace, with an entry for each time that a connection was opened.
    pub connections: Vec<ConnectionReport<'t>>,
    /// The configurations that the trace pushes.
    pub configurations: Vec<ConfigurationReport>,
    /// The expectations of metrics.
    pub metric_checks: Vec<MetricsReport>,
    /// The other events: writes to shared data, responses of clusters, closes of clients.
    pub notes: Vec<Note>,
    /// All metrics at the end, by name.
    #[serde(serialize_with = "metrics")]
    pub metrics: Vec<Metric>,
    /// What the trace uses and the replay does not simulate; each once.
    pub warnings: Vec<Warning>,
    /// The log, up to [`MAX_LOG_BYTES`](Self::MAX_LOG_BYTES).
    pub log: Vec<LogLine>,
    /// The number of lines of the log that were dropped: after those in `log`, or because one
    /// callback logged too much.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted_log_lines: u64,
    #[serde(skip)]
    log_bytes: usize,
    /// The bytes of large exchanges that are kept beyond [`EXCHANGE_BYTES`](Self::EXCHANGE_BYTES).
    #[serde(skip)]
    excess_bytes: usize,
    /// The calls of the filter to clusters, if the options ask for them; at most
    /// [`MAX_KEPT`](Self::MAX_KEPT).
    #[serde(skip)]
    pub calls: Vec<CallReport>,
    /// The crashes of the filter, in the order of time; at most [`MAX_KEPT`](Self::MAX_KEPT).
    pub traps: Vec<TrapReport<'t>>,
    /// The number of crashes after those in `traps`.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted_traps: u64,
    /// What went wrong outside of expectations, in the order of time; at most
    /// [`MAX_KEPT`](Self::MAX_KEPT). A replay with a problem has failed.
    pub problems: Vec<Problem>,
    /// The number of problems after those in `problems`.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted_problems: u64,
}

/// A crash of the filter.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct TrapReport<'t> {
    /// The line of the trace: that of the exchange whose callback crashed, else that of the
    /// configuration in force; `None` if the trace has no such line.
    pub line: Option<u32>,
    #[serde(serialize_with = "nanoseconds")]
    pub at: Duration,
    /// `None` for the main thread, which validates configurations.
    pub worker: Option<u32>,
    /// The name of the exchange; `None` for a callback of the plugin.
    pub exchange: Option<&'t str>,
    /// The callback that crashed.
    pub callback: &'static str,
    pub message: String,
    /// Whether the trace expects it.
    pub expected: bool,
}

/// A reason why a replay failed that is not an expectation of the trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The line of the trace, if one line causes the problem.
    pub line: Option<u32>,
    #[serde(serialize_with = "nanoseconds")]
    pub at: Duration,
    /// What was found, what was expected, and what to do.
    pub text: String,
}

/// The report of an exchange.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct ExchangeReport<'t> {
    /// The line of the trace.
    pub line: u32,
    pub id: &'t str,
    /// When the client sent the request.
    #[serde(serialize_with = "nanoseconds")]
    pub sent: Duration,
    /// An index into the connections of the trace.
    #[serde(skip)]
    pub connection: usize,
    #[serde(rename = "connection")]
    pub connection_name: &'t str,
    /// The number of times that the connection had been opened, from 1.
    pub opening: u32,
    pub worker: usize,
    pub method: &'t str,
    /// The path with its query.
    pub path: &'t str,
    /// The route that the filter reported.
    #[serde(serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub route: Option<Arc<str>>,
    /// The decisions that the filter reported.
    #[serde(serialize_with = "raw_objects")]
    pub decisions: Vec<Arc<str>>,
    /// The status of the client's response.
    pub status: Option<u16>,
    /// The time from the request to the first byte of the body, or to the headers of a response
    /// without a body.
    #[serde(serialize_with = "optional_nanoseconds")]
    pub first_byte: Option<Duration>,
    /// The time from the request to the end of the exchange for the client.
    #[serde(serialize_with = "nanoseconds")]
    pub last_byte: Duration,
    /// The headers of the client's response.
    #[serde(serialize_with = "header_fields")]
    pub headers: HeaderMap,
    /// The trailers of the client's response.
    #[serde(serialize_with = "header_fields", skip_serializing_if = "HeaderMap::is_empty")]
    pub trailers: HeaderMap,
    /// The length of the client's response body.
    pub body_bytes: u64,
    /// The SHA-256 of the client's response body, if the trace or the options require it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<String>,
    /// How the exchange ended for the client.
    #[serde(serialize_with = "display")]
    pub end: Outcome,
    /// `None` if the exchange was open at the end of the trace.
    #[serde(serialize_with = "optional_display")]
    pub ended_by: Option<EndedBy>,
    /// The reason of the failure that the filter reported.
    #[serde(serialize_with = "optional_text")]
    pub reason: Option<Arc<str>>,
    /// Whether the response announced the close of the connection.
    pub closed: bool,
    pub upstream: UpstreamReport,
    /// Whether headers, trailers and decisions are missing here, because the filter made them very
    /// large. They were compared with the expectations before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The number of expectations.
    pub expected: usize,
    /// The expectations that failed.
    pub failures: Vec<Mismatch>,
}

/// The request as the upstream received it.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct UpstreamReport {
    /// The number of attempts; 0 if the request did not leave the proxy.
    pub attempts: u32,
    /// The time from the request to the delivery of its headers to the upstream.
    #[serde(serialize_with = "optional_nanoseconds")]
    pub start: Option<Duration>,
    /// The length of the request body.
    pub body_bytes: u64,
    /// The request headers in the last attempt.
    #[serde(skip)]
    pub headers: HeaderMap,
    /// The SHA-256 of the request body, if the trace or the options require it.
    #[serde(skip)]
    pub body_sha256: Option<String>,
    /// Whether the upstream received the whole request.
    #[serde(skip)]
    pub complete: bool,
}

/// A connection from one open to the next.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct ConnectionReport<'t> {
    /// An index into the connections of the trace.
    #[serde(skip)]
    pub index: usize,
    /// The name in the trace.
    pub name: &'t str,
    /// The number of times that the connection had been opened, from 1.
    pub opening: u32,
    /// The property `connection.id`.
    pub id: u64,
    pub worker: usize,
    /// When it was opened.
    #[serde(serialize_with = "nanoseconds")]
    pub opened: Duration,
    /// When it was closed.
    #[serde(serialize_with = "optional_nanoseconds")]
    pub closed: Option<Duration>,
    /// The peer that closed it; `None` if it was open at the end of the trace.
    pub by: Option<ClosedBy>,
}

/// The peer that closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// The proxy: because of the filter, or because of an incomplete message.
    Proxy,
    Client,
}

/// The report of a configuration.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct ConfigurationReport {
    /// The line of the trace.
    pub line: u32,
    /// When it was pushed.
    #[serde(serialize_with = "nanoseconds")]
    pub at: Duration,
    pub accepted: bool,
    /// The number of expectations.
    pub expected: usize,
    /// Why the filter rejected it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The expectations that failed.
    pub failures: Vec<Mismatch>,
}

/// The report of a `metrics` event.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct MetricsReport {
    /// The line of the trace.
    pub line: u32,
    #[serde(serialize_with = "nanoseconds")]
    pub at: Duration,
    /// The number of expectations.
    pub expected: usize,
    /// The expectations that failed.
    pub failures: Vec<Mismatch>,
}

/// An event without a report of its own.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Note {
    /// The line of the trace.
    pub line: u32,
    #[serde(serialize_with = "nanoseconds")]
    pub at: Duration,
    /// What happened, for people to read.
    pub text: String,
}

/// A log line of the filter, or of the host about the filter.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct LogLine {
    #[serde(serialize_with = "nanoseconds")]
    pub at: Duration,
    /// `None` for the main thread, which validates configurations.
    pub worker: Option<u32>,
    #[serde(serialize_with = "level")]
    pub level: LogLevel,
    pub text: String,
}

/// An expectation that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Mismatch {
    /// The field of the expectation, such as `status` or `headers.x-a`.
    pub field: String,
    /// The expected value.
    pub want: String,
    /// The actual value.
    pub got: String,
}

impl Mismatch {
    /// Returns a mismatch unless the values are equal.
    pub(super) fn check<T: PartialEq + Display>(field: &str, want: &T, got: &T) -> Option<Self> {
        (want != got).then(|| Self {
            field: field.to_owned(),
            want: want.to_string(),
            got: got.to_string(),
        })
    }

    /// Returns a mismatch unless the metric has this value, or does not exist as expected.
    pub(super) fn check_metric(name: &str, want: Option<u64>, got: Option<u64>) -> Option<Self> {
        let text = |value: Option<u64>| {
            value.map_or_else(|| "no such metric".to_owned(), |value| value.to_string())
        };
        Self::check(name, &text(want), &text(got))
    }
}

/// A use of something that a replay does not simulate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Warning {
    /// The first line of the trace that uses it, if one does.
    pub line: Option<u32>,
    pub text: String,
}

impl<'t> Report<'t> {
    /// The number of crashes and of problems that a report keeps. A filter that crashes on every
    /// tick must not fill the memory.
    pub const MAX_KEPT: usize = 1000;

    /// The bytes of log that a report keeps.
    pub const MAX_LOG_BYTES: usize = 16 << 20;

    /// The bytes of headers, trailers and decisions that a report keeps of every exchange.
    const EXCHANGE_BYTES: usize = 4096;

    /// The bytes beyond [`EXCHANGE_BYTES`](Self::EXCHANGE_BYTES) of all exchanges that it keeps.
    const EXCESS_BYTES: usize = 64 << 20;

    /// The empty report at the start of a replay.
    pub(super) fn new(trace: &'t Trace<'t>, options: &Options, filter: bool) -> Self {
        Self {
            trace: &trace.name,
            profile: options.profile.name(),
            proxy: None,
            seed: options.seed,
            workers: options.workers.get(),
            filter,
            ended: Duration::ZERO,
            exchanges: Vec::with_capacity(trace.events.len()),
            connections: Vec::new(),
            configurations: Vec::new(),
            metric_checks: Vec::new(),
            notes: Vec::new(),
            metrics: Vec::new(),
            warnings: Vec::new(),
            log: Vec::new(),
            omitted_log_lines: 0,
            log_bytes: 0,
            excess_bytes: 0,
            calls: Vec::new(),
            traps: Vec::new(),
            omitted_traps: 0,
            problems: Vec::new(),
            omitted_problems: 0,
        }
    }

    /// Adds a line of the log, or counts it if the log is too long.
    pub(super) fn add_log(&mut self, line: LogLine) {
        let bytes = line.text.len() + size_of::<LogLine>();
        if self.log_bytes + bytes > Self::MAX_LOG_BYTES {
            self.omitted_log_lines += 1;
            return;
        }
        self.log_bytes += bytes;
        self.log.push(line);
    }

    /// Adds an exchange. If the filter made it very large, without its headers and decisions.
    pub(super) fn add_exchange(&mut self, mut exchange: ExchangeReport<'t>) {
        let decisions: usize = exchange.decisions.iter().map(|decision| decision.len()).sum();
        let maps = exchange.headers.serialized_len() + exchange.trailers.serialized_len();
        let excess = (maps + decisions).saturating_sub(Self::EXCHANGE_BYTES);
        if self.excess_bytes + excess > Self::EXCESS_BYTES {
            exchange.headers = HeaderMap::new();
            exchange.trailers = HeaderMap::new();
            exchange.decisions = Vec::new();
            exchange.truncated = true;
        } else {
            self.excess_bytes += excess;
        }
        self.exchanges.push(exchange);
    }

    /// Adds a crash, or counts it if there are too many.
    pub(super) fn add_trap(&mut self, trap: TrapReport<'t>) {
        match self.traps.len() < Self::MAX_KEPT {
            true => self.traps.push(trap),
            false => self.omitted_traps += 1,
        }
    }

    /// Adds a problem, or counts it if there are too many.
    pub(super) fn add_problem(&mut self, problem: Problem) {
        match self.problems.len() < Self::MAX_KEPT {
            true => self.problems.push(problem),
            false => self.omitted_problems += 1,
        }
    }

    /// Changes the order from the one in which exchanges and connections ended to that of the
    /// trace.
    pub(super) fn sort(&mut self) {
        self.exchanges.sort_by_key(|exchange| exchange.line);
        self.connections.sort_by_key(|connection| (connection.index, connection.opening));
        self.metrics.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// The number of expectations in the trace.
    pub fn expected(&self) -> usize {
        let exchanges: usize = self.exchanges.iter().map(|exchange| exchange.expected).sum();
        let metrics: usize = self.metric_checks.iter().map(|check| check.expected).sum();
        let configurations: usize = self.configurations.iter().map(|push| push.expected).sum();
        exchanges + metrics + configurations
    }

    /// The number of failed expectations and problems. The replay succeeded if it is 0.
    pub fn failed(&self) -> usize {
        let omitted = usize::try_from(self.omitted_problems).unwrap_or(usize::MAX);
        self.failures().count().saturating_add(self.problems.len()).saturating_add(omitted)
    }

    /// The expectations that failed, each with the line of its event and the name of the exchange
    /// or event.
    pub fn failures(&self) -> impl Iterator<Item = (u32, &str, &Mismatch)> {
        let exchanges = self.exchanges.iter().flat_map(|exchange| {
            exchange.failures.iter().map(move |failure| (exchange.line, exchange.id, failure))
        });
        let configurations = self
            .configurations
            .iter()
            .flat_map(|push| push.failures.iter().map(|failure| (push.line, "configure", failure)));
        let metrics = self.metric_checks.iter().flat_map(|check| {
            check.failures.iter().map(|failure| (check.line, "metrics", failure))
        });
        exchanges.chain(configurations).chain(metrics)
    }
}
