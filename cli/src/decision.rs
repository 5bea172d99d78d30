//! Describes the filter's decisions in the replay table. The JSON report has the objects as the
//! filter reported them.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::text::ShortDuration;

#[derive(Deserialize, Default)]
struct Decision {
    timeout_ms: Option<u64>,
    per_try_ms: Option<u64>,
    read_ms: Option<u64>,
    send_ms: Option<u64>,
    first_event_ms: Option<u64>,
    event_gap_ms: Option<u64>,
    #[serde(default)]
    holds_headers: bool,
    attempts: Option<u32>,
    drain: Option<String>,
    within_ms: Option<u64>,
    #[serde(default)]
    hold: bool,
    body: Option<String>,
}

/// The decisions on one exchange: `buffer upload, timeout 1m, 2 attempts, stream`. An object that
/// this program does not know adds nothing; other filters may report anything.
pub(crate) fn words(objects: &[Arc<str>]) -> String {
    let duration = |ms| ShortDuration(Duration::from_millis(ms));
    let mut words = Vec::new();
    for decision in objects.iter().filter_map(|text| serde_json::from_str::<Decision>(text).ok()) {
        if decision.hold {
            words.push("buffer upload".to_owned());
        }
        match decision.timeout_ms {
            Some(0) => words.push("no timeout".to_owned()),
            Some(ms) => words.push(format!("timeout {}", duration(ms))),
            None => {}
        }
        if let Some(ms) = decision.per_try_ms {
            words.push(format!("{} per attempt", duration(ms)));
        }
        words.extend(decision.read_ms.map(|ms| format!("read {}", duration(ms))));
        words.extend(decision.send_ms.map(|ms| format!("send {}", duration(ms))));
        words.extend(decision.first_event_ms.map(|ms| format!("first event {}", duration(ms))));
        words.extend(decision.event_gap_ms.map(|ms| format!("event gap {}", duration(ms))));
        if decision.holds_headers {
            words.push("hold headers".to_owned());
        }
        match decision.attempts {
            Some(1) => words.push("1 attempt".to_owned()),
            Some(attempts) => words.push(format!("{attempts} attempts")),
            None => {}
        }
        if let Some(streams) = decision.drain {
            let within = decision.within_ms.map(|ms| format!(" within {}", duration(ms)));
            words.push(format!("drain {streams}{}", within.unwrap_or_default()));
        }
        words.extend(decision.body.map(|body| match body.as_str() {
            "hold" => "buffer".to_owned(),
            _ => body,
        }));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(objects: &[&str]) -> String {
        words(&objects.iter().map(|object| Arc::from(*object)).collect::<Vec<_>>())
    }

    #[test]
    fn decisions_become_words() {
        for (objects, expected) in [
            (&[r#"{"timeout_ms":0}"#, r#"{"body":"stream"}"#][..], "no timeout, stream"),
            (
                &[r#"{"hold":true,"timeout_ms":60000}"#, r#"{"body":"hold"}"#],
                "buffer upload, timeout 1m, buffer",
            ),
            (
                &[r#"{"timeout_ms":600000,"per_try_ms":300000,"attempts":3}"#],
                "timeout 10m, 5m per attempt, 3 attempts",
            ),
            (&[r#"{"attempts":1}"#], "1 attempt"),
            (
                &[r#"{"first_event_ms":2000,"event_gap_ms":500,"holds_headers":true}"#],
                "first event 2s, event gap 500ms, hold headers",
            ),
            (
                &[r#"{"read_ms":50000,"send_ms":500,"drain":"finish","within_ms":60000}"#],
                "read 50s, send 500ms, drain finish within 1m",
            ),
            (&["[]", "not JSON", r#"{"other":7}"#], ""),
        ] {
            assert_eq!(of(objects), expected, "{objects:?}");
        }
    }
}
