//! What differs between the two reports of an exchange.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use sluice_sim::HeaderMap;
use sluice_sim::replay::ExchangeReport;

use crate::text::{ShortDuration, printable, shortened};

/// Who sees a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum View {
    Client,
    Upstream,
    /// The filter decided differently. Clients and upstreams may not see it.
    Decision,
}

/// The smallest difference of two times that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Threshold(pub(super) Duration);

/// One field that differs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) view: View,
    pub(super) field: String,
    pub(super) from: String,
    pub(super) to: String,
    /// Names similar differences: most times and lengths differ in their own way.
    pub(super) class: Option<String>,
}

/// The text for a value that is missing.
const NONE: &str = "none";

/// The longest value, in characters. A header can have many kilobytes.
const MAX_TEXT: usize = 200;

/// Fields of a decision that the report has elsewhere, or that only say when it was made.
const OTHER_FIELDS: [&str; 2] = ["phase", "reason"];

/// Headers that follow from other fields: from times, from the close of the connection, and from
/// random numbers.
const IGNORED_HEADERS: [&str; 5] =
    ["date", "x-envoy-upstream-service-time", "connection", "x-request-id", GRPC_STATUS];

/// Compared before the other headers and trailers.
const GRPC_STATUS: &str = "grpc-status";

/// Lists the differences between two reports of the same exchange.
pub(super) fn differences(
    old: &ExchangeReport<'_>,
    new: &ExchangeReport<'_>,
    threshold: Threshold,
) -> Vec<Difference> {
    let mut found = Differences { found: Vec::new(), view: View::Client, threshold };
    let complete = !old.truncated && !new.truncated;
    found.values("status", old.status, new.status);
    if complete {
        found.values(GRPC_STATUS, grpc_status(old), grpc_status(new));
    }
    if old.end != new.end {
        found.texts("end", old.end.to_string(), new.end.to_string());
    }
    if old.closed != new.closed {
        let text = |closed| if closed { "closes" } else { "stays open" };
        found.texts("connection", text(old.closed), text(new.closed));
    }
    found.times("first_byte", old.first_byte, new.first_byte);
    found.times("last_byte", Some(old.last_byte), Some(new.last_byte));
    // Another status is another response, in which everything differs.
    if old.status == new.status {
        found.body((old.body_bytes, &old.body_sha256), (new.body_bytes, &new.body_sha256));
        if complete {
            found.headers("headers", &old.headers, &new.headers);
            found.headers("trailers", &old.trailers, &new.trailers);
        }
    }

    found.view = View::Upstream;
    let (from, to) = (&old.upstream, &new.upstream);
    found.values("attempts", Some(from.attempts), Some(to.attempts));
    if from.attempts > 0 && to.attempts > 0 {
        found.headers("headers", &from.headers, &to.headers);
        found.body((from.body_bytes, &from.body_sha256), (to.body_bytes, &to.body_sha256));
        if from.complete != to.complete {
            let text = |complete| if complete { "complete" } else { "incomplete" };
            found.texts("request", text(from.complete), text(to.complete));
        }
        found.times("start", from.start, to.start);
    }

    found.view = View::Decision;
    found.values("reason", old.reason.as_deref(), new.reason.as_deref());
    let by = |report: &ExchangeReport<'_>| report.ended_by.map(|by| by.to_string());
    found.values("ended_by", by(old), by(new));
    if complete && old.decisions != new.decisions {
        let [old, new] = [old, new].map(|report| fields(&report.decisions));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            found.values(name, old.get(name), new.get(name));
        }
    }
    found.found
}

struct Differences {
    found: Vec<Difference>,
    /// The view of the next differences.
    view: View,
    threshold: Threshold,
}

impl Differences {
    fn add(&mut self, field: &str, [from, to]: [String; 2], class: Option<String>) {
        let [from, to] = [from, to].map(|text| shortened(&printable(&text), MAX_TEXT));
        self.found.push(Difference { view: self.view, field: printable(field), from, to, class });
    }

    fn texts(&mut self, field: &str, from: impl Into<String>, to: impl Into<String>) {
        self.add(field, [from.into(), to.into()], None);
    }

    fn values<T: PartialEq + ToString>(&mut self, field: &str, from: Option<T>, to: Option<T>) {
        if from != to {
            let text = |value: Option<T>| value.map_or_else(|| NONE.to_owned(), |v| v.to_string());
            self.texts(field, text(from), text(to));
        }
    }

    fn body(&mut self, from: (u64, &Option<String>), to: (u64, &Option<String>)) {
        let class = match from.0.cmp(&to.0) {
            std::cmp::Ordering::Less => "longer",
            std::cmp::Ordering::Greater => "shorter",
            std::cmp::Ordering::Equal if from.1 != to.1 => "other content",
            std::cmp::Ordering::Equal => return,
        };
        let text = |bytes: u64| format!("{bytes} B");
        self.add("body", [text(from.0), text(to.0)], Some(class.to_owned()));
    }

    fn headers(&mut self, field: &str, from: &HeaderMap, to: &HeaderMap) {
        if from.iter().eq(to.iter()) {
            return;
        }
        let [from, to] = [from, to].map(values);
        let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        for name in names.into_iter().filter(|name| !IGNORED_HEADERS.contains(&name.as_str())) {
            self.values(&format!("{field}.{name}"), from.get(name), to.get(name));
        }
    }

    fn times(&mut self, field: &str, from: Option<Duration>, to: Option<Duration>) {
        let text = |time: Option<Duration>| {
            time.map_or_else(|| NONE.to_owned(), |time| ShortDuration(time).to_string())
        };
        let class = match (from, to) {
            (Some(old), Some(new)) => {
                let by = old.abs_diff(new);
                if by < self.threshold.0 || by.is_zero() {
                    return;
                }
                let direction = if old < new { "later" } else { "earlier" };
                Some(format!("{direction} by {} or more", ShortDuration(decade(by))))
            }
            (None, None) => return,
            (None, Some(_)) => Some("none → some".to_owned()),
            (Some(_), None) => Some("some → none".to_owned()),
        };
        self.add(field, [text(from), text(to)], class);
    }
}

/// The greatest power of ten that is not longer.
fn decade(time: Duration) -> Duration {
    let mut least = Duration::from_nanos(1);
    while least.saturating_mul(10) <= time && least < Duration::from_secs(1_000_000) {
        least *= 10;
    }
    least
}

/// The status of a gRPC call, which is in the headers of a response without a body.
fn grpc_status<'r>(report: &'r ExchangeReport<'_>) -> Option<&'r str> {
    report.trailers.text(GRPC_STATUS).or_else(|| report.headers.text(GRPC_STATUS))
}

/// The values of each name, in their order.
fn values(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut values = BTreeMap::<String, String>::new();
    for (name, value) in headers.iter() {
        let value = String::from_utf8_lossy(value);
        let name = String::from_utf8_lossy(name).into_owned();
        let joined = values.entry(name);
        joined.and_modify(|before| *before = format!("{before}, {value}")).or_insert(value.into());
    }
    values
}

/// The fields of the decisions on an exchange. A later decision replaces fields of an earlier one.
fn fields(decisions: &[std::sync::Arc<str>]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for decision in decisions {
        let Ok(Value::Object(object)) = serde_json::from_str(decision) else { continue };
        fields.extend(
            object.into_iter().filter(|(name, _)| !OTHER_FIELDS.contains(&name.as_str())).map(
                |(name, value)| {
                    let text = match value {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    (name, text)
                },
            ),
        );
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_grouped_by_powers_of_ten() {
        for (millis, least) in [(1, 1), (9, 1), (10, 10), (999, 100), (1000, 1000)] {
            assert_eq!(decade(Duration::from_millis(millis)), Duration::from_millis(least));
        }
        assert!(decade(Duration::MAX) < Duration::MAX);
    }

    #[test]
    fn later_decisions_replace_fields_and_the_phase_is_left_out() {
        let decisions = [r#"{"phase":"request","a":1,"b":"x"}"#, r#"{"phase":"end","a":2}"#, "[]"];
        let fields = fields(&decisions.map(std::sync::Arc::from));
        let expected = [("a", "2"), ("b", "x")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(fields, BTreeMap::from(expected));
    }
}
