//! Parses the lines of a trace, and checks the rules between lines.

use std::time::Duration;

use super::error::{FieldError, LINE};
use super::event::{Event, EventKind, Exchange, UpstreamAttempt};
use super::expect::{ConfigureExpect, Expect};
use super::json;
use super::line::Line;
use super::message::{check_attempt, check_cluster_response, check_request};
use super::names::{ConnectionNames, RecentNames};
use super::text::Text;
use crate::proxy::Setup;

/// What the lines so far have in common with the next one.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The setup before the first event.
    pub(super) setup: Setup,
    /// The line of the setup, if there is one.
    pub(super) setup_line: Option<u32>,
    first_event: Option<u32>,
    connections: ConnectionNames,
    /// The line of each id.
    ids: RecentNames,
    last: Duration,
}

impl Lines {
    /// Parses the line with this number. Returns `None` if it is empty or has a part of the setup.
    pub(super) fn parse<'a>(
        &mut self,
        number: u32,
        text: &'a str,
    ) -> Result<Option<Event<'a>>, FieldError> {
        let content = text.trim_start();
        if content.is_empty() {
            return Ok(None);
        }
        // serde accepts a list in place of an object, with the fields in order.
        if content.starts_with('[') {
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
            self.setup(number, part, &mut line)?;
            return Ok(None);
        }
        let at = line.at;
        let kind = self.kind(number, line)?;
        self.first_event.get_or_insert(number);
        Ok(Some(Event { line: number, at, kind }))
    }

    /// Reads a line with parts of the setup.
    fn setup(
        &mut self,
        number: u32,
        part: &'static str,
        line: &mut Line<'_>,
    ) -> Result<(), FieldError> {
        if let Some(event) = self.first_event {
            let message =
                format!("follows the event on line {event}; move it to the start of the trace");
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

    fn kind<'a>(&mut self, number: u32, line: Line<'a>) -> Result<EventKind<'a>, FieldError> {
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
            return Ok(EventKind::Open { connection: self.connections.open(&name)?, name, open });
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
            return Ok(EventKind::Close { connection: self.connections.close(&name, number)?, by });
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
        let id = match line.id {
            Some(id) => self.explicit_id(id, number)?,
            // Without the machinery of `format!`, because most exchanges have no id.
            None => Text(["line ", &number.to_string()].concat().into()),
        };
        let expect = line.expect.map(|raw| json::parse::<Expect<'a>>(raw.get())).transpose();
        let expect = expect.map_err(|mistake| mistake.within("expect"))?;
        let connection = match &line.connection {
            Some(name) => self.connections.of_request(name)?,
            None => self.connections.unnamed(),
        };
        Ok(EventKind::Exchange(Box::new(Exchange {
            id,
            connection,
            connection_name: line.connection,
            request,
            upstream,
            expect,
        })))
    }

    fn explicit_id<'a>(&mut self, id: Text<'a>, number: u32) -> Result<Text<'a>, FieldError> {
        if let Some(first) = self.ids.line(&id) {
            let message = format!("{:?} is already used on line {first}; expected a new id", &*id);
            return Err(FieldError::new("id", message));
        }
        self.ids.insert(&id, number);
        Ok(id)
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
