//! The drain record: one JSON object for the process, in shared data that every VM with the same
//! `vm_id` may write.
//!
//! Records are ordered: by epoch, and within an epoch the earlier start is greater. Every VM writes
//! the greater one back, so the outcome does not depend on the order of writes. That matters
//! because not every proxy-wasm host makes the first write of a key conditional.

use std::cmp::{Ordering, Reverse};

use serde::Serialize;

use super::command::Command;
use super::epoch::{self, EpochTooHigh};
use super::error::RecordError;
use crate::config::{
    DrainMode, Epoch, OneOrMore, Percent, Place, Problem, Read, RouteName, UnixMs,
};

/// The default window of a reload or a rebalance, in milliseconds.
pub const DEFAULT_WINDOW_MS: u64 = 30_000;

/// The drain in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// The number of the drain. A higher one replaces a lower one.
    pub epoch: u64,
    /// Which connections close.
    pub mode: DrainMode,
    /// The start, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// The time over which the closes spread, in milliseconds; with zero, all close at once.
    pub window_ms: u64,
    /// The percentage of the connections that a rebalance closes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// The routes whose responses close a connection; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<OneOrMore<RouteName>>,
}

/// How the epoch of a record compares with that of the record in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochOrdering {
    /// The epoch is higher.
    Higher,
    /// The epoch and the settings are the same.
    Same,
    /// The epoch is the same, the settings differ. The record in force stays.
    Conflicting,
    /// The epoch is lower.
    Lower,
}

impl Record {
    /// Parses a record: a [`Command`] with an epoch and a start.
    ///
    /// # Errors
    /// If the bytes are not a record.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let command = Command::parse(bytes)?;
        let missing = |name, expected| {
            let place = Place::Field(&Place::Root, name);
            RecordError::Invalid(place.error(Problem::Missing { expected }))
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

    /// The record of a command when `in_force` is the epoch in force (0: none).
    ///
    /// # Errors
    /// If the epoch is too high.
    pub fn from_command(
        command: &Command,
        in_force: u64,
        now_ms: u64,
    ) -> Result<Self, EpochTooHigh> {
        let default_window = match command.mode {
            DrainMode::Reload | DrainMode::Rebalance => DEFAULT_WINDOW_MS,
            DrainMode::Terminate | DrainMode::Off => 0,
        };
        let epoch = command.epoch.map_or(in_force.saturating_add(1), Epoch::value);
        epoch::check(epoch, in_force, now_ms)?;
        Ok(Self {
            epoch,
            mode: command.mode,
            started_ms: command.started_ms.unwrap_or(now_ms),
            window_ms: command.window_ms.unwrap_or(default_window),
            percent: command.percent,
            routes: command.routes.clone(),
        })
    }

    /// The JSON in shared data.
    pub fn to_json(&self) -> String {
        // Numbers, words and names always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Compares the epoch and the settings with those of the record in force. The start of a drain
    /// is not one of its settings.
    pub fn compare(&self, in_force: &Self) -> EpochOrdering {
        match self.epoch.cmp(&in_force.epoch) {
            Ordering::Greater => EpochOrdering::Higher,
            Ordering::Less => EpochOrdering::Lower,
            Ordering::Equal if self.settings() == in_force.settings() => EpochOrdering::Same,
            Ordering::Equal => EpochOrdering::Conflicting,
        }
    }

    fn settings(&self) -> impl PartialEq {
        (self.mode, self.window_ms, self.percent, &self.routes)
    }

    /// The order in which shared records replace each other: the greater one stays.
    pub fn precedence(&self, other: &Self) -> Ordering {
        (self.epoch, Reverse(self.started_ms)).cmp(&(other.epoch, Reverse(other.started_ms)))
    }
}
