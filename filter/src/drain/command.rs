//! What somebody asks for: a drain that begins, changes or ends. A configuration, the control store and the admin path all say it in these
//! words; it becomes a [`Record`] once its epoch and its beginning are settled.

use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

use super::record::{MAX_RECORD, Record, RecordError};
use crate::config::{
    ConfigError, DrainMode, DrainStateSpec, Epoch, Fields, Node, OneOrMore, Percent, Place,
    Problem, RouteName, UnixMs, Window, WindowMs, check_percent, parse_json,
};

/// A reload or a rebalance spreads over this, in milliseconds, when nobody says otherwise.
pub const DEFAULT_WINDOW_MS: u64 = 30_000;

/// The fields of a command.
const KNOWN: &[&str] = &["epoch", "mode", "started_ms", "window", "window_ms", "percent", "routes"];

fn known(node: &Node) -> Result<Fields<'_, 'static>, ConfigError> {
    Fields::of(node, &Place::Root, KNOWN, &[])
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Its number; `None`: the next one.
    pub epoch: Option<Epoch>,
    /// What it closes.
    pub mode: DrainMode,
    /// When it began, in milliseconds since the Unix epoch; `None`: when it is learned.
    pub started_ms: Option<u64>,
    /// The time over which the closes spread, in milliseconds; `None`: what is usual for the mode.
    pub window_ms: Option<u64>,
    /// The share that a rebalance closes.
    pub percent: Option<Percent>,
    /// The routes whose responses close a connection; `None`: all.
    pub routes: Option<OneOrMore<RouteName>>,
}

impl Command {
    /// Reads JSON. Fields that this version does not know are ignored, because while a fleet is upgraded older filters read what newer
    /// tools write.
    ///
    /// # Errors
    /// When it is not a command.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD {
            return Err(RecordError::TooLarge { found: bytes.len() });
        }
        Self::read_json(bytes, |node| Fields::tolerant(node, &Place::Root))
    }

    /// Reads the JSON of an operator, whose slips of the pen are refused: a field that nobody knows would be a limit that nobody keeps.
    ///
    /// # Errors
    /// When it is not a command.
    pub fn written(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::read_json(bytes, known)
    }

    fn read_json(
        bytes: &[u8],
        fields: impl for<'n> Fn(&'n Node) -> Result<Fields<'n, 'static>, ConfigError>,
    ) -> Result<Self, RecordError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RecordError::NotUtf8)?;
        let node = parse_json(text).map_err(|problem| RecordError::NotJson(Box::new(problem)))?;
        fields(&node).and_then(Self::read).map_err(RecordError::Wrong)
    }

    /// Reads the query of a URL, as `mode=terminate&window=20s`; several routes stand behind each other with commas. As strict as
    /// [`written`](Self::written).
    ///
    /// # Errors
    /// When it is not a command.
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
        known(&node).and_then(Self::read).map_err(RecordError::Wrong)
    }

    /// The query that [`from_query`](Self::from_query) reads as this command.
    pub fn to_query(&self) -> String {
        // Words, numbers and the names of routes need no escapes in a URL.
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
            let reason = "stands beside window; expected one of them";
            return Place::Field(&Place::Root, "window_ms").refuse(Problem::NotOurs { reason });
        }
        Ok(command)
    }

    /// What a configuration asks for.
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

    /// The record that it becomes after the epoch `known` (0: none) at `now_ms`; `None` when no epoch is left for it.
    pub fn record(&self, known: u64, now_ms: u64) -> Option<Record> {
        let usual = match self.mode {
            DrainMode::Reload | DrainMode::Rebalance => DEFAULT_WINDOW_MS,
            DrainMode::Terminate | DrainMode::Off => 0,
        };
        let epoch = self.epoch.map_or(known.saturating_add(1), Epoch::value);
        (epoch <= Epoch::MAX).then(|| Record {
            epoch,
            mode: self.mode,
            started_ms: self.started_ms.unwrap_or(now_ms),
            window_ms: self.window_ms.unwrap_or(usual),
            percent: self.percent,
            routes: self.routes.clone(),
        })
    }
}
