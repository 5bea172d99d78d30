//! What the upstream did, told from what Envoy noted: response flags name how an attempt failed, times
//! say when, and what cannot be known is filled in with the plainest story that ends the same.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::record::{Attempt, End, Headers, Outcome, Span, body};

/// What the log says about an exchange's end.
#[derive(Debug, Default)]
pub(super) struct Account<'a> {
    /// What the client got; 0: nothing.
    pub(super) status: u16,
    pub(super) flags: &'a str,
    pub(super) details: &'a str,
    pub(super) attempts: u64,
    pub(super) headers: Headers,
    /// The size of the response's body; none where no body can be.
    pub(super) bytes: u64,
    pub(super) duration: Duration,
    pub(super) request_end: Option<Duration>,
    /// When the last attempt was sent.
    pub(super) upstream_start: Option<Duration>,
    /// When its response came.
    pub(super) response_start: Option<Duration>,
    pub(super) response_end: Option<Duration>,
    /// What the filter decided, if it said so.
    pub(super) decision: Option<&'a Map<String, Value>>,
}

/// Failures of an attempt or of a response that Envoy has flags for, as far as a trace can repeat them.
const FAILURES: [(&str, End); 6] = [
    ("UT", End::Never),
    ("UF", End::Refused),
    ("UPE", End::ResetInHeader),
    ("UC", End::Reset),
    ("UR", End::Reset),
    ("LR", End::Reset),
];

/// Flags of a proxy that ends a response which has begun, for reasons that a trace cannot give it: there
/// the upstream ends it.
const ENDED_BY_PROXY: [&str; 6] = ["SI", "UMSDR", "DPE", "DT", "OM", "DR"];

impl Account<'_> {
    /// An entry for each attempt; none where the upstream was not asked, because the filter answered.
    pub(super) fn upstream(&self) -> Vec<Attempt> {
        let last = match self.answered() {
            true => self.response(),
            false => match (self.status, self.failure()) {
                (0, _) => never(),
                (_, Some(end)) => self.failed(end),
                // Envoy has a word for each of its own answers; a filter's has none.
                (_, None) if self.details.is_empty() && self.attempts == 0 => return Vec::new(),
                (_, None) => self.stand_in(),
            },
        };
        let before = self.attempts.saturating_sub(1).min(MOST_TRIES);
        let mut upstream: Vec<Attempt> =
            (0..before).map(|_| self.tried_before(&last, before)).collect();
        upstream.push(last);
        upstream
    }

    /// How it ended for the client; `None` where a trace cannot make it end like that.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        if self.flagged("DR") {
            None
        } else if self.client_left() {
            Some(Outcome::Client)
        } else if self.answered() && (self.interrupted().is_some() || self.overflowed()) {
            Some(Outcome::Cut)
        } else {
            Some(Outcome::Complete)
        }
    }

    /// How often the upstream was asked, where a replay asks it as often.
    pub(super) fn asked(&self) -> Option<u64> {
        let repeats = self.answered() || self.status == 0 || self.failure().is_some();
        Some(self.attempts).filter(|attempts| repeats && *attempts > 0)
    }

    /// Whether the client got the upstream's whole response.
    pub(super) fn whole(&self) -> bool {
        self.answered() && self.outcome() == Some(Outcome::Complete)
    }

    /// Whether the client went away.
    pub(super) fn client_left(&self) -> bool {
        self.flagged("DC")
    }

    /// Whether the client went away before there was an answer.
    pub(super) fn left_unanswered(&self) -> bool {
        self.client_left() && !self.answered()
    }

    /// Whether the proxy cut a response whose held body did not fit into its buffer. Where the client
    /// had no head yet, it got a whole answer instead: 500.
    fn overflowed(&self) -> bool {
        self.details == "response_payload_too_large" && self.status != 500
    }

    fn answered(&self) -> bool {
        self.status != 0 && self.response_start.is_some()
    }

    fn flagged(&self, flag: &str) -> bool {
        self.flags.split(',').any(|word| word == flag)
    }

    fn failure(&self) -> Option<End> {
        let (_, end) = FAILURES.iter().find(|(flag, _)| self.flagged(flag))?;
        Some(match end {
            End::Reset if self.details.contains("refused_stream") => End::RefusedStream,
            end => *end,
        })
    }

    /// How a response that had begun was ended before its time.
    fn interrupted(&self) -> Option<End> {
        let limit = self.flagged("UT") || self.client_left();
        let by_proxy = || ENDED_BY_PROXY.iter().any(|flag| self.flagged(flag));
        match self.failure() {
            _ if limit => Some(End::Never),
            Some(_) => Some(End::Reset),
            None => by_proxy().then_some(End::Reset),
        }
    }

    fn response(&self) -> Attempt {
        let begin = self.response_start.unwrap_or_default();
        let asked = self.request_end.max(self.upstream_start.filter(|_| self.attempts > 1));
        let end = self.response_end.unwrap_or(self.duration);
        let bytes = match self.overflowed() {
            // The upstream had sent more than what reached the client.
            true => self.declared().unwrap_or(self.bytes),
            false => self.bytes,
        };
        Attempt {
            after: Span(begin.saturating_sub(asked.unwrap_or_default())),
            status: Some(self.status),
            headers: self.headers.clone(),
            body: body(bytes, end.saturating_sub(begin)),
            end: self.interrupted(),
        }
    }

    fn failed(&self, end: End) -> Attempt {
        let began = match end {
            End::Never => return never(),
            // These fail while the request is still on its way.
            End::Refused | End::RefusedStream => None,
            End::Reset | End::ResetInHeader => self.request_end,
        };
        let began = began.max(self.upstream_start.filter(|_| self.attempts > 1));
        let span = self.duration.saturating_sub(began.unwrap_or_default());
        let span = if self.upstream_start.is_none() { share(span, self.attempts) } else { span };
        Attempt { after: Span(span), end: Some(end), ..Attempt::default() }
    }

    /// An upstream that answers what the proxy answered, for reasons that lie outside of a trace.
    fn stand_in(&self) -> Attempt {
        let asked = self.request_end.unwrap_or_default();
        Attempt {
            after: Span(self.duration.saturating_sub(asked)),
            status: Some(self.status),
            headers: self.headers.clone(),
            body: body(self.bytes, Duration::ZERO),
            end: None,
        }
    }

    /// An attempt before the last one: it failed so that the filter's policy tried again, and all that
    /// is known beside is how long they took together.
    fn tried_before(&self, last: &Attempt, before: u64) -> Attempt {
        let begin = self.request_end.unwrap_or_default();
        let gap = match self.upstream_start {
            Some(start) => share(start.saturating_sub(begin), before),
            None => share(self.duration, before + 1),
        };
        let per_try = self.decided("per_try_ms").and_then(Value::as_u64);
        if per_try.is_some_and(|limit| gap >= Duration::from_millis(limit)) {
            return never();
        }
        let retried = self.decided("retry").and_then(Value::as_str).unwrap_or_default();
        let on = |words: &[&str]| retried.split(',').any(|word| words.contains(&word));
        let end = match last.end.filter(|end| last.status.is_none() && *end != End::Never) {
            Some(end) => end,
            None if on(&["reset", "5xx", "gateway-error"]) => End::Reset,
            None if on(&["connect-failure"]) => End::Refused,
            None if on(&["refused-stream"]) => End::RefusedStream,
            None => End::Reset,
        };
        Attempt { after: Span(gap), end: Some(end), ..Attempt::default() }
    }

    fn declared(&self) -> Option<u64> {
        let (_, length) = self.headers.iter().find(|(name, _)| name == "content-length")?;
        length.parse().ok()
    }

    fn decided(&self, field: &str) -> Option<&Value> {
        self.decision?.get(field)
    }
}

/// An attempt's share of the time of all.
fn share(span: Duration, attempts: u64) -> Duration {
    span / u32::try_from(attempts).unwrap_or(u32::MAX).max(1)
}

/// More attempts than any router makes.
const MOST_TRIES: u64 = 100;

fn never() -> Attempt {
    Attempt { end: Some(End::Never), ..Attempt::default() }
}
