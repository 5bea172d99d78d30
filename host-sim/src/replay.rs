//! Replays a trace against a simulated proxy, with or without a filter, in virtual time.
//!
//! A replay depends on its trace, module and options only. It reads no clock and no other source of
//! randomness than the seed, so the same replay gives the same report, byte for byte.
//!
//! ```text
//! trace → engine: client → filter (one VM for each worker) → router → upstream
//!                 client ← filter                          ← response, reset or timeout
//!       → report: what each client and upstream received, and the expectations that failed
//! ```

#![allow(missing_docs, reason = "a field whose name says everything has no comment")]

mod admission;
mod calls;
mod connections;
mod crash;
mod decisions;
mod engine;
mod error;
mod exchange;
mod failure;
mod framing;
mod grpc;
mod interrupt;
mod options;
mod proxy_headers;
mod report;
mod router;
mod schedule;
mod serialize;
mod verdict;
mod worker;

use crate::Module;
use crate::trace::{EventKind, Trace};

pub use calls::CallReport;
pub use error::ReplayError;
pub use interrupt::Interrupt;
pub use options::{BASE_INSTRUCTIONS, DrainBridge, EVENT_INSTRUCTIONS, Options, Progress};
pub use report::{
    ClosedBy, ConfigurationReport, ConnectionReport, ExchangeReport, LogLine, MetricsReport,
    Mismatch, Note, Problem, Report, TrapReport, UpstreamReport, Warning,
};

/// Replays `trace` with `module` as the filter, or without a filter, and calls `observe` with the
/// progress from time to time.
///
/// # Errors
/// [`ReplayError`] if the replay cannot start. A filter that fails later is part of the report.
pub fn replay<'t>(
    module: Option<&'t Module>,
    trace: &'t Trace<'t>,
    options: &'t Options,
    observe: &mut dyn FnMut(Progress),
) -> Result<Report<'t>, ReplayError> {
    check_workers(trace, options)?;
    check_clusters(trace, options)?;
    check_events(module, trace)?;
    engine::Engine::new(module, trace, options)?.run(observe)
}

/// Checks that each cluster that responds exists.
fn check_clusters(trace: &Trace<'_>, options: &Options) -> Result<(), ReplayError> {
    let declared = trace.setup.merged(&options.setup).clusters.unwrap_or_default();
    for event in &trace.events {
        if let EventKind::Cluster { cluster, .. } = &event.kind
            && !declared.iter().any(|name| **name == **cluster)
        {
            return Err(ReplayError::Cluster {
                trace: trace.name.clone(),
                line: event.line,
                cluster: cluster.to_string(),
                declared,
            });
        }
    }
    Ok(())
}

/// Fails if the replay would check nothing.
fn check_events(module: Option<&Module>, trace: &Trace<'_>) -> Result<(), ReplayError> {
    let is_checked = |kind: &EventKind<'_>| {
        matches!(kind, EventKind::Configure { .. } | EventKind::Exchange(_) | EventKind::Metrics(_))
    };
    if !trace.events.iter().any(|event| is_checked(&event.kind)) {
        return Err(ReplayError::Empty { trace: trace.name.clone() });
    }
    let request = trace.events.iter().find(|event| matches!(event.kind, EventKind::Exchange(_)));
    match (module, request) {
        (Some(module), Some(request)) if module.is_tcp_only() => {
            Err(ReplayError::TcpOnly { trace: trace.name.clone(), line: request.line })
        }
        _ => Ok(()),
    }
}

fn check_workers(trace: &Trace<'_>, options: &Options) -> Result<(), ReplayError> {
    for event in &trace.events {
        let (field, worker) = match &event.kind {
            EventKind::Open { open, .. } => ("open.worker", open.worker),
            EventKind::Stall { worker, .. } => ("worker", Some(*worker)),
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
    Ok(())
}
