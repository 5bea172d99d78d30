//! When the control store is asked, and what is told about how it answers.
//!
//! A store that fails is asked less and less often, each process at its own moments, so that a fleet does not fall upon it when it comes
//! back. Operators read one line for each change of its condition, however long it lasts, and one more from a worker that takes over.

use std::mem::{Discriminant, discriminant};

use super::spread;
use super::store::StoreError;
use super::worker::Standing;
use crate::rules::ControlStore;

/// The longest pause between two questions, in milliseconds, unless the interval itself is longer.
const LONGEST_MS: u64 = 30_000;

/// How long after its timeout an answer of the host is still waited for, in milliseconds.
const GRACE_MS: u64 = 5_000;

/// What an answer came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The drain under the key, compared with the one in force.
    Drain(Standing, u64),
    /// There is no such key.
    NoKey,
    /// No answer, or one of no use.
    Failed(StoreError),
}

/// One virtual machine's questions to the store.
#[derive(Debug, Default)]
pub struct Poller {
    /// When the last question was asked, and when the next one is due, in milliseconds since the Unix epoch.
    asked_ms: u64,
    next_ms: u64,
    /// When the question under way is given up.
    gives_up_ms: Option<u64>,
    failures: u32,
    condition: Option<Condition>,
}

impl Poller {
    /// Whether to ask now. It counts as asked then, and waits for [`heard`](Self::heard).
    pub fn is_due(&mut self, control: &ControlStore, now_ms: u64) -> Due {
        let longest = LONGEST_MS.max(control.interval.as_millis()) * 2;
        if let Some(gives_up) = self.gives_up_ms {
            let waits =
                (now_ms..=now_ms + control.timeout.as_millis() + GRACE_MS).contains(&gives_up);
            return if waits { Due::No } else { Due::Overdue };
        }
        // A moment farther off than any pause is what a clock that was set back leaves.
        if (now_ms + 1..=now_ms + longest).contains(&self.next_ms) {
            return Due::No;
        }
        self.asked_ms = now_ms;
        self.gives_up_ms = Some(now_ms + control.timeout.as_millis() + GRACE_MS);
        Due::Now
    }

    /// The answer to the question under way may never come: whoever asked may be gone.
    pub fn interrupted(&mut self) {
        self.gives_up_ms = None;
    }

    /// Takes an answer, or the lack of one, and plans the next question. Returns what to tell the operator, if the store's condition has changed.
    /// `seed` tells processes apart.
    pub fn heard(&mut self, control: &ControlStore, heard: &Heard, seed: u64) -> Option<News> {
        self.gives_up_ms = None;
        let interval = control.interval.as_millis();
        let pause = if let Heard::Failed(_) = heard {
            self.failures = self.failures.saturating_add(1);
            let doubled = interval.saturating_mul(1 << self.failures.min(16));
            let longest = doubled.min(LONGEST_MS.max(interval));
            longest / 2 + spread::offset_ms(seed, u64::from(self.failures), longest / 2)
        } else {
            self.failures = 0;
            interval
        };
        self.next_ms = self.asked_ms + pause;
        let condition = Condition::of(heard);
        let before = self.condition.replace(condition);
        // That all is well is news only after something else; which drain is in force, others tell.
        (before.unwrap_or(Condition::Well) != condition).then(|| News {
            is_well: condition == Condition::Well,
            is_stale: matches!(condition, Condition::Behind | Condition::Contradicts),
            line: describe(control, heard),
        })
    }
}

/// A change of the store's condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The store says what is in force.
    pub is_well: bool,
    /// The store says something that is ignored.
    pub is_stale: bool,
    /// What the operator reads.
    pub line: String,
}

/// What [`Poller::is_due`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing to do.
    No,
    /// Ask.
    Now,
    /// No answer came: report it as [`StoreError::Silent`].
    Overdue,
}

/// How the store is, without the details that differ from one answer to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Well,
    Behind,
    Contradicts,
    Empty,
    Failed(Discriminant<StoreError>),
}

impl Condition {
    fn of(heard: &Heard) -> Self {
        match heard {
            Heard::Drain(Standing::Higher | Standing::Known, _) => Self::Well,
            Heard::Drain(Standing::Lower, _) => Self::Behind,
            Heard::Drain(Standing::Taken, _) => Self::Contradicts,
            Heard::NoKey => Self::Empty,
            Heard::Failed(error) => Self::Failed(discriminant(error)),
        }
    }
}

fn describe(control: &ControlStore, heard: &Heard) -> String {
    let what = match heard {
        Heard::Drain(Standing::Higher | Standing::Known, epoch) => {
            format!("answers with epoch {epoch}")
        }
        Heard::Drain(Standing::Lower, epoch) => {
            format!("answers with epoch {epoch}, below the one in force, which stays")
        }
        Heard::Drain(Standing::Taken, epoch) => format!(
            "gives epoch {epoch} another meaning than the one in force, which stays; raise the epoch"
        ),
        Heard::NoKey => "has no such key; the last drain stays in force".to_owned(),
        Heard::Failed(error) => format!("is of no use, the last drain stays in force: {error}"),
    };
    format!("control store {}, key {}: {what}", control.cluster.as_str(), control.key.as_str())
}
