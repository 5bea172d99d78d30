//! Reconstructs the upstream's behavior from a log line.
//!
//! Response flags name the failure of an attempt, and the times show when it happened. If the log
//! does not determine the behavior, the reconstruction takes the simplest one with the same result
//! for the client.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::record::{Attempt, End, Headers, Outcome, TraceDuration, body};

/// The fields of a log line that describe the response.
#[derive(Debug, Default)]
pub(super) struct LoggedExchange<'a> {
    /// The client's status; 0: no response.
    pub(super) status: u16,
    pub(super) flags: &'a str,
    pub(super) details: &'a str,
    pub(super) attempts: u64,
    pub(super) headers: Headers,
    /// The size of the response body; 0 if the response cannot have a body.
    pub(super) bytes: u64,
    pub(super) duration: Duration,
    pub(super) request_end: Option<Duration>,
    /// When the proxy sent the last attempt.
    pub(super) upstream_start: Option<Duration>,
    /// When the response to the last attempt began.
    pub(super) response_start: Option<Duration>,
    pub(super) response_end: Option<Duration>,
    /// The filter's decision, if the log has it.
    pub(super) decision: Option<&'a Map<String, Value>>,
}

/// Envoy's flags for a failed attempt or a broken response, with the closest event in a trace.
const FAILURES: [(&str, End); 6] = [
    ("UT", End::Never),
    ("UF", End::Refused),
    ("UPE", End::ResetInHeader),
    ("UC", End::Reset),
    ("UR", End::Reset),
    ("LR", End::Reset),
];

/// Flags of a response that the proxy ended for a reason that a trace does not have. In the trace
/// the upstream ends it.
const ENDED_BY_PROXY: [&str; 6] = ["SI", "UMSDR", "DPE", "DT", "OM", "DR"];

/// More attempts than any router makes.
const MAX_ATTEMPTS: u64 = 100;

impl LoggedExchange<'_> {
    /// One entry for each attempt. It is empty if the filter replied without an upstream.
    pub(super) fn upstream(&self) -> Vec<Attempt> {
        let last = match self.upstream_responded() {
            true => self.response(),
            false => match (self.status, self.failure()) {
                (0, _) => never(),
                (_, Some(end)) => self.failed(end),
                // Envoy logs details for each of its own local replies, but not for a filter's.
                (_, None) if self.details.is_empty() && self.attempts == 0 => return Vec::new(),
                (_, None) => self.local_reply(),
            },
        };
        let earlier = self.attempts.saturating_sub(1).min(MAX_ATTEMPTS);
        let mut upstream: Vec<Attempt> =
            (0..earlier).map(|_| self.earlier_attempt(&last, earlier)).collect();
        upstream.push(last);
        upstream
    }

    /// How the exchange ended for the client; `None` if a trace cannot express it.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        if self.has_flag("DR") {
            None
        } else if self.client_left() {
            Some(Outcome::Client)
        } else if self.upstream_responded() && (self.interrupted().is_some() || self.overflowed()) {
            Some(Outcome::Cut)
        } else {
            Some(Outcome::Complete)
        }
    }

    /// The number of attempts, if a replay makes as many.
    pub(super) fn expected_attempts(&self) -> Option<u64> {
        let repeats = self.upstream_responded() || self.status == 0 || self.failure().is_some();
        Some(self.attempts).filter(|attempts| repeats && *attempts > 0)
    }

    /// Whether the client received the upstream's whole response.
    pub(super) fn is_whole_response(&self) -> bool {
        self.upstream_responded() && self.outcome() == Some(Outcome::Complete)
    }

    pub(super) fn client_left(&self) -> bool {
        self.has_flag("DC")
    }

    pub(super) fn client_left_before_response(&self) -> bool {
        self.client_left() && !self.upstream_responded()
    }

    /// Whether a buffered response exceeded the buffer limit after its headers were sent. Before
    /// that, the client receives a local reply with status 500.
    fn overflowed(&self) -> bool {
        self.details == "response_payload_too_large" && self.status != 500
    }

    fn upstream_responded(&self) -> bool {
        self.status != 0 && self.response_start.is_some()
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.flags.split(',').any(|word| word == flag)
    }

    fn failure(&self) -> Option<End> {
        let (_, end) = FAILURES.iter().find(|(flag, _)| self.has_flag(flag))?;
        Some(match end {
            End::Reset if self.details.contains("refused_stream") => End::RefusedStream,
            end => *end,
        })
    }

    /// How a response that had begun was interrupted.
    fn interrupted(&self) -> Option<End> {
        let stalled = self.has_flag("UT") || self.client_left();
        let by_proxy = || ENDED_BY_PROXY.iter().any(|flag| self.has_flag(flag));
        match self.failure() {
            _ if stalled => Some(End::Never),
            Some(_) => Some(End::Reset),
            None => by_proxy().then_some(End::Reset),
        }
    }

    fn response(&self) -> Attempt {
        let begin = self.response_start.unwrap_or_default();
        let sent = self.request_end.max(self.upstream_start.filter(|_| self.attempts > 1));
        let end = self.response_end.unwrap_or(self.duration);
        let bytes = match self.overflowed() {
            // The upstream sent more than the client received.
            true => self.declared_length().unwrap_or(self.bytes),
            false => self.bytes,
        };
        Attempt {
            after: TraceDuration(begin.saturating_sub(sent.unwrap_or_default())),
            status: Some(self.status),
            headers: self.headers.clone(),
            body: body(bytes, end.saturating_sub(begin)),
            end: self.interrupted(),
        }
    }

    fn failed(&self, end: End) -> Attempt {
        let sent = match end {
            End::Never => return never(),
            // These failures come before the whole request is sent.
            End::Refused | End::RefusedStream => None,
            End::Reset | End::ResetInHeader => self.request_end,
        };
        let sent = sent.max(self.upstream_start.filter(|_| self.attempts > 1));
        let time = self.duration.saturating_sub(sent.unwrap_or_default());
        let time = if self.upstream_start.is_none() { share(time, self.attempts) } else { time };
        Attempt { after: TraceDuration(time), end: Some(end), ..Attempt::default() }
    }

    /// An upstream with the response of Envoy's local reply, whose cause a trace does not have.
    fn local_reply(&self) -> Attempt {
        let sent = self.request_end.unwrap_or_default();
        Attempt {
            after: TraceDuration(self.duration.saturating_sub(sent)),
            status: Some(self.status),
            headers: self.headers.clone(),
            body: body(self.bytes, Duration::ZERO),
            end: None,
        }
    }

    /// An attempt before the last one. The log has only the total time of these attempts, and the
    /// filter's retry policy limits how they can have failed.
    fn earlier_attempt(&self, last: &Attempt, earlier: u64) -> Attempt {
        let begin = self.request_end.unwrap_or_default();
        let time = match self.upstream_start {
            Some(start) => share(start.saturating_sub(begin), earlier),
            None => share(self.duration, earlier + 1),
        };
        let per_try = self.decided("per_try_ms").and_then(Value::as_u64);
        if per_try.is_some_and(|timeout| time >= Duration::from_millis(timeout)) {
            return never();
        }
        let retry = self.decided("retry").and_then(Value::as_str).unwrap_or_default();
        let retries_on = |words: &[&str]| retry.split(',').any(|word| words.contains(&word));
        let end = match last.end.filter(|end| last.status.is_none() && *end != End::Never) {
            Some(end) => end,
            None if retries_on(&["reset", "5xx", "gateway-error"]) => End::Reset,
            None if retries_on(&["connect-failure"]) => End::Refused,
            None if retries_on(&["refused-stream"]) => End::RefusedStream,
            None if retries_on(&["retriable-status-codes"]) => {
                let statuses = self.decided("retry_status").and_then(Value::as_str);
                let status = statuses.and_then(|list| list.split(',').next()?.parse().ok());
                return Attempt { after: TraceDuration(time), status, ..Attempt::default() };
            }
            None => End::Reset,
        };
        Attempt { after: TraceDuration(time), end: Some(end), ..Attempt::default() }
    }

    fn declared_length(&self) -> Option<u64> {
        let (_, length) = self.headers.iter().find(|(name, _)| name == "content-length")?;
        length.parse().ok()
    }

    fn decided(&self, field: &str) -> Option<&Value> {
        self.decision?.get(field)
    }
}

/// One attempt's share of the time of all.
fn share(time: Duration, attempts: u64) -> Duration {
    time / u32::try_from(attempts).unwrap_or(u32::MAX).max(1)
}

fn never() -> Attempt {
    Attempt { end: Some(End::Never), ..Attempt::default() }
}
