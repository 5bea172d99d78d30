//! The state of a drain, one for the process: a JSON object in shared data that anybody who shares the VM id may write.
//!
//! Records are ordered, and the shared one only moves up: by epoch, and within an epoch towards the earlier start. That makes the outcome independent of
//! who writes when, which matters because the first write of a key cannot be conditional in every proxy-wasm host.

use std::cmp::{Ordering, Reverse};
use std::fmt::Write as _;

use super::command::Command;
use crate::config::{
    ConfigError, DrainMode, Epoch, OneOrMore, Percent, Place, Problem, Read, RouteName, UnixMs,
};

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
    /// Reads a record: a [`Command`] whose epoch and beginning are settled.
    ///
    /// # Errors
    /// When it is not a record.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let command = Command::parse(bytes)?;
        let missing = |name, expected| {
            let place = Place::Field(&Place::Root, name);
            RecordError::Wrong(place.error(Problem::Missing { expected }))
        };
        Ok(Self {
            epoch: command.epoch.ok_or_else(|| missing("epoch", Epoch::EXPECTED))?.value(),
            mode: command.mode,
            started_ms: command
                .started_ms
                .ok_or_else(|| missing("started_ms", UnixMs::EXPECTED))?,
            window_ms: command.window_ms.unwrap_or(0),
            percent: command.percent,
            routes: command.routes,
        })
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

    /// Whether it closes the same connections in the same time as `other`, whenever either began.
    pub fn agrees(&self, other: &Self) -> bool {
        (self.mode, self.window_ms, self.percent, &self.routes)
            == (other.mode, other.window_ms, other.percent, &other.routes)
    }

    /// How this record stands to `other`: the greater one is the one to keep.
    pub fn order(&self, other: &Self) -> Ordering {
        (self.epoch, Reverse(self.started_ms)).cmp(&(other.epoch, Reverse(other.started_ms)))
    }
}
