//! Writes records as the lines of a trace, in the order of time.
//!
//! A recording has its requests in the order in which they ended, and a trace in the order in which
//! they began. The writer therefore keeps all records in memory until it writes the first line.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use sluice_sim::trace::{Trace, TraceError};

use super::record::{Exchange, Open, Record, TraceDuration};

#[derive(Serialize)]
struct Line<'r> {
    at: TraceDuration,
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

#[derive(Default)]
struct ConnectionTimes {
    last_request: Duration,
    closed: Option<Duration>,
}

/// Writes the trace of these records. Errors name the trace as `name`.
pub(super) fn write(name: &str, records: Vec<Record>) -> Result<String, TraceError> {
    let text = lines(records);
    // The simulator's own parser checks the trace. The records are dropped by then, to save memory.
    Trace::parse(name, &text)?;
    Ok(text)
}

/// The line with the settings that the recorded proxy must have had.
fn setup(records: &[Record]) -> String {
    let upgrades: BTreeSet<&str> =
        records.iter().filter_map(|record| record.exchange.accepted_upgrade()).collect();
    match upgrades.is_empty() {
        true => String::new(),
        false => format!("{}\n", json!({ "at": "0s", "proxy": { "upgrades": upgrades } })),
    }
}

fn lines(mut records: Vec<Record>) -> String {
    // The sort is stable: requests that begin at the same time keep the order of the recording.
    records.sort_by_key(|record| record.start);
    let Some(first) = records.first().map(|record| record.start) else { return String::new() };
    let mut lines = Vec::with_capacity(records.len());
    let mut connections: HashMap<&str, ConnectionTimes> = HashMap::new();
    for record in &records {
        let at = record.start.duration_since(first).unsigned_abs();
        let connection = record.connection.as_ref();
        if let Some(connection) = connection {
            let name = connection.name.as_str();
            let times = connections.entry(name).or_insert_with(|| {
                let event = Event::Open(&connection.open);
                let line = Line { at: TraceDuration(at), id: None, connection: Some(name), event };
                lines.push((at, line));
                ConnectionTimes::default()
            });
            times.last_request = at;
            times.closed = times.closed.max(record.client_left.map(|after| at + after));
        }
        let name = connection.map(|connection| connection.name.as_str());
        let event = Event::Exchange(&record.exchange);
        let line = Line { at: TraceDuration(at), id: Some(&record.id), connection: name, event };
        lines.push((at, line));
    }
    for (name, times) in connections {
        if let Some(closed) = times.closed {
            // A trace must not have a request after the close of its connection.
            let at = closed.max(times.last_request);
            let event = Event::Close("client");
            let line = Line { at: TraceDuration(at), id: None, connection: Some(name), event };
            lines.push((at, line));
        }
    }
    lines.sort_by_key(|(at, line)| (*at, line.closed_connection()));
    let mut text = setup(&records);
    for (_, line) in &lines {
        // Serialization of these types cannot fail.
        text.extend(serde_json::to_string(line));
        text.push('\n');
    }
    text
}

impl<'r> Line<'r> {
    /// The order of lines with the same time: closes follow all other lines, ordered by name.
    fn closed_connection(&self) -> Option<&'r str> {
        self.connection.filter(|_| matches!(self.event, Event::Close(_)))
    }
}
