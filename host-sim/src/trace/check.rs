//! Reading a trace: from lines to events, with the rules that hold between them.
//!
//! Lines are read by serde directly, which is fast and says little about where a mistake is. Only when
//! that fails is the line read a second time with its path tracked.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::event::{
    ConnectionIndex, End, Event, Exchange, Kind, Line, Open, Upstream, has_empty_chunk,
    parse_expect,
};
use super::expect::ConfigureExpect;
use super::message::{check_fields, check_request, check_status};
use super::text::Span;
use super::{Text, Trace};

/// A mistake in a trace: `file:line: field: what was expected`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{trace}:{line}: {mistake}")]
pub struct TraceError {
    /// The trace's name.
    pub trace: String,
    /// The line, from 1.
    pub line: u32,
    /// What is wrong on it.
    pub mistake: FieldError,
}

/// What is wrong on a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// The field, as a path from the line's top.
    pub field: String,
    /// What was found and what was expected.
    pub message: String,
}

impl FieldError {
    pub(super) fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into() }
    }
}

/// Reads and checks a whole trace.
pub(super) fn trace<'a>(name: &str, text: &'a str) -> Result<Trace<'a>, TraceError> {
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
    Ok(Trace {
        name: name.to_owned(),
        events: reader.events,
        connections: reader.connections.into_iter().map(|known| known.name).collect(),
    })
}

/// What the lines so far have said.
#[derive(Default)]
struct Reader<'a> {
    events: Vec<Event<'a>>,
    connections: Vec<Known>,
    by_name: HashMap<String, ConnectionIndex>,
    ids: HashMap<String, u32>,
    last: Duration,
}

struct Known {
    name: String,
    closed_on: Option<u32>,
}

impl<'a> Reader<'a> {
    fn line(&mut self, number: u32, text: &'a str) -> Result<(), FieldError> {
        // serde would take a list for the fields in their order.
        if text.trim_start().starts_with('[') {
            return Err(FieldError::new(
                "line",
                "found a list; expected an event, which is a JSON object",
            ));
        }
        let line: Line<'a> = json(text)?;
        if line.at < self.last {
            return Err(FieldError::new(
                "at",
                format!(
                    "{:?} is before the line above; expected events in the order of their time, here {:?} or later",
                    line.at, self.last
                ),
            ));
        }
        self.last = line.at;
        let at = line.at;
        let kind = self.kind(number, line)?;
        self.events.push(Event { line: number, at, kind });
        Ok(())
    }

    fn kind(&mut self, number: u32, line: Line<'a>) -> Result<Kind<'a>, FieldError> {
        let kinds = [
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
        let mut present = kinds.iter().filter(|(_, present)| *present).map(|(name, _)| *name);
        let kind = present.next().ok_or_else(|| {
            FieldError::new(
                "line",
                "no event; expected one of configure, open, request, shared_data, respond, close, clock, stall, metrics",
            )
        })?;
        if let Some(other) = present.next() {
            return Err(FieldError::new(
                other,
                format!("stands beside {kind}; expected one event a line"),
            ));
        }
        let beside = [
            ("id", line.id.is_some(), &["request"][..]),
            ("connection", line.connection.is_some(), &["open", "request", "close"]),
            ("upstream", line.upstream.is_some(), &["request"]),
            ("expect", line.expect.is_some(), &["request", "configure"]),
            ("cluster", line.cluster.is_some(), &["respond"]),
            ("worker", line.worker.is_some(), &["stall"]),
        ];
        for (field, present, kinds) in beside {
            if present && !kinds.contains(&kind) {
                return Err(FieldError::new(
                    field,
                    format!(
                        "has no meaning beside {kind}; expected it beside {}",
                        kinds.join(" or ")
                    ),
                ));
            }
        }

        if let Some(configuration) = line.configure {
            let expect = match line.expect {
                Some(raw) => json::<ConfigureExpect>(raw.get()).map_err(within_expect)?,
                None => ConfigureExpect { accepted: true },
            };
            return Ok(Kind::Configure { configuration, expect });
        }
        if let Some(open) = line.open {
            let name = line.connection.ok_or_else(|| missing("connection", "to open"))?;
            return self.open(&name, open);
        }
        if let Some(write) = line.shared_data {
            return Ok(Kind::SharedData(write));
        }
        if let Some(respond) = line.respond {
            if matches!(respond.end, End::RefusedStream | End::ResetInHeader) {
                return Err(FieldError::new(
                    "respond.end",
                    "has no meaning for a call; expected complete, reset, refused or never",
                ));
            }
            check_status("respond.status", respond.status)?;
            check_fields("respond.headers", &respond.headers)?;
            check_fields("respond.trailers", &respond.trailers)?;
            let cluster = line.cluster.ok_or_else(|| missing("cluster", "that responds"))?;
            return Ok(Kind::Cluster { cluster, respond });
        }
        if let Some(by) = line.close {
            let name = line.connection.ok_or_else(|| missing("connection", "to close"))?;
            let connection = self.known(&name)?;
            self.connections[connection.0].closed_on = Some(number);
            return Ok(Kind::Close { connection, by });
        }
        if let Some(Span(clock)) = line.clock {
            return Ok(Kind::Clock(clock));
        }
        if let Some(Span(span)) = line.stall {
            let worker = line.worker.ok_or_else(|| missing("worker", "that stalls"))?;
            return Ok(Kind::Stall { worker, span });
        }
        if let Some(metrics) = line.metrics {
            return Ok(Kind::Metrics(metrics));
        }
        let request = line.request.ok_or_else(|| missing("request", "to send"))?;
        if has_empty_chunk(&request.body) {
            return Err(FieldError::new(
                "request.body",
                "a chunk is empty; expected at least 1 byte",
            ));
        }
        check_request(&request)?;
        let upstream = line.upstream.unwrap_or_else(|| vec![Upstream::default()]);
        for attempt in &upstream {
            check_attempt(attempt)?;
        }
        let id = line.id.unwrap_or_else(|| Text(format!("line {number}").into()));
        if let Some(first) = self.ids.insert(id.to_string(), number) {
            return Err(FieldError::new(
                "id",
                format!("{:?} stands on line {first} already; expected an id of its own", &*id),
            ));
        }
        let expect = line.expect.map(parse_expect).transpose().map_err(within_expect)?;
        let (connection, own_connection) = match &line.connection {
            Some(name) => match self.by_name.contains_key(&**name) {
                true => (self.known(name)?, false),
                false => (self.insert(name), false),
            },
            None => {
                self.connections.push(Known { name: id.to_string(), closed_on: None });
                (ConnectionIndex(self.connections.len() - 1), true)
            }
        };
        Ok(Kind::Exchange(Box::new(Exchange {
            id,
            connection,
            own_connection,
            request,
            upstream,
            expect,
        })))
    }

    fn open(&mut self, name: &str, open: Open<'a>) -> Result<Kind<'a>, FieldError> {
        let open_already = self
            .by_name
            .get(name)
            .is_some_and(|connection| self.connections[connection.0].closed_on.is_none());
        if open_already {
            return Err(FieldError::new(
                "connection",
                format!("{name:?} is open already; expected a name that is not in use"),
            ));
        }
        Ok(Kind::Open { connection: self.insert(name), open })
    }

    fn insert(&mut self, name: &str) -> ConnectionIndex {
        let index = ConnectionIndex(self.connections.len());
        self.connections.push(Known { name: name.to_owned(), closed_on: None });
        self.by_name.insert(name.to_owned(), index);
        index
    }

    fn known(&self, name: &str) -> Result<ConnectionIndex, FieldError> {
        let Some(&connection) = self.by_name.get(name) else {
            return Err(FieldError::new(
                "connection",
                format!("{name:?} is unknown; expected one that was opened or used before"),
            ));
        };
        match self.connections[connection.0].closed_on {
            Some(line) => Err(FieldError::new(
                "connection",
                format!("{name:?} was closed on line {line}; expected an open one"),
            )),
            None => Ok(connection),
        }
    }
}

/// Reads one JSON value; the second, slower reading only finds out where the mistake is.
pub(super) fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FieldError> {
    serde_json::from_str(text).map_err(|_| {
        let mut json = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Ok(_) => {
                FieldError::new("line", "something stands behind the event; expected one a line")
            }
            Err(error) => {
                let path = error.path().to_string();
                located(&path, &error.into_inner())
            }
        }
    })
}

/// The mistake with its field, in serde's words but for the position within the line, which means
/// nothing to whoever wrote the trace by hand and is wrong for parts that were cut out of it.
fn located(path: &str, error: &serde_json::Error) -> FieldError {
    let text = error.to_string();
    let text = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    if error.classify() != serde_json::error::Category::Data {
        return FieldError::new("line", format!("not JSON: {text}"));
    }
    let path = if path == "." { "" } else { path };
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    match (missing, path) {
        (Some(field), "") => FieldError::new(field, "is missing"),
        (Some(field), path) => FieldError::new(&format!("{path}.{field}"), "is missing"),
        (None, "") => FieldError::new("line", text),
        (None, path) => FieldError::new(path, text),
    }
}

fn within_expect(mistake: FieldError) -> FieldError {
    let field = match mistake.field.as_str() {
        "line" => "expect".to_owned(),
        inner => format!("expect.{inner}"),
    };
    FieldError { field, ..mistake }
}

fn missing(field: &str, purpose: &str) -> FieldError {
    FieldError::new(field, format!("is missing; expected the {field} {purpose}"))
}

fn check_attempt(attempt: &Upstream<'_>) -> Result<(), FieldError> {
    check_fields("upstream.headers", &attempt.headers)?;
    check_fields("upstream.trailers", &attempt.trailers)?;
    // 101 is the one informational status that ends an exchange: an upgrade.
    if attempt.status != Some(101) {
        check_status("upstream.status", attempt.status)?;
    }
    if has_empty_chunk(&attempt.body) {
        return Err(FieldError::new("upstream.body", "a chunk is empty; expected at least 1 byte"));
    }
    let sends = attempt.status.is_some() || !attempt.headers.is_empty() || !attempt.body.is_empty();
    match attempt.end {
        End::Refused | End::RefusedStream | End::ResetInHeader if sends => Err(FieldError::new(
            "upstream.end",
            "such an attempt sends no response; expected no status, headers or body beside it",
        )),
        End::Reset | End::Never if sends && attempt.status.is_none() => Err(FieldError::new(
            "upstream.status",
            "is missing; expected one where headers or a body are sent",
        )),
        _ => Ok(()),
    }
}
