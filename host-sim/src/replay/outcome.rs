//! What came of a replay, for people and programs to read.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::ser::Serializer;

use crate::trace::{EndedBy, Outcome, Trace};
use crate::{HeaderMap, LogLevel, Metric};

use super::Options;
use super::connections::Connection;
use super::exchange::Live;
use super::verdict::{self, Mismatch};

/// What came of a replay. Times are counted from the start of the trace, in nanoseconds where they are
/// serialized.
#[derive(Debug, Serialize)]
pub struct Report<'t> {
    /// The trace's name.
    pub trace: &'t str,
    /// The profile's name.
    pub profile: &'static str,
    /// The seed.
    pub seed: u64,
    /// How many workers there were.
    pub workers: u32,
    /// Whether a filter ran.
    pub filter: bool,
    /// Virtual time at the end.
    #[serde(serialize_with = "nanoseconds")]
    pub ended: Duration,
    /// The exchanges, in the order of the trace.
    pub exchanges: Vec<ExchangeReport<'t>>,
    /// The connections, in the order of the trace, each time they were open.
    pub connections: Vec<ConnectionReport<'t>>,
    /// The configurations that were pushed.
    pub configurations: Vec<ConfigurationReport>,
    /// The checks of metrics.
    pub metric_checks: Vec<MetricsReport>,
    /// What else happened: writes to shared data, answers that changed, clients that left.
    pub notes: Vec<Note>,
    /// All metrics at the end, by name.
    #[serde(serialize_with = "metrics")]
    pub metrics: Vec<Metric>,
    /// What the filter logged.
    pub log: Vec<LogLine>,
    /// How often the filter broke.
    pub traps: u32,
}

/// What came of an exchange.
#[derive(Debug, Serialize)]
pub struct ExchangeReport<'t> {
    /// The line of the trace.
    pub line: u32,
    /// The exchange's name.
    pub id: &'t str,
    /// When the client sent the request.
    #[serde(serialize_with = "nanoseconds")]
    pub sent: Duration,
    /// The connection: an index into the trace's connections.
    #[serde(skip)]
    pub connection: usize,
    /// The connection's name.
    #[serde(rename = "connection")]
    pub connection_name: &'t str,
    /// How often the connection had been opened then, from 1.
    pub opening: u32,
    /// The worker that served it.
    pub worker: usize,
    /// The request's method.
    pub method: &'t str,
    /// The request's path with its query.
    pub path: &'t str,
    /// The route that the filter reported.
    #[serde(serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub route: Option<Arc<str>>,
    /// What the filter reported about its decisions.
    #[serde(serialize_with = "raw_objects")]
    pub decisions: Vec<Arc<str>>,
    /// The status that the client got.
    pub status: Option<u16>,
    /// From the request to the body's first byte, or to the headers of a response without a body.
    #[serde(serialize_with = "optional_nanoseconds")]
    pub first_byte: Option<Duration>,
    /// From the request to its end for the client.
    #[serde(serialize_with = "nanoseconds")]
    pub last_byte: Duration,
    /// The headers that the client got.
    #[serde(serialize_with = "fields")]
    pub headers: HeaderMap,
    /// The trailers that the client got.
    #[serde(serialize_with = "fields", skip_serializing_if = "HeaderMap::is_empty")]
    pub trailers: HeaderMap,
    /// The length of the body that the client got.
    pub body_bytes: u64,
    /// Its SHA-256, where somebody asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<String>,
    /// How it ended for the client.
    #[serde(serialize_with = "display")]
    pub end: Outcome,
    /// Who ended it; `None` where nothing did.
    #[serde(serialize_with = "optional_display")]
    pub ended_by: Option<EndedBy>,
    /// Why it failed, as the filter reported it.
    #[serde(serialize_with = "optional_text")]
    pub reason: Option<Arc<str>>,
    /// Whether the proxy announced with it that it closes the connection.
    pub closed: bool,
    /// What the upstream got.
    pub upstream: UpstreamReport,
    /// How many expectations the trace has of it.
    pub expected: usize,
    /// Those that did not hold.
    pub failures: Vec<Mismatch>,
}

/// What the upstream got of an exchange.
#[derive(Debug, Serialize)]
pub struct UpstreamReport {
    /// How often the request was tried; 0 if it never left the proxy.
    pub attempts: u32,
    /// From the request to the moment when its headers left for the upstream.
    #[serde(serialize_with = "optional_nanoseconds")]
    pub start: Option<Duration>,
    /// The length of the request's body.
    pub body_bytes: u64,
}

/// A connection while it was open.
#[derive(Debug, Serialize)]
pub struct ConnectionReport<'t> {
    /// The connection: an index into the trace's connections.
    #[serde(skip)]
    pub index: usize,
    /// The name in the trace.
    pub name: &'t str,
    /// How often it had been opened, this time included.
    pub opening: u32,
    /// Property `connection.id`.
    pub id: u64,
    /// The worker.
    pub worker: usize,
    /// When it was opened.
    #[serde(serialize_with = "nanoseconds")]
    pub opened: Duration,
    /// When it was closed.
    #[serde(serialize_with = "optional_nanoseconds")]
    pub closed: Option<Duration>,
    /// By whom; `None` if it was open at the end.
    pub by: Option<ClosedBy>,
}

/// Who closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// The proxy, because the filter wanted it, or because a message was torn.
    Proxy,
    /// The client.
    Client,
}

/// What came of a configuration.
#[derive(Debug, Serialize)]
pub struct ConfigurationReport {
    /// The line of the trace.
    pub line: u32,
    /// When it was pushed.
    #[serde(serialize_with = "nanoseconds")]
    pub at: Duration,
    /// Whether it was accepted.
    pub accepted: bool,
    /// The filter's words where it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The expectation, if it did not hold.
    pub failures: Vec<Mismatch>,
}

/// What came of a look at the metrics.
#[derive(Debug, Serialize)]
pub struct MetricsReport {
    /// The line of the trace.
    pub line: u32,
    /// When they were looked at.
    #[serde(serialize_with = "nanoseconds")]
    pub at: Duration,
    /// How many were looked at.
    pub expected: usize,
    /// Those that had another value.
    pub failures: Vec<Mismatch>,
}

/// Something that happened without an outcome of its own.
#[derive(Debug, Serialize)]
pub struct Note {
    /// The line of the trace.
    pub line: u32,
    /// When it happened.
    #[serde(serialize_with = "nanoseconds")]
    pub at: Duration,
    /// What happened, for people to read.
    pub text: String,
}

/// A line that the filter logged, or that the host says about it.
#[derive(Debug, Serialize)]
pub struct LogLine {
    /// When.
    #[serde(serialize_with = "nanoseconds")]
    pub at: Duration,
    /// The worker; `None` for the main thread, which tries configurations.
    pub worker: Option<u32>,
    /// How loud.
    #[serde(serialize_with = "level")]
    pub level: LogLevel,
    /// The text.
    pub text: String,
}

impl<'t> Report<'t> {
    /// A report of a replay that begins.
    pub(super) fn new(trace: &'t Trace<'t>, options: &Options, filter: bool) -> Self {
        Self {
            trace: &trace.name,
            profile: options.profile.name(),
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
            log: Vec::new(),
            traps: 0,
        }
    }

    /// Notes that a connection is over, or was still open at the end.
    pub(super) fn connection(
        &mut self,
        connection: &Connection<'t>,
        closed: Option<(Duration, ClosedBy)>,
    ) {
        let Some(info) = &connection.info else { return };
        self.connections.push(ConnectionReport {
            index: connection.index,
            name: connection.name,
            opening: connection.generation,
            id: info.id,
            worker: connection.worker,
            opened: connection.opened,
            closed: closed.map(|(at, _)| at),
            by: closed.map(|(_, by)| by),
        });
    }

    /// Brings what was noted in the order of events into the order of the trace.
    pub(super) fn sort(&mut self) {
        self.exchanges.sort_by_key(|exchange| exchange.line);
        self.connections.sort_by_key(|connection| (connection.index, connection.opening));
        self.metrics.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// How many expectations the trace has.
    pub fn expected(&self) -> usize {
        let exchanges: usize = self.exchanges.iter().map(|exchange| exchange.expected).sum();
        let metrics: usize = self.metric_checks.iter().map(|check| check.expected).sum();
        exchanges + metrics + self.configurations.len()
    }

    /// Every expectation that did not hold, with the line and the name of what it belongs to.
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

impl<'t> ExchangeReport<'t> {
    /// Judges an exchange that ends now.
    pub(super) fn new(
        live: &mut Live<'t>,
        outcome: Outcome,
        now: Duration,
        opening: u32,
        name: &'t str,
    ) -> Self {
        let client = &mut live.client;
        let first = match client.status {
            Some(_) => Some(client.body_at.unwrap_or(client.headers_at)),
            None => None,
        };
        let request = &live.spec.request;
        let started = live.forwarded.headers.is_some();
        let mut report = Self {
            line: live.line,
            id: &live.spec.id,
            sent: live.sent,
            connection: live.spec.connection.0,
            connection_name: name,
            opening,
            worker: live.worker,
            method: request.method.as_deref().unwrap_or("GET"),
            path: request.path.as_deref().unwrap_or("/"),
            route: live.route.take(),
            decisions: std::mem::take(&mut live.decisions),
            status: client.status,
            first_byte: first.map(|at| at.saturating_sub(live.sent)),
            last_byte: now.saturating_sub(live.sent),
            headers: std::mem::take(&mut client.headers),
            trailers: std::mem::take(&mut client.trailers),
            body_bytes: client.body.bytes,
            body_sha256: client.body.sha256(),
            end: outcome,
            ended_by: match outcome {
                Outcome::Complete | Outcome::Cut => live.answered_by,
                Outcome::Client => Some(EndedBy::Client),
                Outcome::Open => None,
            },
            reason: live.reason.take(),
            closed: live.closes,
            upstream: UpstreamReport {
                attempts: live.tries,
                start: started.then(|| live.forwarded.at.saturating_sub(live.sent)),
                body_bytes: live.forwarded.body.bytes,
            },
            expected: 0,
            failures: Vec::new(),
        };
        if let Some(expect) = &live.spec.expect {
            verdict::judge(&mut report, &live.forwarded, expect);
        }
        report
    }
}

fn nanoseconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(span.as_nanos() as u64)
}

fn optional_nanoseconds<S: Serializer>(
    span: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    span.map(|span| span.as_nanos() as u64).serialize(serializer)
}

fn optional_text<S: Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

fn display<S: Serializer>(value: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn optional_display<S: Serializer>(
    value: &Option<EndedBy>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.map(|value| value.to_string()).serialize(serializer)
}

fn level<S: Serializer>(level: &LogLevel, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{level:?}").to_lowercase())
}

fn fields<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(headers.iter().map(|(name, value)| {
        [String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()]
    }))
}

fn metrics<S: Serializer>(metrics: &[Metric], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(metrics.iter().map(|metric| (&metric.name, metric.value)))
}

/// The objects as they are, not as strings that contain JSON; one that is none becomes a string.
fn raw_objects<S: Serializer>(objects: &[Arc<str>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(objects.iter().map(|text| {
        serde_json::from_str::<serde_json::Value>(text)
            .unwrap_or_else(|_| serde_json::Value::String(text.to_string()))
    }))
}
