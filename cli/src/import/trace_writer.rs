//! Writes records as the lines of a trace, in the order of time.
//!
//! A recording has its requests in the order in which they ended, and a trace in the order in which
//! they began. The lines are therefore sorted, on disk if they do not fit into memory. The writer
//! keeps what the trace says about each connection.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, json};
use sluice_sim::trace::LineChecker;

use super::error::ImportError;
use super::record::{Connection, Exchange, Record, TraceDuration};
use crate::sorter::{Key, Sorter};

/// The line of an exchange, without its time.
#[derive(Serialize)]
struct ExchangeLine<'r> {
    id: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'r str>,
    #[serde(flatten)]
    exchange: &'r Exchange,
}

/// A record while it is sorted.
#[derive(Serialize, Deserialize)]
struct Stored<'r> {
    #[serde(borrow)]
    line: &'r RawValue,
    /// The connection and its properties.
    #[serde(borrow)]
    connection: Option<(&'r RawValue, &'r RawValue)>,
}

#[derive(Default)]
struct ConnectionTimes {
    last_request: Timestamp,
    /// When the client closed the connection.
    closed: Option<i128>,
    /// Whether the trace has its `open`.
    opened: bool,
}

/// Collects records, and writes their trace.
#[derive(Default)]
pub(super) struct TraceWriter {
    lines: Sorter,
    connections: HashMap<String, ConnectionTimes>,
    /// The protocols to which connections were upgraded.
    upgrades: BTreeSet<String>,
    /// Whether the filter held response headers.
    holds_headers: bool,
    preset: Option<&'static str>,
    first: Option<Timestamp>,
}

impl TraceWriter {
    /// Sets the preset of the proxy that the trace describes.
    pub(super) fn set_preset(&mut self, preset: Option<&'static str>) {
        self.preset = preset;
    }

    pub(super) fn add(&mut self, record: &Record) -> io::Result<()> {
        let start = record.start;
        self.first = Some(self.first.map_or(start, |first| first.min(start)));
        self.upgrades.extend(record.exchange.accepted_upgrade().map(str::to_owned));
        self.holds_headers |= record.holds_headers;
        if let Some(Connection { name, .. }) = &record.connection {
            let times = match self.connections.get_mut(name) {
                Some(times) => times,
                None => self.connections.entry(name.clone()).or_insert_with(|| ConnectionTimes {
                    last_request: start,
                    ..ConnectionTimes::default()
                }),
            };
            times.last_request = times.last_request.max(start);
            let left = record.client_left;
            let left = left.map(|after| start.as_nanosecond() + after.as_nanos() as i128);
            times.closed = times.closed.max(left);
        }
        let connection = record.connection.as_ref();
        let line = ExchangeLine {
            id: &record.id,
            connection: connection.map(|connection| connection.name.as_str()),
            exchange: &record.exchange,
        };
        self.lines.add(key(start.as_nanosecond()), |out| {
            let line = serde_json::value::to_raw_value(&line)?;
            let raw = |connection: &Connection| {
                let name = serde_json::value::to_raw_value(&connection.name)?;
                Ok::<_, serde_json::Error>((
                    name,
                    serde_json::value::to_raw_value(&connection.open)?,
                ))
            };
            let connection = connection.map(raw).transpose()?;
            let connection = connection.as_ref().map(|(name, open)| (&**name, &**open));
            Ok(serde_json::to_writer(out, &Stored { line: &line, connection })?)
        })
    }

    /// Passes each line of the trace with this name to `write`, with its line end. The simulator's
    /// own parser checks each line before. Errors name the recording as `recording`.
    pub(super) fn write(
        mut self,
        recording: &str,
        name: &str,
        mut write: impl FnMut(&str) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let mut checker = LineChecker::new(name);
        let mut write = |line: &str| -> Result<(), ImportError> {
            checker
                .check(line)
                .map_err(|source| ImportError::Trace { name: recording.to_owned(), source })?;
            write(line)?;
            write("\n")
        };
        let Some(first) = self.first else { return Ok(()) };
        // The recorded proxy must have had these settings.
        let mut proxy = Map::new();
        if let Some(preset) = self.preset {
            proxy.insert("preset".to_owned(), json!(preset));
        }
        if !self.upgrades.is_empty() {
            proxy.insert("upgrades".to_owned(), json!(self.upgrades));
        }
        if self.holds_headers {
            proxy.insert("allow_on_headers_stop_iteration".to_owned(), json!(true));
        }
        if !proxy.is_empty() {
            write(&json!({ "at": "0s", "proxy": proxy }).to_string())?;
        }
        let mut closes = closes(&self.connections).into_iter().peekable();
        let mut lines = self.lines.sorted().map_err(ImportError::Sort)?;
        while let Some((key, stored)) = lines.next_if(|_| true).map_err(ImportError::Sort)? {
            let time = time(&key);
            // A close follows all other lines of its time.
            while let Some((time, name)) = closes.next_if(|(at, _)| *at < time) {
                write(&close_line(since(first, time), &name))?;
            }
            let stored: Stored<'_> = serde_json::from_slice(stored).map_err(io_error)?;
            let at = json!(since(first, time)).to_string();
            if let Some((name, open)) = stored.connection {
                let known: String = serde_json::from_str(name.get()).map_err(io_error)?;
                if let Some(times) = self.connections.get_mut(&known)
                    && !std::mem::replace(&mut times.opened, true)
                {
                    write(&format!("{{\"at\":{at},\"connection\":{name},\"open\":{open}}}"))?;
                }
            }
            let rest = stored.line.get().trim_start_matches('{');
            write(&format!("{{\"at\":{at},{rest}"))?;
        }
        for (time, name) in closes {
            write(&close_line(since(first, time), &name))?;
        }
        Ok(())
    }
}

/// When clients closed connections, in the order of time, then of names.
fn closes(connections: &HashMap<String, ConnectionTimes>) -> Vec<(i128, String)> {
    let closed = connections.iter().filter_map(|(name, times)| {
        // A trace must not have a request after the close of its connection.
        let closed = times.closed?.max(times.last_request.as_nanosecond());
        Some((closed, name.clone()))
    });
    let mut closes: Vec<(i128, String)> = closed.collect();
    closes.sort();
    closes
}

fn close_line(at: TraceDuration, connection: &str) -> String {
    #[derive(Serialize)]
    struct Line<'l> {
        at: TraceDuration,
        connection: &'l str,
        close: &'static str,
    }
    // Serialization of these types cannot fail.
    serde_json::to_string(&Line { at, connection, close: "client" }).unwrap_or_default()
}

/// The key that orders lines by a time in nanoseconds.
fn key(time: i128) -> Key {
    let ordered = (time as u128) ^ (1 << 127);
    [(ordered >> 64) as u64, ordered as u64, 0, 0]
}

/// The time of a [`key`].
fn time(key: &Key) -> i128 {
    let ordered = (u128::from(key[0]) << 64) | u128::from(key[1]);
    (ordered ^ (1 << 127)) as i128
}

/// The time since the first request.
fn since(first: Timestamp, time: i128) -> TraceDuration {
    let nanoseconds = time.saturating_sub(first.as_nanosecond());
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).unwrap_or_default();
    TraceDuration(Duration::new(seconds, (nanoseconds % 1_000_000_000) as u32))
}

fn io_error(error: serde_json::Error) -> ImportError {
    ImportError::Sort(error.into())
}

#[cfg(test)]
mod tests {
    use super::{key, time};

    #[test]
    fn keys_have_the_order_of_times() {
        let times = [i128::from(i64::MIN), -1, 0, 1, i128::from(u64::MAX), 1 << 80];
        assert!(times.map(key).is_sorted());
        assert_eq!(times.map(|at| time(&key(at))), times);
    }
}
