//! The state of a drain, one for the process: a JSON object in shared data that anybody who shares the VM id may write.
//!
//! Records are ordered, and the shared one only moves up: by epoch, and within an epoch towards the earlier start. That makes the outcome independent of
//! who writes when, which matters because the first write of a key cannot be conditional in the proxy-wasm ABI.

use std::cmp::{Ordering, Reverse};
use std::fmt::Write as _;

use crate::config::spec::{DrainMode, DrainStateSpec};
use crate::config::{ConfigError, Epoch, Fields, Node, OneOrMore, Percent, Place, Problem, Read};
use crate::config::{RouteName, UnixMs, WindowMs, parse_json};

/// A reload or a rebalance spreads over this, in milliseconds, when nobody says otherwise.
pub const DEFAULT_WINDOW_MS: u64 = 30_000;

/// The largest record that is read, in bytes.
pub const MAX_RECORD: usize = 1024 * 1024;

/// What the process drains.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its number; a higher one replaces a lower one.
    pub epoch: u64,
    /// What it closes.
    pub mode: DrainMode,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// The time over which the closes spread, in milliseconds; zero is at once.
    pub window_ms: u64,
    /// The share that a rebalance closes.
    pub percent: Option<Percent>,
    /// The routes whose responses close a connection; `None`: all.
    pub routes: Option<OneOrMore<RouteName>>,
}

/// Why the value in shared data is not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// More than [`MAX_RECORD`].
    #[error("the drain record has {found} bytes; expected at most {MAX_RECORD}")]
    TooLarge {
        /// Bytes.
        found: usize,
    },
    /// Not text.
    #[error("the drain record is not valid UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("the drain record is {0}")]
    NotJson(Box<Problem>),
    /// A field is missing or wrong.
    #[error("the drain record is wrong at {0}")]
    Wrong(ConfigError),
}

impl Record {
    /// Reads a record. Fields that this version does not know are ignored, because while a fleet is upgraded older filters read
    /// what newer ones write.
    ///
    /// # Errors
    /// When it is not a record.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD {
            return Err(RecordError::TooLarge { found: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| RecordError::NotUtf8)?;
        let node = parse_json(text).map_err(|problem| RecordError::NotJson(Box::new(problem)))?;
        Self::read(&node).map_err(RecordError::Wrong)
    }

    fn read(node: &Node) -> Result<Self, ConfigError> {
        let fields = Fields::tolerant(node, &Place::Root)?;
        let record = Self {
            epoch: fields.required::<Epoch>("epoch")?.value(),
            mode: fields.required("mode")?,
            started_ms: fields.required::<UnixMs>("started_ms")?.value(),
            window_ms: fields.optional::<WindowMs>("window_ms")?.map_or(0, |window| window.value()),
            percent: fields.optional("percent")?,
            routes: fields.optional("routes")?,
        };
        if record.mode == DrainMode::Rebalance && record.percent.is_none() {
            return Place::Field(&Place::Root, "percent")
                .refuse(Problem::Missing { expected: Percent::EXPECTED });
        }
        Ok(record)
    }

    /// The record that a configuration asks for, if it begins now.
    pub fn requested(state: &DrainStateSpec, now_ms: u64) -> Self {
        let default_window = match state.mode {
            DrainMode::Reload | DrainMode::Rebalance => DEFAULT_WINDOW_MS,
            DrainMode::Terminate | DrainMode::Off => 0,
        };
        Self {
            epoch: state.epoch.value(),
            mode: state.mode,
            started_ms: now_ms,
            window_ms: state.window.map_or(default_window, |window| window.span().as_millis()),
            percent: state.percent,
            routes: state.routes.clone(),
        }
    }

    /// The JSON that stands in shared data.
    pub fn to_json(&self) -> String {
        let mut json = format!(
            "{{\"epoch\":{},\"mode\":\"{}\",\"started_ms\":{},\"window_ms\":{}",
            self.epoch,
            self.mode.word(),
            self.started_ms,
            self.window_ms
        );
        if let Some(percent) = self.percent {
            let _ = write!(json, ",\"percent\":{}", percent.value());
        }
        if let Some(routes) = &self.routes {
            // The alphabet of route names needs no escapes.
            let names: Vec<&str> = routes.iter().map(RouteName::as_str).collect();
            let _ = write!(json, ",\"routes\":[\"{}\"]", names.join("\",\""));
        }
        json.push('}');
        json
    }

    /// How this record stands to `other`: the greater one is the one to keep.
    pub fn order(&self, other: &Self) -> Ordering {
        (self.epoch, Reverse(self.started_ms)).cmp(&(other.epoch, Reverse(other.started_ms)))
    }
}
