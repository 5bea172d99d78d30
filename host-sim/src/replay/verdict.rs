//! Compares an exchange with its expectations.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::HeaderMap;
use crate::trace::{Bound, Expect, Text, UpstreamExpect};

use super::exchange::ForwardedRequest;
use super::report::{ExchangeReport, Mismatch};

/// Compares an exchange with `expect`, and adds the result to its report.
pub(super) fn judge(
    report: &mut ExchangeReport<'_>,
    forwarded: &ForwardedRequest,
    expect: &Expect<'_>,
) {
    let mut judge = Judge { expected: 0, failures: Vec::new(), prefix: "" };
    judge.equal("status", expect.status, report.status);
    judge.equal(
        "route",
        expect.route.as_deref(),
        Some(report.route.as_deref().unwrap_or_default()),
    );
    judge.decision(&expect.decision, &report.decisions);
    judge.headers(&expect.headers, &expect.absent, Some(&report.headers));
    judge.equal("closed", expect.closed, Some(report.closed));
    judge.bound("first_byte", expect.first_byte, report.first_byte);
    judge.bound("last_byte", expect.last_byte, Some(report.last_byte));
    judge.equal("body_bytes", expect.body_bytes, Some(report.body_bytes));
    judge.equal("body_sha256", expect.body_sha256.as_deref(), report.body_sha256.as_deref());
    judge.equal("end", expect.end, Some(report.end));
    judge.equal("ended_by", expect.ended_by, report.ended_by);
    judge.equal(
        "reason",
        expect.reason.as_deref(),
        Some(report.reason.as_deref().unwrap_or_default()),
    );
    if let Some(upstream) = &expect.upstream {
        judge.upstream(upstream, report, forwarded);
    }
    report.expected = judge.expected;
    report.failures = judge.failures;
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
        self.headers(&expect.headers, &expect.absent, forwarded.headers.as_ref());
        self.equal("body_bytes", expect.body_bytes, Some(forwarded.body.bytes));
        let hash = forwarded.body.sha256();
        self.equal("body_sha256", expect.body_sha256.as_deref(), hash.as_deref());
    }

    fn decision(&mut self, expect: &Map<String, Value>, reported: &[Arc<str>]) {
        if expect.is_empty() {
            return;
        }
        let objects = reported.iter().filter_map(|text| serde_json::from_str(text).ok());
        let reported: Map<String, Value> = objects.flat_map(Map::into_iter).collect();
        for (field, want) in expect {
            let got = reported.get(field).filter(|value| !value.is_null());
            let want = Some(want).filter(|value| !value.is_null());
            self.expected += 1;
            if got != want {
                let text = |value: Option<&Value>| match value {
                    Some(Value::String(text)) => text.clone(),
                    Some(value) => value.to_string(),
                    None => NOTHING.to_owned(),
                };
                self.fail(&format!("decision.{field}"), &text(want), Some(text(got)));
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
            if !values.is_empty() {
                self.fail(&format!("absent.{name}"), &"no such header", Some(values.join(", ")));
            }
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

fn values(map: &HeaderMap, name: &str) -> Vec<String> {
    map.iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        .collect()
}
