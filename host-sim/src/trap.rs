//! How guests break, and what the embedder learns about it.

use thiserror::Error;

use crate::limits::Limits;
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
    /// It called the host where the host cannot answer: while the module starts, or from its
    /// allocator, which the host itself had called.
    #[error("it called {call} while {during}")]
    Forbidden {
        /// The host function.
        call: &'static str,
        /// What was going on.
        during: &'static str,
    },
    /// `proc_exit` was called.
    #[error("it called proc_exit({0})")]
    Exit(u32),
}

/// Why a host function ends the callback instead of answering it.
#[derive(Debug, Error)]
#[error(transparent)]
pub(crate) struct HostTrap(pub(crate) TrapReason);

impl TrapReason {
    /// What the runtime's error means.
    pub(crate) fn from_error(error: &wasmtime::Error, limits: &Limits) -> TrapReason {
        if let Some(HostTrap(reason)) = error.downcast_ref() {
            return reason.clone();
        }
        match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::OutOfFuel) => {
                TrapReason::Budget { budget: limits.callback_budget }
            }
            Some(wasmtime::Trap::StackOverflow) => TrapReason::Stack { bytes: limits.stack_bytes },
            Some(wasmtime::Trap::UnreachableCodeReached) => TrapReason::Unreachable,
            Some(trap) => TrapReason::Fault(trap.to_string()),
            None => TrapReason::Fault(format!("{error:#}")),
        }
    }
}
