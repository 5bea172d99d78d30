//! Reads a trace: parses each line and checks the rules between lines.

use std::collections::HashMap;
use std::time::Duration;

use super::error::{FieldError, LINE, TraceError};
use super::event::{ConnectionIndex, Event, EventKind, Exchange, Open, UpstreamAttempt};
use super::expect::{ConfigureExpect, Expect};
use super::json;
use super::line::Line;
use super::message::{check_attempt, check_cluster_response, check_request};
use super::text::Text;
use crate::proxy::Setup;

/// A trace that was read and checked.
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
    /// The names of the connections, by [`ConnectionIndex`]. A request without a connection gets
    /// one with the name of the request.
    pub connections: Vec<String>,
}

impl<'a> Trace<'a> {
    /// Reads `text`, which has one JSON object on each line. Empty lines are skipped.
    ///
    /// # Errors
    /// The first mistake, with its line and field.
    pub fn parse(name: &str, text: &'a str) -> Result<Self, TraceError> {
        let mut reader = Reader::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            reader.line(number, line).map_err(|mistake| TraceError {
                trace: name.to_owned(),
                line: number,
                mistake,
            })?;
        }
        Ok(Self {
            name: name.to_owned(),
            setup: reader.setup,
            setup_line: reader.setup_line,
            events: reader.events,
            connections: reader.connections.into_iter().map(|known| known.name).collect(),
        })
    }
}

/// The events and names of the lines so far.
#[derive(Default)]
struct Reader<'a> {
    setup: Setup,
    setup_line: Option<u32>,
    events: Vec<Event<'a>>,
    connections: Vec<KnownConnection>,
    by_name: HashMap<String, ConnectionIndex>,
    /// The line of each id.
    ids: HashMap<String, u32>,
    last: Duration,
}

struct KnownConnection {
    name: String,
    closed_on: Option<u32>,
}

impl<'a> Reader<'a> {
    fn line(&mut self, number: u32, text: &'a str) -> Result<(), FieldError> {
        // serde accepts a list in place of an object, with the fields in order.
        if text.trim_start().starts_with('[') {
            return Err(FieldError::new(
                LINE,
                "found a list; expected an event, which is a JSON object",
            ));
        }
        let mut line: Line<'a> = json::parse(text)?;
        if line.at < self.last {
            let message = format!(
                "{:?} is before the previous event; expected {:?} or later",
                line.at, self.last
            );
            return Err(FieldError::new("at", message));
        }
        self.last = line.at;
        if let Some(part) = line.setup_part() {
            return self.setup(number, part, &mut line);
        }
        let at = line.at;
        let kind = self.kind(number, line)?;
        self.events.push(Event { line: number, at, kind });
        Ok(())
    }

    /// Reads a line with parts of the setup.
    fn setup(
        &mut self,
        number: u32,
        part: &'static str,
        line: &mut Line<'a>,
    ) -> Result<(), FieldError> {
        if let Some(event) = self.events.first() {
            let message = format!(
                "follows the event on line {}; move it to the start of the trace",
                event.line
            );
            return Err(FieldError::new(part, message));
        }
        if !line.at.is_zero() {
            let message = format!("{:?} is not the start; write \"0s\" with {part}", line.at);
            return Err(FieldError::new("at", message));
        }
        check_setup_fields(part, line)?;
        let setup = line.take_setup();
        if let (Some(first), Some(part)) = (self.setup_line, repeated(&self.setup, &setup)) {
            let message = format!("is already on line {first}; merge the two");
            return Err(FieldError::new(part, message));
        }
        self.setup = self.setup.merged(&setup);
        self.setup_line.get_or_insert(number);
        Ok(())
    }

    fn kind(&mut self, number: u32, line: Line<'a>) -> Result<EventKind<'a>, FieldError> {
        check_fields(&line)?;
        if let Some(configuration) = line.configure {
            let expect = match line.expect {
                Some(raw) => json::parse::<ConfigureExpect<'a>>(raw.get())
                    .map_err(|mistake| mistake.within("expect"))?,
                None => ConfigureExpect::default(),
            };
            return Ok(EventKind::Configure { configuration, expect });
        }
        if let Some(open) = line.open {
            let name = line.connection.ok_or_else(|| missing("connection", "to open"))?;
            return self.open(&name, open);
        }
        if let Some(write) = line.shared_data {
            return Ok(EventKind::SharedData(write));
        }
        if let Some(respond) = line.respond {
            check_cluster_response(&respond)?;
            let cluster = line.cluster.ok_or_else(|| missing("cluster", "that responds"))?;
            return Ok(EventKind::Cluster { cluster, respond });
        }
        if let Some(by) = line.close {
            let name = line.connection.ok_or_else(|| missing("connection", "to close"))?;
            let connection = self.open_connection(&name)?;
            self.connections[connection.0].closed_on = Some(number);
            return Ok(EventKind::Close { connection, by });
        }
        if let Some(clock) = line.clock {
            return Ok(EventKind::Clock(clock));
        }
        if let Some(duration) = line.stall {
            let worker = line.worker.ok_or_else(|| missing("worker", "that stalls"))?;
            return Ok(EventKind::Stall { worker, duration });
        }
        if let Some(metrics) = line.metrics {
            return Ok(EventKind::Metrics(metrics));
        }
        let request = line.request.ok_or_else(|| missing("request", "to send"))?;
        check_request(&request)?;
        let upstream = line.upstream.unwrap_or_else(|| vec![UpstreamAttempt::default()]);
        for attempt in &upstream {
            check_attempt(attempt)?;
        }
        let id = line.id.unwrap_or_else(|| Text(format!("line {number}").into()));
        if let Some(first) = self.ids.insert(id.to_string(), number) {
            let message = format!("{:?} is already used on line {first}; expected a new id", &*id);
            return Err(FieldError::new("id", message));
        }
        let expect = line.expect.map(|raw| json::parse::<Expect<'a>>(raw.get())).transpose();
        let expect = expect.map_err(|mistake| mistake.within("expect"))?;
        let (connection, own_connection) = match &line.connection {
            Some(name) => match self.by_name.contains_key(&**name) {
                true => (self.open_connection(name)?, false),
                false => (self.insert(name), false),
            },
            None => {
                let connection = KnownConnection { name: id.to_string(), closed_on: None };
                self.connections.push(connection);
                (ConnectionIndex(self.connections.len() - 1), true)
            }
        };
        Ok(EventKind::Exchange(Box::new(Exchange {
            id,
            connection,
            own_connection,
            request,
            upstream,
            expect,
        })))
    }

    fn open(&mut self, name: &str, open: Open<'a>) -> Result<EventKind<'a>, FieldError> {
        let is_open = self
            .by_name
            .get(name)
            .is_some_and(|connection| self.connections[connection.0].closed_on.is_none());
        if is_open {
            return Err(FieldError::new(
                "connection",
                format!("{name:?} is already open; expected a name that is not in use"),
            ));
        }
        Ok(EventKind::Open { connection: self.insert(name), open })
    }

    fn insert(&mut self, name: &str) -> ConnectionIndex {
        let index = ConnectionIndex(self.connections.len());
        self.connections.push(KnownConnection { name: name.to_owned(), closed_on: None });
        self.by_name.insert(name.to_owned(), index);
        index
    }

    fn open_connection(&self, name: &str) -> Result<ConnectionIndex, FieldError> {
        let Some(&connection) = self.by_name.get(name) else {
            return Err(FieldError::new(
                "connection",
                format!(
                    "{name:?} is unknown; expected a connection that was opened or used before"
                ),
            ));
        };
        match self.connections[connection.0].closed_on {
            Some(line) => Err(FieldError::new(
                "connection",
                format!("{name:?} was closed on line {line}; expected an open connection"),
            )),
            None => Ok(connection),
        }
    }
}

/// A part that both setups have.
fn repeated(one: &Setup, two: &Setup) -> Option<&'static str> {
    let parts = [
        ("proxy", one.proxy.is_some() && two.proxy.is_some()),
        ("plugin", one.plugin.is_some() && two.plugin.is_some()),
        ("clusters", one.clusters.is_some() && two.clusters.is_some()),
        ("start_time", one.start_time.is_some() && two.start_time.is_some()),
    ];
    parts.into_iter().find_map(|(name, both)| both.then_some(name))
}

/// The events that the line has.
fn events_of<'l>(line: &Line<'_>) -> impl Iterator<Item = &'l str> {
    let events = [
        ("configure", line.configure.is_some()),
        ("open", line.open.is_some()),
        ("request", line.request.is_some()),
        ("shared_data", line.shared_data.is_some()),
        ("respond", line.respond.is_some()),
        ("close", line.close.is_some()),
        ("clock", line.clock.is_some()),
        ("stall", line.stall.is_some()),
        ("metrics", line.metrics.is_some()),
    ];
    events.into_iter().filter(|(_, present)| *present).map(|(name, _)| name)
}

/// Checks that a line with a part of the setup has no event, and no field of one.
fn check_setup_fields(part: &str, line: &Line<'_>) -> Result<(), FieldError> {
    if let Some(event) = events_of(line).next() {
        let message = format!("is an event on a line with {part}; write it on a line of its own");
        return Err(FieldError::new(event, message));
    }
    check_belongs(part, line)
}

/// Checks that the line has one event, and only fields that belong to that event.
fn check_fields(line: &Line<'_>) -> Result<(), FieldError> {
    let mut present = events_of(line);
    let event = present.next().ok_or_else(|| {
        FieldError::new(
            LINE,
            "has no event; expected one of configure, open, request, shared_data, respond, close, clock, stall, metrics, or at the start proxy, plugin, clusters, start_time",
        )
    })?;
    if let Some(other) = present.next() {
        return Err(FieldError::new(
            other,
            format!("is a second event on a line with {event}; write each event on its own line"),
        ));
    }
    check_belongs(event, line)
}

/// Checks that the line has only fields that belong to its event.
fn check_belongs(event: &str, line: &Line<'_>) -> Result<(), FieldError> {
    let belongs = [
        ("id", line.id.is_some(), &["request"][..]),
        ("connection", line.connection.is_some(), &["open", "request", "close"]),
        ("upstream", line.upstream.is_some(), &["request"]),
        ("expect", line.expect.is_some(), &["request", "configure"]),
        ("cluster", line.cluster.is_some(), &["respond"]),
        ("worker", line.worker.is_some(), &["stall"]),
    ];
    for (field, present, events) in belongs {
        if present && !events.contains(&event) {
            let message =
                format!("has no meaning with {event}; expected it with {}", events.join(" or "));
            return Err(FieldError::new(field, message));
        }
    }
    Ok(())
}

fn missing(field: &str, purpose: &str) -> FieldError {
    FieldError::new(field, format!("is missing; expected the {field} {purpose}"))
}
