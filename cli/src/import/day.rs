//! Records in the order of their time, as the lines of a trace.
//!
//! Recordings are in the order in which requests ended, a trace is in the order in which they began, so
//! all of a recording is held until its last record is read.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use sluice_sim::trace::{Trace, TraceError};

use super::record::{Exchange, Open, Record, Span};

/// A line of a trace.
#[derive(Serialize)]
struct Line<'r> {
    at: Span,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'r str>,
    #[serde(flatten)]
    event: Event<'r>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Event<'r> {
    Open(&'r Open),
    Close(&'static str),
    #[serde(untagged)]
    Exchange(&'r Exchange),
}

/// What is known of a connection so far.
#[derive(Default)]
struct Seen {
    last: Duration,
    gone: Option<Duration>,
}

/// The trace of these records; `name` is what mistakes in it are reported under.
pub(super) fn trace(name: &str, records: Vec<Record>) -> Result<String, TraceError> {
    let text = text(records);
    // What was written is read once, before anybody else has to. The records are gone by then.
    Trace::parse(name, &text)?;
    Ok(text)
}

fn text(mut records: Vec<Record>) -> String {
    // Stable: of two that begin in the same moment the one that stands first stays first.
    records.sort_by_key(|record| record.start);
    let Some(first) = records.first().map(|record| record.start) else { return String::new() };
    let mut lines = Vec::with_capacity(records.len());
    let mut connections: HashMap<&str, Seen> = HashMap::new();
    for record in &records {
        let at = record.start.duration_since(first).unsigned_abs();
        let connection = record.connection.as_ref();
        if let Some(connection) = connection {
            let name = connection.name.as_str();
            let seen = connections.entry(name).or_insert_with(|| {
                let event = Event::Open(&connection.open);
                lines.push((at, Line { at: Span(at), id: None, connection: Some(name), event }));
                Seen::default()
            });
            seen.last = at;
            seen.gone = seen.gone.max(record.gone.map(|gone| at + gone));
        }
        let name = connection.map(|connection| connection.name.as_str());
        let event = Event::Exchange(&record.exchange);
        lines.push((at, Line { at: Span(at), id: Some(&record.id), connection: name, event }));
    }
    for (name, seen) in connections {
        if let Some(gone) = seen.gone {
            // No request follows the close of its connection.
            let at = gone.max(seen.last);
            let event = Event::Close("client");
            lines.push((at, Line { at: Span(at), id: None, connection: Some(name), event }));
        }
    }
    lines.sort_by_key(|(at, line)| (*at, line.closed()));
    let mut text = String::new();
    for (_, line) in &lines {
        // Nothing in a line can fail to be written.
        text.extend(serde_json::to_string(line));
        text.push('\n');
    }
    text
}

impl<'r> Line<'r> {
    /// What decides between the lines of one moment: closes come last, by their names.
    fn closed(&self) -> Option<&'r str> {
        self.connection.filter(|_| matches!(self.event, Event::Close(_)))
    }
}
