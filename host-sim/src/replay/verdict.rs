//! Compares an exchange with its expectations.
//!
//! An expectation of something that did not happen fails: a header that should be absent from a
//! response that never came, or a decision of a filter that never saw the exchange.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::HeaderMap;
use crate::trace::{Bound, Expect, Outcome, Text, TrapExpect, UpstreamExpect};

use super::exchange::ForwardedRequest;
use super::report::{ExchangeReport, Mismatch};

/// What a verdict needs in addition to the report of the exchange.
pub(super) struct Facts<'a> {
    /// The request as the upstream received it.
    pub(super) forwarded: &'a ForwardedRequest,
    /// The message of the crash that hit the exchange.
    pub(super) trap: Option<&'a str>,
    /// Why the client never sent the request.
    pub(super) unsent: Option<&'a str>,
    /// Whether the trace gives the exchange no end, so that it can be open at the end of the trace.
    pub(super) endless: bool,
}

/// Compares an exchange with `expect`, and adds the result to its report.
pub(super) fn judge(report: &mut ExchangeReport<'_>, facts: &Facts<'_>, expect: &Expect<'_>) {
    let mut judge = Judge { expected: 0, failures: Vec::new(), prefix: "" };
    let open = report.end == Outcome::Open;
    if let Some(reason) = facts.unsent
        && expect.end != Some(report.end)
    {
        judge.expected += 1;
        judge.fail("request", &"to be sent", Some(format!("nothing: {reason}")));
    }
    judge.equal("status", expect.status, report.status);
    let handled = !report.decisions.is_empty();
    judge.reported("route", expect.route.as_deref(), report.route.as_deref(), handled);
    judge.decision(&expect.decision, &report.decisions);
    let headers = report.status.is_some().then_some(&report.headers);
    judge.headers(&expect.headers, &expect.absent, headers, "no response");
    judge.equal("closed", expect.closed, Some(report.closed));
    judge.bound("first_byte", expect.first_byte, report.first_byte);
    judge.bound("last_byte", expect.last_byte, Some(report.last_byte).filter(|_| !open));
    judge.equal("body_bytes", expect.body_bytes, Some(report.body_bytes));
    judge.equal("body_sha256", expect.body_sha256.as_deref(), report.body_sha256.as_deref());
    judge.equal("end", expect.end, Some(report.end));
    if open && expect.end.is_none() && facts.unsent.is_none() && !facts.endless {
        judge.expected += 1;
        let got = "an exchange that is open at the end of the trace; if that is intended, write \
                   \"end\":\"open\"";
        judge.fail("end", &"complete, cut or client", Some(got.to_owned()));
    }
    judge.equal("ended_by", expect.ended_by, report.ended_by);
    judge.reported("reason", expect.reason.as_deref(), report.reason.as_deref(), handled);
    if let Some(want) = &expect.trap {
        judge.expected += 1;
        if let Some((want, got)) = trap_mismatch(want, facts.trap) {
            judge.fail("trap", &want, Some(got));
        }
    }
    if let Some(upstream) = &expect.upstream {
        judge.upstream(upstream, report, facts.forwarded);
    }
    report.expected = judge.expected;
    report.failures = judge.failures;
}

/// The expected and the actual crash, if they differ.
pub(super) fn trap_mismatch(want: &TrapExpect<'_>, got: Option<&str>) -> Option<(String, String)> {
    let meets = match (want, got) {
        (TrapExpect::Crashes(false), None) => true,
        (_, Some(message)) => want.matches(message),
        (_, None) => false,
    };
    (!meets).then(|| (want.to_string(), got.unwrap_or("no crash").to_owned()))
}

struct Judge {
    expected: usize,
    failures: Vec<Mismatch>,
    /// Precedes the names of fields.
    prefix: &'static str,
}

impl Judge {
    fn upstream(
        &mut self,
        expect: &UpstreamExpect<'_>,
        report: &ExchangeReport<'_>,
        forwarded: &ForwardedRequest,
    ) {
        self.prefix = "upstream.";
        self.equal("attempts", expect.attempts, Some(report.upstream.attempts));
        self.bound("start", expect.start, report.upstream.start);
        self.headers(&expect.headers, &expect.absent, forwarded.headers.as_ref(), "no request");
        // A trace that expects no attempt can also expect that no byte leaves the proxy.
        let received = forwarded.headers.is_some() || expect.attempts == Some(0);
        let bytes = received.then_some(forwarded.body.bytes);
        self.equal("body_bytes", expect.body_bytes, bytes);
        let hash = forwarded.body.sha256();
        self.equal("body_sha256", expect.body_sha256.as_deref(), hash.as_deref());
    }

    /// Compares a text that the filter reports with its decisions; `""` expects none. A filter that
    /// reported no decision at all did not handle the exchange.
    fn reported(&mut self, field: &str, want: Option<&str>, got: Option<&str>, handled: bool) {
        let Some(want) = want else { return };
        self.expected += 1;
        let got = got.unwrap_or_default();
        if got != want {
            self.fail(field, &want, Some(got.to_owned()));
        } else if !handled {
            self.fail(field, &want, Some(UNHANDLED.to_owned()));
        }
    }

    fn decision(&mut self, expect: &Map<String, Value>, reported: &[Arc<str>]) {
        if expect.is_empty() {
            return;
        }
        let handled = !reported.is_empty();
        let objects = reported.iter().filter_map(|text| serde_json::from_str(text).ok());
        let reported: Map<String, Value> = objects.flat_map(Map::into_iter).collect();
        for (field, want) in expect {
            let got = reported.get(field).filter(|value| !value.is_null());
            let want = Some(want).filter(|value| !value.is_null());
            self.expected += 1;
            if !handled || got != want {
                let text = |value: Option<&Value>| match value {
                    Some(Value::String(text)) => text.clone(),
                    Some(value) => value.to_string(),
                    None => NOTHING.to_owned(),
                };
                let got = if got == want { UNHANDLED.to_owned() } else { text(got) };
                self.fail(&format!("decision.{field}"), &text(want), Some(got));
            }
        }
    }

    fn equal<T: PartialEq + Display>(&mut self, field: &str, want: Option<T>, got: Option<T>) {
        let Some(want) = want else { return };
        self.expected += 1;
        if got.as_ref() != Some(&want) {
            self.fail(field, &want, got.map(|got| got.to_string()));
        }
    }

    fn bound(&mut self, field: &str, want: Option<Bound>, got: Option<Duration>) {
        let Some(want) = want else { return };
        self.expected += 1;
        if !got.is_some_and(|got| want.contains(got)) {
            self.fail(field, &want, got.map(|got| format!("{got:?}")));
        }
    }

    fn headers(
        &mut self,
        present: &BTreeMap<Text<'_>, Text<'_>>,
        absent: &[Text<'_>],
        got: Option<&HeaderMap>,
        missing: &str,
    ) {
        for (name, want) in present {
            self.expected += 1;
            let values = got.map(|got| values(got, name)).unwrap_or_default();
            if !values.iter().any(|value| value == &**want) {
                let got = (!values.is_empty()).then(|| values.join(", "));
                self.fail(&format!("headers.{name}"), want, got);
            }
        }
        for name in absent {
            self.expected += 1;
            let values = got.map(|got| values(got, name)).unwrap_or_default();
            let got = match got {
                None => missing.to_owned(),
                Some(_) if values.is_empty() => continue,
                Some(_) => values.join(", "),
            };
            self.fail(&format!("absent.{name}"), &"no such header", Some(got));
        }
    }

    fn fail(&mut self, field: &str, want: &dyn Display, got: Option<String>) {
        self.failures.push(Mismatch {
            field: format!("{}{field}", self.prefix),
            want: want.to_string(),
            got: got.unwrap_or_else(|| NOTHING.to_owned()),
        });
    }
}

const NOTHING: &str = "nothing";

/// The actual value of an expectation about the filter if no filter reported a decision.
const UNHANDLED: &str = "nothing, because no filter reported a decision for this exchange";

fn values(map: &HeaderMap, name: &str) -> Vec<String> {
    map.iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        .collect()
}
