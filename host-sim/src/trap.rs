//! Traps: how a callback of a guest can fail.

use thiserror::Error;

use crate::ids::StreamId;
use crate::limits::Limits;

/// A callback that did not return.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("guest trapped in {callback}: {reason}")]
#[non_exhaustive]
pub struct Trap {
    /// The stream whose callback trapped; `None` for a callback of a plugin.
    pub stream: Option<StreamId>,
    /// The name of the exported function.
    pub callback: &'static str,
    /// The cause.
    pub reason: TrapReason,
}

/// The cause of a trap.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrapReason {
    /// The callback exceeded [`Limits::callback_budget`](crate::Limits::callback_budget).
    #[error("exceeded its budget of {budget} instructions")]
    Budget {
        /// The budget, in instructions.
        budget: u64,
    },
    /// The callback exceeded [`Limits::callback_deadline`](crate::Limits::callback_deadline).
    #[error("exceeded its deadline of {epochs} epochs")]
    Deadline {
        /// The deadline, in epochs.
        epochs: u64,
    },
    /// The VMs of the process exceeded
    /// [`Process::set_max_instructions`](crate::Process::set_max_instructions).
    #[error("exceeded the budget of instructions of the whole process")]
    TotalBudget,
    /// The callback exceeded [`Limits::stack_bytes`](crate::Limits::stack_bytes).
    #[error("exceeded its stack of {bytes} bytes")]
    Stack {
        /// The limit, in bytes.
        bytes: usize,
    },
    /// The guest executed `unreachable`. A panic in Rust ends this way.
    #[error("executed `unreachable` (a panic ends this way)")]
    Unreachable,
    /// Another fault of WebAssembly, such as an access out of bounds or a division by zero.
    #[error("{0}")]
    Fault(String),
    /// The guest called the host where no host call is allowed: in the module's start function, or
    /// in its allocator.
    #[error("called {call} while {during}")]
    Forbidden {
        /// The host function.
        call: &'static str,
        /// A clause that describes the phase.
        during: &'static str,
    },
    /// The guest made a host call that aborts the whole proxy.
    #[error("made {call}, which aborts the whole process of the proxy")]
    ProxyAborts {
        /// The host call.
        call: &'static str,
    },
    /// The guest called `proc_exit`.
    #[error("called proc_exit({0})")]
    Exit(u32),
}

/// An error with which a host function ends the running callback.
#[derive(Debug, Error)]
#[error(transparent)]
pub(crate) struct HostTrap(pub(crate) TrapReason);

impl TrapReason {
    pub(crate) fn from_error(error: &wasmtime::Error, limits: &Limits) -> TrapReason {
        if let Some(HostTrap(reason)) = error.downcast_ref() {
            return reason.clone();
        }
        match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::OutOfFuel) => {
                TrapReason::Budget { budget: limits.callback_budget }
            }
            Some(wasmtime::Trap::Interrupt) => {
                TrapReason::Deadline { epochs: limits.callback_deadline.unwrap_or_default() }
            }
            Some(wasmtime::Trap::StackOverflow) => TrapReason::Stack { bytes: limits.stack_bytes },
            Some(wasmtime::Trap::UnreachableCodeReached) => TrapReason::Unreachable,
            Some(trap) => TrapReason::Fault(trap.to_string()),
            None => TrapReason::Fault(format!("{error:#}")),
        }
    }
}
