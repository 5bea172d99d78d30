//! What `sluice drain` prints in the end: sentences for people, or a line of JSON for each proxy or store.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_filter::config::DrainMode;
use sluice_filter::config::{Percent, RouteName};
use sluice_filter::drain::Record;

use super::state::State;
use super::watch::Watched;
use crate::files;
use crate::style::{Short, printable};

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Sentences, for people
    Text,
    /// A JSON object in a line for each proxy, for programs
    Json,
}

/// Somebody who told something, or failed to.
pub(crate) enum Told<'a> {
    /// A proxy.
    State(&'a str, &'a State),
    /// A key of etcd, and the drain under it.
    Record(&'a str, &'a str, Option<&'a Record>),
    /// A proxy that told nothing the last time, and maybe something before.
    Nothing(&'a str, Option<&'a State>, &'a str),
}

impl<'a> From<&'a Watched> for Told<'a> {
    fn from(proxy: &'a Watched) -> Self {
        match (&proxy.state, &proxy.trouble) {
            (Some(state), None) => Self::State(&proxy.url, state),
            (state, trouble) => {
                let trouble = trouble.as_deref().unwrap_or("not asked yet");
                Self::Nothing(&proxy.url, state.as_ref(), trouble)
            }
        }
    }
}

/// Prints what was told, each in a line; `outcome` says what became of the command.
pub(crate) fn print<'a>(
    format: Format,
    outcome: Option<&str>,
    told: impl IntoIterator<Item = Told<'a>>,
    now_ms: u64,
) -> Result<(), String> {
    files::print(|out| {
        for told in told {
            match format {
                Format::Text => writeln!(out, "{}", told.sentence(now_ms))?,
                Format::Json => writeln!(out, "{}", told.json(outcome))?,
            }
        }
        Ok(())
    })
}

impl Told<'_> {
    fn sentence(&self, now_ms: u64) -> String {
        match self {
            Self::Record(_, key, Some(record)) => format!("{key}: {}", drain(record, now_ms)),
            Self::Record(_, key, None) => format!("{key}: no such key, so no drain"),
            Self::Nothing(url, _, trouble) => format!("{url}: {trouble}"),
            Self::State(url, state) => {
                let name = if state.instance.is_empty() { url } else { state.instance.as_str() };
                let drain = match (state.record(), state.epoch, &state.mode) {
                    (Ok(Some(record)), ..) => drain(&record, state.timestamp.unix_ms),
                    (_, Some(epoch), Some(mode)) => format!("{}, epoch {epoch}", printable(mode)),
                    _ => "no drain so far".to_owned(),
                };
                let closed = state.closed.map(|closed| count(closed, "connection"));
                let closed = closed.map(|closed| format!(", {closed} closed so far"));
                format!(
                    "{}: {drain}; {} in flight{}",
                    printable(name),
                    count(state.in_flight, "request"),
                    closed.unwrap_or_default()
                )
            }
        }
    }

    fn json(&self, outcome: Option<&str>) -> Value {
        let of_state =
            |state: Option<&State>| json!(state).as_object().cloned().unwrap_or_default();
        let (url, mut fields) = match self {
            Self::State(url, state) => (url, of_state(Some(state))),
            Self::Record(url, key, record) => {
                let record: Option<Value> =
                    record.and_then(|record| serde_json::from_str(&record.to_json()).ok());
                let fields = [("key", json!(key)), ("record", json!(record))];
                (url, fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
            }
            Self::Nothing(url, state, trouble) => {
                let mut fields = of_state(*state);
                fields.insert("error".to_owned(), json!(trouble));
                (url, fields)
            }
        };
        fields.insert("url".to_owned(), json!(url));
        fields.extend(outcome.map(|outcome| ("outcome".to_owned(), json!(outcome))));
        Value::Object(fields)
    }
}

/// A drain in words: `rebalance, epoch 7, 33 percent, window of 20s, 12s left`.
fn drain(record: &Record, now_ms: u64) -> String {
    let mut text = format!("{}, epoch {}", record.mode.word(), record.epoch);
    if let Some(percent) = record.percent.map(Percent::value) {
        text.push_str(&format!(", {percent} percent"));
    }
    if let Some(routes) = &record.routes {
        let names: Vec<&str> = routes.iter().map(RouteName::as_str).collect();
        text.push_str(&format!(", only routes {}", names.join(" and ")));
    }
    if record.mode != DrainMode::Off && record.window_ms > 0 {
        let window = Short(Duration::from_millis(record.window_ms));
        let end = record.started_ms.saturating_add(record.window_ms);
        let left = match end.saturating_sub(now_ms) {
            0 => "over".to_owned(),
            left => format!("{} left", Short(Duration::from_millis(left))),
        };
        text.push_str(&format!(", window of {window}, {left}"));
    }
    text
}

/// A number of things.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"epoch":7,"mode":"rebalance","percent":33,"started_ms":1000,"window_ms":20000,"routes":["api","web"]}"#;

    fn state(more: &str) -> State {
        let state = format!(
            r#"{{"status":"ok","instance":"a\u001b[31m","in_flight":1,"timestamp":"1970-01-01T00:00:09.000Z"{more}}}"#
        );
        serde_json::from_str(&state).expect("a state")
    }

    #[test]
    fn a_state_is_one_sentence() {
        let sentence = |more: &str| Told::State("http://a/", &state(more)).sentence(0);
        let full = format!(r#","closed":2,"epoch":7,"mode":"rebalance","record":{RECORD}"#);
        let expected = "a\\u{1b}[31m: rebalance, epoch 7, 33 percent, only routes api and web, window of 20s, 12s left; \
                        1 request in flight, 2 connections closed so far";
        assert_eq!(sentence(&full), expected);
        let told = r#","epoch":7,"mode":"terminate""#;
        assert_eq!(sentence(told), "a\\u{1b}[31m: terminate, epoch 7; 1 request in flight");
        assert_eq!(sentence(""), "a\\u{1b}[31m: no drain so far; 1 request in flight");
    }

    #[test]
    fn a_key_is_one_sentence() {
        let record =
            Record::parse(br#"{"epoch":9,"mode":"off","started_ms":1,"window_ms":5}"#).ok();
        let told = Told::Record("http://e", "sluice/drain", record.as_ref());
        assert_eq!(told.sentence(3), "sluice/drain: off, epoch 9");
        let expected = json!({ "url": "http://e", "key": "sluice/drain", "outcome": "started",
            "record": { "epoch": 9, "mode": "off", "started_ms": 1, "window_ms": 5 } });
        assert_eq!(told.json(Some("started")), expected);
    }

    #[test]
    fn json_keeps_what_was_told_last_beside_the_error() {
        let state = state(r#","closed":2"#);
        let told = Told::Nothing("http://a/", Some(&state), "no answer").json(Some("time_up"));
        let expected = json!({ "url": "http://a/", "outcome": "time_up", "error": "no answer", "status": "ok",
            "instance": "a\u{1b}[31m", "in_flight": 1, "timestamp": "1970-01-01T00:00:09.000Z", "closed": 2 });
        assert_eq!(told, expected);
    }
}
