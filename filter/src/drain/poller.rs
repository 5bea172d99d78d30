//! When the control store is polled, and which of its states are reported.
//!
//! The poller reads a failing store less and less often, and each process at different times. A
//! fleet therefore does not overload the store when it recovers. The log has one line for each
//! change of the store's state, however long the state lasts, and one more from each new leader.

use std::mem::discriminant;

use super::epoch::EpochTooHigh;
use super::spread;
use super::store::StoreError;
use crate::rules::ControlStore;

/// The longest pause between two polls, in milliseconds, unless the interval itself is longer.
const LONGEST_MS: u64 = 30_000;

/// How long after its timeout a response may still arrive, in milliseconds.
const GRACE_MS: u64 = 5_000;

/// The state of the key in the control store, after a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// The drain of this epoch is in force.
    InForce(u64),
    /// The epoch is lower than the one in force.
    Lower(u64),
    /// The epoch is in force with other settings.
    Conflicting(u64),
    /// The epoch is too high.
    TooHigh(EpochTooHigh),
    /// The store has no such key.
    Missing,
    /// No response, or an invalid one.
    Failed(StoreError),
}

impl KeyState {
    /// Whether the record in the store is in force.
    pub fn is_in_force(&self) -> bool {
        matches!(self, Self::InForce(_))
    }

    /// Whether the record in the store is ignored.
    pub fn is_ignored(&self) -> bool {
        matches!(self, Self::Lower(_) | Self::Conflicting(_) | Self::TooHigh(_))
    }

    /// Compares two states, except for details that change from one response to the next.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Failed(one), Self::Failed(other)) => discriminant(one) == discriminant(other),
            _ => discriminant(self) == discriminant(other),
        }
    }

    /// The state as a log line.
    pub fn describe(&self, control: &ControlStore) -> String {
        let state = match self {
            Self::InForce(epoch) => format!("epoch {epoch} is in force"),
            Self::Lower(epoch) => {
                format!("epoch {epoch} is lower than the one in force, which stays in force")
            }
            Self::Conflicting(epoch) => format!(
                "epoch {epoch} is in force with other settings, which stay in force; raise the epoch"
            ),
            Self::TooHigh(error) => {
                format!("{error}; the last drain stays in force; delete the key or lower its epoch")
            }
            Self::Missing => "no such key; the last drain stays in force".to_owned(),
            Self::Failed(error) => format!("{error}; the last drain stays in force"),
        };
        format!("control store {}, key {}: {state}", control.cluster.as_str(), control.key.as_str())
    }
}

/// The polls of one VM. They continue when a configuration push replaces the plugin that made the
/// last one, unless the push changes the store.
#[derive(Debug, Default)]
pub struct Poller {
    store: Option<ControlStore>,
    /// When the last poll started, and when the next one is due, in milliseconds since the Unix
    /// epoch.
    polled_ms: u64,
    next_ms: u64,
    /// When the pending poll counts as failed.
    expires_ms: Option<u64>,
    failures: u32,
    state: Option<KeyState>,
}

/// The decision of [`Poller::poll`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing is due.
    No,
    /// A poll is due. The poller waits for [`on_response`](Poller::on_response).
    Now,
    /// No response to the last poll arrived: [`StoreError::NoResponse`].
    Overdue,
}

impl Poller {
    /// Polls this store from now on. The response to a poll of another store is then not awaited.
    pub fn use_store(&mut self, control: &ControlStore) {
        if self.store.as_ref() != Some(control) {
            *self = Self { store: Some(control.clone()), ..Self::default() };
        }
    }

    /// Whether the response to a poll of this store is pending.
    pub fn awaits(&self, control: &ControlStore) -> bool {
        self.expires_ms.is_some() && self.store.as_ref() == Some(control)
    }

    /// Whether to poll now.
    pub fn poll(&mut self, control: &ControlStore, now_ms: u64) -> Due {
        self.use_store(control);
        let longest = LONGEST_MS.max(control.interval.as_millis()) * 2;
        if let Some(expires) = self.expires_ms {
            let is_pending =
                (now_ms..=now_ms + control.timeout.as_millis() + GRACE_MS).contains(&expires);
            return if is_pending { Due::No } else { Due::Overdue };
        }
        // A due time beyond the longest pause means that the clock was set back.
        if (now_ms + 1..=now_ms + longest).contains(&self.next_ms) {
            return Due::No;
        }
        self.polled_ms = now_ms;
        self.expires_ms = Some(now_ms + control.timeout.as_millis() + GRACE_MS);
        Due::Now
    }

    /// Discards the pending poll. If the plugin that made it has ended, its response never arrives.
    pub fn interrupt(&mut self) {
        self.expires_ms = None;
    }

    /// Schedules the next poll after a response or a failure. Returns whether to report the state,
    /// because it differs from the one before. `seed` differs between processes.
    pub fn on_response(&mut self, control: &ControlStore, state: &KeyState, seed: u64) -> bool {
        self.expires_ms = None;
        let interval = control.interval.as_millis();
        let pause = if let KeyState::Failed(_) = state {
            self.failures = self.failures.saturating_add(1);
            let doubled = interval.saturating_mul(1 << self.failures.min(16));
            let longest = doubled.min(LONGEST_MS.max(interval));
            longest / 2 + spread::offset_ms(seed, u64::from(self.failures), longest / 2)
        } else {
            self.failures = 0;
            interval
        };
        self.next_ms = self.polled_ms + pause;
        // A working store gets a line only after another state. The drain itself has its own line.
        let is_change = match &self.state {
            Some(before) => !before.is_like(state),
            None => !state.is_in_force(),
        };
        self.state = Some(state.clone());
        is_change
    }
}
