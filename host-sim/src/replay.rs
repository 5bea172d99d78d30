//! Replays a trace against a simulated proxy, with or without a filter, in virtual time.
//!
//! A replay depends on its trace, module and options only. It reads no clock and no other source of
//! randomness than the seed, so the same replay gives the same report, byte for byte.
//!
//! ```text
//! trace → engine: client → filter (one VM for each worker) → router → upstream
//!                 client ← filter                          ← response, reset or timeout
//!       → sink: what each client and upstream received, and the expectations that failed
//! ```

#![allow(missing_docs, reason = "a field whose name says everything has no comment")]

mod admission;
mod calls;
mod check;
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
mod report;
mod router;
mod schedule;
mod serialize;
mod sink;
mod summary;
mod verdict;
mod worker;

use std::io::BufRead;

use crate::Module;
use crate::trace::{ReadAhead, Trace, TraceReader};

use check::Checks;
use engine::{Engine, Start};
use sink::Observed;

pub use calls::CallReport;
pub use error::ReplayError;
pub use interrupt::Interrupt;
pub use options::{BASE_INSTRUCTIONS, DrainBridge, EVENT_INSTRUCTIONS, Options, Progress};
pub use report::{
    ClosedBy, ConfigurationReport, ConnectionReport, ExchangeReport, LogLine, MetricsReport,
    Mismatch, Note, Problem, TrapReport, UpstreamReport, Warning,
};
pub use sink::{Report, Sink};
pub use summary::Summary;

/// Replays `trace` with `module` as the filter, or without a filter, and calls `observe` with the
/// progress from time to time.
///
/// # Errors
/// [`ReplayError`] if the replay cannot start, or the trace does not fit the options. A filter that
/// fails later is part of the report.
pub fn replay(
    module: Option<&Module>,
    trace: &Trace<'_>,
    options: &Options,
    observe: &mut dyn FnMut(Progress),
) -> Result<Report, ReplayError> {
    let reader = TraceReader::new(&*trace.name, trace.text.as_bytes())?;
    let mut observed = Observed { report: Report::default(), observe };
    let mut summary = replay_to(module, reader, options, &mut observed)?;
    if let Some(mistake) = summary.stopped.take() {
        return Err(mistake);
    }
    let mut report = observed.report;
    report.complete(summary);
    Ok(report)
}

/// Replays a trace while it is read, and passes each part of the report to `sink` as soon as it is
/// final. The memory that the replay needs does not grow with the number of events, but with that of
/// open exchanges and connections.
///
/// # Errors
/// [`ReplayError`] if the replay cannot start, or the sink fails. After a mistake in a later line,
/// the replay ends as if the trace ended before it; see [`Summary::stopped`].
pub fn replay_to<R: BufRead>(
    module: Option<&Module>,
    mut reader: TraceReader<R>,
    options: &Options,
    sink: &mut dyn Sink,
) -> Result<Summary, ReplayError> {
    let start = start(&mut reader, options);
    Engine::new(module, start, options, sink)?.run(reader)
}

/// As [`replay_to`], but reads the trace on a second thread, up to some thousand events ahead.
///
/// # Errors
/// As [`replay_to`].
pub fn replay_ahead<R: BufRead + Send + 'static>(
    module: Option<&Module>,
    mut reader: TraceReader<R>,
    options: &Options,
    sink: &mut dyn Sink,
) -> Result<Summary, ReplayError> {
    let start = start(&mut reader, options);
    Engine::new(module, start, options, sink)?.run(ReadAhead::start(reader))
}

fn start<R: BufRead>(reader: &mut TraceReader<R>, options: &Options) -> Start {
    Start {
        name: reader.name().to_owned(),
        setup: reader.setup().clone(),
        setup_line: reader.setup_line(),
        configures: options.configuration.is_none() && reader.configures(),
    }
}

/// Reads a trace to its end and checks it as [`replay_to`] does, without replaying it.
///
/// # Errors
/// The first mistake.
pub fn check<R: BufRead>(
    module: Option<&Module>,
    reader: TraceReader<R>,
    options: &Options,
) -> Result<(), ReplayError> {
    let trace = reader.name().to_owned();
    let mut checks = Checks::new(module, &reader.setup().merged(&options.setup), options);
    for event in reader {
        checks.check(&trace, &event?)?;
    }
    match checks.can_fail() {
        true => Ok(()),
        false => Err(ReplayError::Empty { trace }),
    }
}
