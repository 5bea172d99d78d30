//! What a crash of the filter can belong to, besides an exchange in flight.

use crate::StreamId;
use crate::trace::ConfigureExpect;

use super::exchange::{ActiveExchange, Spec};
use super::report::ConfigurationReport;

/// A `configure` event, from its time to the next configuration that the filter accepts.
pub(super) struct Scope {
    pub(super) expect: ConfigureExpect<'static>,
    /// Its report so far.
    pub(super) report: ConfigurationReport,
    /// The message of the crash that the event expects, or else of the last crash.
    pub(super) trap: Option<String>,
}

/// An exchange that has left the engine, while its final callbacks run.
pub(super) struct Ending {
    pub(super) worker: usize,
    pub(super) stream: StreamId,
    pub(super) spec: Spec,
    pub(super) trap: Option<String>,
}

impl Ending {
    pub(super) fn new(worker: usize, stream: StreamId, exchange: &ActiveExchange) -> Self {
        Self { worker, stream, spec: exchange.spec.clone(), trap: None }
    }
}
