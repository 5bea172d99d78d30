//! What a crash of the filter can belong to, besides an exchange in flight.

use crate::StreamId;
use crate::trace::{ConfigureExpect, Exchange};

use super::exchange::ActiveExchange;

/// A `configure` event, from its time to the next configuration that the filter accepts.
pub(super) struct Scope<'t> {
    pub(super) line: u32,
    pub(super) expect: &'t ConfigureExpect<'t>,
    /// The index of its report.
    pub(super) report: usize,
    /// The message of the crash that the event expects, or else of the last crash.
    pub(super) trap: Option<String>,
}

/// An exchange that has left the engine, while its final callbacks run.
pub(super) struct Ending<'t> {
    pub(super) worker: usize,
    pub(super) stream: StreamId,
    pub(super) line: u32,
    pub(super) spec: &'t Exchange<'t>,
    pub(super) trap: Option<String>,
}

impl<'t> Ending<'t> {
    pub(super) fn new(worker: usize, stream: StreamId, exchange: &ActiveExchange<'t>) -> Self {
        Self { worker, stream, line: exchange.line, spec: exchange.spec, trap: None }
    }
}
