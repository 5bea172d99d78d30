//! The output of `sluice drain`: a sentence or a JSON object for each proxy or key.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sluice_filter::config::DrainMode;
use sluice_filter::config::{Percent, RouteName};
use sluice_filter::drain::Record;

use super::progress::WatchedProxy;
use super::proxy::ProxyError;
use super::state::ProxyState;
use super::target::Snapshot;
use crate::files::{self, FileError};
use crate::text::{ShortDuration, count, printable};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One sentence for each proxy
    Text,
    /// One JSON object for each proxy, each on its own line
    Json,
}

/// The last known state of one proxy or key.
pub(crate) enum Line<'a> {
    State(&'a str, &'a ProxyState),
    /// The URL of an etcd, a key, and the drain under it.
    Key(&'a str, &'a str, Option<&'a Record>),
    /// A proxy whose latest poll failed, and the state before, if it ever reported one.
    Failed(&'a str, Option<&'a ProxyState>, &'a ProxyError),
    NotPolled(&'a str),
}

impl<'a> From<&'a Snapshot> for Line<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        match snapshot {
            Snapshot::Proxy { url, state } => Self::State(url, state),
            Snapshot::Key { url, key, record } => Self::Key(url, key, record.as_ref()),
        }
    }
}

impl<'a> From<&'a WatchedProxy> for Line<'a> {
    fn from(proxy: &'a WatchedProxy) -> Self {
        match (&proxy.state, &proxy.error) {
            (state, Some(error)) => Self::Failed(&proxy.url, state.as_ref(), error),
            (Some(state), None) => Self::State(&proxy.url, state),
            (None, None) => Self::NotPolled(&proxy.url),
        }
    }
}

/// Prints the lines. `outcome` is the word for the result of the command, which only JSON has.
pub(crate) fn print<'a>(
    format: Format,
    outcome: Option<&str>,
    lines: impl IntoIterator<Item = Line<'a>>,
    now_ms: u64,
) -> Result<(), FileError> {
    files::print(|out| {
        for line in lines {
            match format {
                Format::Text => writeln!(out, "{}", line.sentence(now_ms))?,
                Format::Json => writeln!(out, "{}", line.json(outcome))?,
            }
        }
        Ok(())
    })
}

impl Line<'_> {
    fn sentence(&self, now_ms: u64) -> String {
        match self {
            Self::Key(_, key, Some(record)) => format!("{key}: {}", drain(record, now_ms)),
            Self::Key(_, key, None) => format!("{key}: no drain (the key does not exist)"),
            Self::Failed(url, _, error) => format!("{url}: {error}"),
            Self::NotPolled(url) => format!("{url}: not polled yet"),
            Self::State(url, state) => {
                let drain = match (state.record(), state.epoch, &state.mode) {
                    (Ok(Some(record)), ..) => drain(&record, state.timestamp.unix_ms),
                    (_, Some(epoch), Some(mode)) => format!("{}, epoch {epoch}", printable(mode)),
                    _ => "no drain yet".to_owned(),
                };
                let closed = state.closed.map(|closed| count(closed, "connection"));
                let closed = closed.map(|closed| format!(", {closed} closed so far"));
                let waits_for: Vec<String> =
                    state.waits_for.iter().map(ToString::to_string).collect();
                let waits_for = match waits_for.is_empty() {
                    true => String::new(),
                    false => format!("; waits for {}", waits_for.join(", ")),
                };
                format!(
                    "{}: {drain}; {} in flight{}{waits_for}",
                    state.name(url),
                    count(state.in_flight, "request"),
                    closed.unwrap_or_default()
                )
            }
        }
    }

    fn json(&self, outcome: Option<&str>) -> Value {
        let fields_of = |state| json!(state).as_object().cloned().unwrap_or_default();
        let (url, mut fields) = match self {
            Self::State(url, state) => (url, fields_of(Some(state))),
            Self::Key(url, key, record) => {
                let record: Option<Value> =
                    record.and_then(|record| serde_json::from_str(&record.to_json()).ok());
                let fields = [("key", json!(key)), ("record", json!(record))];
                (url, fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
            }
            Self::Failed(url, state, error) => {
                let mut fields = fields_of(state.as_ref());
                fields.insert("error".to_owned(), json!(error.to_string()));
                (url, fields)
            }
            Self::NotPolled(url) => {
                (url, Map::from_iter([("error".to_owned(), json!("not polled yet"))]))
            }
        };
        fields.insert("url".to_owned(), json!(url));
        fields.extend(outcome.map(|outcome| ("outcome".to_owned(), json!(outcome))));
        Value::Object(fields)
    }
}

/// A drain in words: `rebalance, epoch 7, 33 percent, window 20s, 12s left`.
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
        let window = ShortDuration(Duration::from_millis(record.window_ms));
        let end = record.started_ms.saturating_add(record.window_ms);
        let left = match end.saturating_sub(now_ms) {
            0 => "over".to_owned(),
            left => format!("{} left", ShortDuration(Duration::from_millis(left))),
        };
        text.push_str(&format!(", window {window}, {left}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::state::StateError;
    use super::*;

    const RECORD: &str = r#"{"epoch":7,"mode":"rebalance","percent":33,"started_ms":1000,"window_ms":20000,"routes":["api","web"]}"#;

    fn state(more: &str) -> ProxyState {
        let state = format!(
            r#"{{"status":"ok","instance":"a\u001b[31m","in_flight":1,"timestamp":"1970-01-01T00:00:09.000Z"{more}}}"#
        );
        serde_json::from_str(&state).expect("a state")
    }

    #[test]
    fn a_state_is_one_sentence() {
        let sentence = |more: &str| Line::State("http://a/", &state(more)).sentence(0);
        let full = format!(r#","closed":2,"epoch":7,"mode":"rebalance","record":{RECORD}"#);
        let expected = "a\\u{1b}[31m: rebalance, epoch 7, 33 percent, only routes api and web, window 20s, 12s left; \
                        1 request in flight, 2 connections closed so far";
        assert_eq!(sentence(&full), expected);
        let without_record = r#","epoch":7,"mode":"terminate""#;
        let expected = "a\\u{1b}[31m: terminate, epoch 7; 1 request in flight";
        assert_eq!(sentence(without_record), expected);
        assert_eq!(sentence(""), "a\\u{1b}[31m: no drain yet; 1 request in flight");
        let waits_for = r#"{"route":"llm","kind":"events","streams":3},{"route":"a\u001b","kind":"tunnel","streams":1}"#;
        let expected = "a\\u{1b}[31m: no drain yet; 1 request in flight; \
                        waits for 3 events of llm, 1 tunnel of a\\u{1b}";
        assert_eq!(sentence(&format!(r#","waits_for":[{waits_for}]"#)), expected);
    }

    #[test]
    fn a_key_is_one_sentence() {
        let record =
            Record::parse(br#"{"epoch":9,"mode":"off","started_ms":1,"window_ms":5}"#).ok();
        let line = Line::Key("http://e", "sluice/drain", record.as_ref());
        assert_eq!(line.sentence(3), "sluice/drain: off, epoch 9");
        let expected = json!({ "url": "http://e", "key": "sluice/drain", "outcome": "started",
            "record": { "epoch": 9, "mode": "off", "started_ms": 1, "window_ms": 5 } });
        assert_eq!(line.json(Some("started")), expected);
    }

    #[test]
    fn json_has_the_latest_state_next_to_an_error() {
        let state = state(r#","closed":2"#);
        let error = ProxyError::State(StateError::NotAdmin { status: 404 });
        let line = Line::Failed("http://a/", Some(&state), &error).json(Some("time_up"));
        let expected = json!({ "url": "http://a/", "outcome": "time_up", "error": error.to_string(),
            "status": "ok", "instance": "a\u{1b}[31m", "in_flight": 1,
            "timestamp": "1970-01-01T00:00:09.000Z", "closed": 2 });
        assert_eq!(line, expected);
    }
}
