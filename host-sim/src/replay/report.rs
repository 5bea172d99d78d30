//! The parts of a report: exchanges, connections, and what else happened. Times count from the start
//! of the trace and are serialized in nanoseconds.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::trace::{EndedBy, Outcome};
use crate::{HeaderMap, LogLevel};

use super::serialize::{
    display, header_fields, level, nanoseconds, optional_display, optional_nanoseconds,
    optional_text, raw_objects,
};

/// A crash of the filter.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct TrapReport {
    /// The line of the trace: that of the exchange whose callback crashed, else that of the
    /// configuration in force; `None` if the trace has no such line.
    pub line: Option<u32>,
    #[serde(serialize_with = "nanoseconds")]
    pub at: Duration,
    /// `None` for the main thread, which validates configurations.
    pub worker: Option<u32>,
    /// The name of the exchange; `None` for a callback of the plugin.
    pub exchange: Option<String>,
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

/// The report of an exchange. It borrows from the trace while the replay runs.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ExchangeReport<'t> {
    /// The line of the trace.
    pub line: u32,
    pub id: Cow<'t, str>,
    /// When the client sent the request.
    #[serde(serialize_with = "nanoseconds")]
    pub sent: Duration,
    /// The number of the exchange in the trace, counted from 0.
    #[serde(skip)]
    pub number: u64,
    /// An index into the connections of the trace.
    #[serde(skip)]
    pub connection: usize,
    #[serde(rename = "connection")]
    pub connection_name: Cow<'t, str>,
    /// The number of times that the connection had been opened, from 1.
    pub opening: u32,
    pub worker: usize,
    pub method: Cow<'t, str>,
    /// The path with its query.
    pub path: Cow<'t, str>,
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

impl ExchangeReport<'_> {
    /// The same report without borrowed parts.
    pub fn into_owned(self) -> ExchangeReport<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        ExchangeReport {
            id: owned(self.id),
            connection_name: owned(self.connection_name),
            method: owned(self.method),
            path: owned(self.path),
            ..self
        }
    }
}

/// The request as the upstream received it.
#[derive(Debug, Clone, Serialize)]
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
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConnectionReport<'t> {
    /// An index into the connections of the trace.
    #[serde(skip)]
    pub index: usize,
    /// The name in the trace.
    pub name: Cow<'t, str>,
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
