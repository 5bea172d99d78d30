//! Why a replay cannot start or continue.

use std::io;
use std::num::NonZeroU32;

use thiserror::Error;

use crate::trace::ReadError;
use crate::{Status, VmError};

/// Why a trace could not be replayed. Failures of the filter are part of the report instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The trace has a mistake, or cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The [`Sink`](super::Sink) failed.
    #[error("the report cannot be written: {0}")]
    Sink(#[source] io::Error),
    /// The module could not be instantiated.
    #[error("the module does not start: {0}")]
    Vm(#[source] VmError),
    /// The plugin rejected the configuration that is in force before the first event.
    #[error("the plugin rejected its configuration: {0}")]
    Rejected(String),
    /// The trace has no event that can fail or succeed.
    #[error(
        "{trace}: found no request, configure or metrics event; expected at least one, because the \
         replay would check nothing"
    )]
    #[non_exhaustive]
    Empty {
        /// The name of the trace.
        trace: String,
    },
    /// The trace has HTTP requests, and the module is a filter for TCP connections.
    #[error(
        "{trace}:{line}: request: the module has callbacks for TCP connections only, so no filter \
         would handle the request; expected a module that exports HTTP callbacks such as \
         proxy_on_request_headers"
    )]
    #[non_exhaustive]
    TcpOnly {
        /// The name of the trace.
        trace: String,
        /// The line of the first request.
        line: u32,
    },
    /// The trace names a worker that the replay does not have.
    #[error("{trace}:{line}: {field}: found {worker}; expected at most {most} with {workers} workers", most = workers.get() - 1)]
    #[non_exhaustive]
    Worker {
        /// The name of the trace.
        trace: String,
        line: u32,
        /// The field with the number of the worker.
        field: &'static str,
        worker: u32,
        /// The number of workers of the replay.
        workers: NonZeroU32,
    },
    /// A cluster responds that neither the trace nor the options declare.
    #[error(
        "{trace}:{line}: cluster: {cluster:?} is not declared; write {} before the first event",
        declaration(declared, cluster)
    )]
    #[non_exhaustive]
    Cluster {
        /// The name of the trace.
        trace: String,
        line: u32,
        cluster: String,
        /// The clusters that are declared.
        declared: Vec<String>,
    },
    /// The trace writes more shared data than the limits allow.
    #[error(
        "{trace}:{line}: shared_data: the value exceeds the limits of the process ({status:?})"
    )]
    #[non_exhaustive]
    SharedData {
        /// The name of the trace.
        trace: String,
        line: u32,
        /// The status that a module gets for the same write.
        status: Status,
    },
}

impl ReplayError {
    /// Whether the trace causes it on one of its lines, so that the events before it have a result.
    pub(super) fn is_in_trace(&self) -> bool {
        match self {
            Self::Read(_)
            | Self::TcpOnly { .. }
            | Self::Worker { .. }
            | Self::Cluster { .. }
            | Self::SharedData { .. } => true,
            Self::Sink(_) | Self::Vm(_) | Self::Rejected(_) | Self::Empty { .. } => false,
        }
    }
}

/// The line of a trace that also declares `cluster`.
fn declaration(declared: &[String], cluster: &str) -> String {
    let names: Vec<&str> = declared.iter().map(String::as_str).chain([cluster]).collect();
    serde_json::json!({ "at": "0s", "clusters": names }).to_string()
}
