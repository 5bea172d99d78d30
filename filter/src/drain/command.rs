//! A command that starts, changes or ends a drain. The configuration, the control store and the
//! admin path use the same fields. A command with an epoch and a start is a record.

use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

use super::epoch::EpochTooHigh;
use super::error::{MAX_RECORD, RecordError};
use crate::config::{
    ConfigError, DrainMode, DrainStateSpec, Epoch, Fields, Node, OneOrMore, Percent, Place,
    Problem, RouteName, UnixMs, Window, WindowMs, check_percent, parse_json,
};

const KNOWN: &[&str] = &["epoch", "mode", "started_ms", "window", "window_ms", "percent", "routes"];

fn known_fields(node: &Node) -> Result<Fields<'_, 'static>, ConfigError> {
    Fields::of(node, &Place::Root, KNOWN, &[])
}

/// Starts, changes or ends a drain.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The number of the drain; `None`: the next one.
    pub epoch: Option<Epoch>,
    /// Which connections close.
    pub mode: DrainMode,
    /// The start, in milliseconds since the Unix epoch; `None`: when the command is applied.
    pub started_ms: Option<u64>,
    /// The time over which the closes spread, in milliseconds; `None`: the default of the mode.
    pub window_ms: Option<u64>,
    /// The percentage of the connections that a rebalance closes.
    pub percent: Option<Percent>,
    /// The routes whose responses close a connection; `None`: all.
    pub routes: Option<OneOrMore<RouteName>>,
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// The drain is in force. It may have been in force before.
    InForce,
    /// This epoch is in force with other settings, which stay in force.
    Conflicting(u64),
    /// This epoch is lower than the one in force.
    Lower(u64),
    /// This epoch is too high.
    TooHigh(EpochTooHigh),
    /// The configuration has no such route.
    UnknownRoute(String),
    /// Other VMs wrote to shared data at every attempt.
    Busy,
}

impl Command {
    /// Parses JSON. Ignores fields that this version does not know: during an upgrade of a fleet,
    /// older filters read what newer tools write.
    ///
    /// # Errors
    /// If the bytes are not a command.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD {
            return Err(RecordError::TooLarge { found: bytes.len() });
        }
        Self::read_json(bytes, |node| Fields::tolerant(node, &Place::Root))
    }

    /// Parses JSON that an operator wrote. Refuses unknown fields: with a mistyped `window`, for
    /// example, the drain would close all connections at once.
    ///
    /// # Errors
    /// If the bytes are not a command.
    pub fn parse_strict(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::read_json(bytes, known_fields)
    }

    fn read_json(
        bytes: &[u8],
        fields: impl for<'n> Fn(&'n Node) -> Result<Fields<'n, 'static>, ConfigError>,
    ) -> Result<Self, RecordError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RecordError::NotUtf8)?;
        let node = parse_json(text).map_err(|problem| RecordError::NotJson(Box::new(problem)))?;
        fields(&node).and_then(Self::read).map_err(RecordError::Invalid)
    }

    /// Parses the query of a URL, such as `mode=terminate&window=20s&routes=a,b`. Refuses unknown
    /// fields, as [`parse_strict`](Self::parse_strict) does.
    ///
    /// # Errors
    /// If the query is not a command.
    pub fn from_query(query: &str) -> Result<Self, RecordError> {
        let value = |name: &str, text: &str| match (name, text.parse()) {
            ("routes", _) => {
                Node::Array(text.split(',').map(|name| Node::Text(name.to_owned())).collect())
            }
            (_, Ok(number)) => Node::Unsigned(number),
            _ => Node::Text(text.to_owned()),
        };
        let fields = query.split('&').filter(|field| !field.is_empty()).map(|field| {
            let (name, text) = field.split_once('=').unwrap_or((field, ""));
            let text = percent_decode_str(text).decode_utf8_lossy();
            (name.to_owned(), value(name, &text))
        });
        let node = Node::Object(fields.collect());
        known_fields(&node).and_then(Self::read).map_err(RecordError::Invalid)
    }

    /// The query that [`from_query`](Self::from_query) parses to this command.
    pub fn to_query(&self) -> String {
        // Modes, numbers and route names need no escapes in a URL.
        let mut query = format!("mode={}", self.mode.word());
        let numbers = [
            ("epoch", self.epoch.map(Epoch::value)),
            ("started_ms", self.started_ms),
            ("window_ms", self.window_ms),
            ("percent", self.percent.map(Percent::value)),
        ];
        for (name, number) in numbers {
            let _ = number.map(|number| write!(query, "&{name}={number}"));
        }
        if let Some(routes) = &self.routes {
            let names: Vec<&str> = routes.iter().map(RouteName::as_str).collect();
            let _ = write!(query, "&routes={}", names.join(","));
        }
        query
    }

    fn read(fields: Fields<'_, '_>) -> Result<Self, ConfigError> {
        let window_ms = fields.optional::<WindowMs>("window_ms")?.map(WindowMs::value);
        let window = fields.optional::<Window>("window")?;
        let command = Self {
            epoch: fields.optional("epoch")?,
            mode: fields.required("mode")?,
            started_ms: fields.optional::<UnixMs>("started_ms")?.map(UnixMs::value),
            window_ms: window_ms.or(window.map(|window| window.span().as_millis())),
            percent: fields.optional("percent")?,
            routes: fields.optional("routes")?,
        };
        check_percent(command.mode, command.percent, &Place::Root)?;
        if window.is_some() && window_ms.is_some() {
            let reason = "set together with window; expected only one of them";
            return Place::Field(&Place::Root, "window_ms").refuse(Problem::Misplaced { reason });
        }
        Ok(command)
    }

    /// The command of a configuration.
    pub fn configured(state: &DrainStateSpec) -> Self {
        Self {
            epoch: Some(state.epoch),
            mode: state.mode,
            started_ms: None,
            window_ms: state.window.map(|window| window.span().as_millis()),
            percent: state.percent,
            routes: state.routes.clone(),
        }
    }
}
