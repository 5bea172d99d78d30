//! Replaying a trace: a proxy in virtual time, with a filter in it or without.
//!
//! A replay is a function of its trace, module and options: nothing asks for the time of day or for
//! chance, so the same replay gives the same report, byte for byte.
//!
//! ```text
//! trace → engine: client → filter (one Vm a worker) → router → upstream's script
//!                 client ← filter                   ← its answer, a reset, a limit
//!       → report: what each client and upstream saw, against what the trace expects
//! ```

mod connections;
mod decisions;
mod engine;
mod exchange;
mod failure;
mod outcome;
mod router;
mod schedule;
mod verdict;
mod worker;

use std::num::NonZeroU32;
use std::time::Duration;

use thiserror::Error;

use crate::trace::{Kind, Trace};
use crate::{Limits, LogLevel, Module, Profile, Properties, Status, VmError};

pub use outcome::{
    ClosedBy, ConfigurationReport, ConnectionReport, ExchangeReport, LogLine, MetricsReport, Note,
    Report, UpstreamReport,
};
pub use verdict::Mismatch;

/// How a trace is replayed.
#[derive(Debug, Clone)]
pub struct Options {
    /// The proxy that is simulated.
    pub profile: Profile,
    /// Worker threads, each with a virtual machine of its own.
    pub workers: NonZeroU32,
    /// Decides what a trace leaves open: which worker gets a connection, when within its period a
    /// worker first ticks, the pauses between tries, and random numbers for the filter.
    pub seed: u64,
    /// The plugin configuration in force before the first event; without one the plugin starts with the
    /// trace's first `configure`, or with an empty configuration if there is none.
    pub configuration: Option<Vec<u8>>,
    /// The plugin's name, property `plugin_name`.
    pub plugin_name: String,
    /// The virtual machines' `vm_id`, which decides whose shared data they see.
    pub vm_id: String,
    /// The plugin's option of this name: whether body callbacks come while its answer to the head is `Pause`.
    pub allow_on_headers_stop_iteration: bool,
    /// Properties of the plugin, such as `xds.node.id`.
    pub properties: Properties,
    /// Log lines below this level are dropped.
    pub log_level: LogLevel,
    /// The marker by which a filter tells a bridge in the proxy to close the client's connection; it
    /// has a meaning in the `envoy` profile only.
    pub bridge: Option<Bridge>,
    /// The foreign function through which the filter reports its decisions.
    pub decisions: Option<String>,
    /// Whether every response body is hashed, not only those with an expectation.
    pub hash_bodies: bool,
    /// What the guest may use of the host.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            profile: Profile::Envoy,
            workers: NonZeroU32::MIN,
            seed: 0,
            configuration: None,
            plugin_name: "plugin".to_owned(),
            vm_id: String::new(),
            allow_on_headers_stop_iteration: false,
            properties: Properties::new(),
            log_level: LogLevel::Info,
            bridge: None,
            decisions: None,
            hash_bodies: false,
            limits: Limits::default(),
        }
    }
}

/// A response header by which a filter asks the proxy to close the client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The header's name.
    pub header: String,
    /// The value that asks for a close.
    pub value: String,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Events that have happened.
    pub done: usize,
    /// Events in the trace.
    pub all: usize,
    /// Virtual time.
    pub now: Duration,
}

/// Why a trace could not be replayed; what a filter does wrong is in the report instead.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The module could not be instantiated.
    #[error("the module does not start: {0}")]
    Vm(#[source] VmError),
    /// The configuration that should be in force before the first event was refused.
    #[error("the plugin refuses its configuration: {0}")]
    Refused(String),
    /// The trace names a worker that the replay does not have.
    #[error("{trace}:{line}: {field}: found {worker}; expected at most {most} with {workers} workers", most = workers.get() - 1)]
    Worker {
        /// The trace.
        trace: String,
        /// The line.
        line: u32,
        /// The field that names it.
        field: &'static str,
        /// The worker that was named.
        worker: u32,
        /// The workers that there are.
        workers: NonZeroU32,
    },
    /// The trace writes more shared data than the limits allow.
    #[error("line {line}: shared_data: the process refuses the value ({status:?})")]
    SharedData {
        /// The line.
        line: u32,
        /// The status that a guest would have got.
        status: Status,
    },
}

/// Replays `trace` with `module` as the filter, or without a filter, and tells `observe` from time to
/// time how far it is.
///
/// # Errors
/// [`ReplayError`] if the replay cannot begin: a module that does not start, a configuration that is
/// refused, a worker that does not exist.
pub fn replay<'t>(
    module: Option<&'t Module>,
    trace: &'t Trace<'t>,
    options: &'t Options,
    observe: &mut dyn FnMut(Progress),
) -> Result<Report<'t>, ReplayError> {
    for event in &trace.events {
        let (field, worker) = match &event.kind {
            Kind::Open { open, .. } => ("open.worker", open.worker),
            Kind::Stall { worker, .. } => ("worker", Some(*worker)),
            _ => continue,
        };
        if let Some(worker) = worker.filter(|worker| *worker >= options.workers.get()) {
            return Err(ReplayError::Worker {
                trace: trace.name.clone(),
                line: event.line,
                field,
                worker,
                workers: options.workers,
            });
        }
    }
    engine::Engine::new(module, trace, options)?.run(observe)
}
