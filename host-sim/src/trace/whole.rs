//! A whole trace in memory, for embedders that look at its events.

use super::error::TraceError;
use super::event::{Event, EventKind};
use super::read::Lines;
use crate::proxy::Setup;

/// A trace that was read and checked. [`TraceReader`](super::TraceReader) reads the same format
/// without keeping it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Trace<'a> {
    /// The name for errors and reports, usually that of the file.
    pub name: String,
    /// The proxy, the plugin and the clusters that the trace describes before its first event.
    pub setup: Setup,
    /// The line of the setup, if there is one.
    pub setup_line: Option<u32>,
    /// The events in the order of their times.
    pub events: Vec<Event<'a>>,
    /// The names of the connections, by [`ConnectionIndex`](super::ConnectionIndex). A request
    /// without a connection gets one with the name of the request.
    pub connections: Vec<String>,
    /// The text of the trace, which a replay reads again.
    pub(crate) text: &'a str,
}

impl<'a> Trace<'a> {
    /// Reads `text`, which has one JSON object on each line. Empty lines are skipped.
    ///
    /// # Errors
    /// The first mistake, with its line and field.
    pub fn parse(name: &str, text: &'a str) -> Result<Self, TraceError> {
        let mut lines = Lines::default();
        let (mut events, mut connections) = (Vec::new(), Vec::new());
        let content = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in content.lines().enumerate() {
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let event = lines.parse(number, line).map_err(|mistake| TraceError {
                trace: name.to_owned(),
                line: number,
                mistake,
            })?;
            let Some(event) = event else { continue };
            let (connection, name) = match &event.kind {
                EventKind::Open { connection, name, .. } => (Some(*connection), &**name),
                EventKind::Exchange(exchange) => {
                    (Some(exchange.connection), exchange.connection_name())
                }
                _ => (None, ""),
            };
            if connection.is_some_and(|connection| connection.0 == connections.len()) {
                connections.push(name.to_owned());
            }
            events.push(event);
        }
        let Lines { setup, setup_line, .. } = lines;
        Ok(Self { name: name.to_owned(), setup, setup_line, events, connections, text })
    }
}
