//! How guests break, and what the embedder learns about it.

use thiserror::Error;

use crate::stream::StreamId;

/// A callback that did not return.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("guest trapped in {callback}: {reason}")]
pub struct Trap {
    /// The stream whose callback it was; `None` for a plugin's callback.
    pub stream: Option<StreamId>,
    /// The export that was running.
    pub callback: &'static str,
    /// What happened.
    pub reason: TrapReason,
}

/// What made a callback break off.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrapReason {
    /// The callback ran longer than [`Limits::callback_budget`](crate::Limits::callback_budget).
    #[error("its budget of {budget} instructions is used up")]
    Budget {
        /// The budget.
        budget: u64,
    },
    /// Calls nested deeper than [`Limits::stack_bytes`](crate::Limits::stack_bytes).
    #[error("its stack of {bytes} bytes is used up")]
    Stack {
        /// The limit.
        bytes: usize,
    },
    /// `unreachable`, which is also how a panic ends.
    #[error("it executed `unreachable` (a panic ends this way)")]
    Unreachable,
    /// Memory or table accessed outside of its bounds, division by zero and the like.
    #[error("{0}")]
    Fault(String),
    /// The allocator, called by the host, called the host.
    #[error("its allocator called the host function {0}")]
    Reentered(&'static str),
    /// `proc_exit` was called.
    #[error("it called proc_exit({0})")]
    Exit(u32),
}
