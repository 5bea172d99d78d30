//! What a report says about a whole replay: its size does not grow with the trace.

use std::time::Duration;

use crate::Metric;

use super::calls::CallReport;
use super::error::ReplayError;
use super::report::{LogLine, Problem, TrapReport, Warning};

/// The result of a replay, without the reports of its exchanges, connections and events.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// The name of the trace.
    pub trace: String,
    /// The name of the profile.
    pub profile: &'static str,
    /// The preset and the version of the proxy, if a setup describes it.
    pub proxy: Option<String>,
    pub seed: u64,
    /// The number of workers.
    pub workers: u32,
    /// Whether the proxy had a filter.
    pub filter: bool,
    /// The virtual time at the end.
    pub ended: Duration,
    /// The mistake in the trace that ended the replay. The events before it have happened, and their
    /// exchanges have run to their end.
    pub stopped: Option<ReplayError>,
    /// The number of expectations in the trace.
    pub(super) expected: usize,
    /// The number of expectations that failed.
    pub(super) failed_expectations: usize,
    /// All metrics at the end, by name.
    pub metrics: Vec<Metric>,
    /// What the trace uses and the replay does not simulate; each once.
    pub warnings: Vec<Warning>,
    /// The log, up to [`MAX_LOG_BYTES`](Self::MAX_LOG_BYTES).
    pub log: Vec<LogLine>,
    /// The number of lines of the log that were dropped: after those in `log`, or because one
    /// callback logged too much.
    pub omitted_log_lines: u64,
    pub(super) log_bytes: usize,
    /// The calls of the filter to clusters, if the options ask for them; at most
    /// [`MAX_KEPT`](Self::MAX_KEPT).
    pub calls: Vec<CallReport>,
    /// The crashes of the filter, in the order of time; at most [`MAX_KEPT`](Self::MAX_KEPT).
    pub traps: Vec<TrapReport>,
    /// The number of crashes after those in `traps`.
    pub omitted_traps: u64,
    /// What went wrong outside of expectations, in the order of time; at most
    /// [`MAX_KEPT`](Self::MAX_KEPT). A replay with a problem has failed.
    pub problems: Vec<Problem>,
    /// The number of problems after those in `problems`.
    pub omitted_problems: u64,
}

impl Summary {
    /// The number of crashes and of problems that a report keeps. A filter that crashes on every
    /// tick must not fill the memory.
    pub const MAX_KEPT: usize = 1000;

    /// The bytes of log that a report keeps.
    pub const MAX_LOG_BYTES: usize = 16 << 20;

    /// The number of expectations in the trace.
    pub fn expected(&self) -> usize {
        self.expected
    }

    /// The number of expectations that failed.
    pub fn failed_expectations(&self) -> usize {
        self.failed_expectations
    }

    /// The number of failed expectations and problems. The replay succeeded if it is 0.
    pub fn failed(&self) -> usize {
        let omitted = usize::try_from(self.omitted_problems).unwrap_or(usize::MAX);
        self.failed_expectations.saturating_add(self.problems.len()).saturating_add(omitted)
    }

    /// Adds a line of the log, or counts it if the log is too long.
    pub(super) fn add_log(&mut self, line: LogLine) {
        let bytes = line.text.len() + size_of::<LogLine>();
        if self.log_bytes + bytes > Self::MAX_LOG_BYTES {
            self.omitted_log_lines += 1;
            return;
        }
        self.log_bytes += bytes;
        self.log.push(line);
    }

    /// Adds a crash, or counts it if there are too many.
    pub(super) fn add_trap(&mut self, trap: TrapReport) {
        match self.traps.len() < Self::MAX_KEPT {
            true => self.traps.push(trap),
            false => self.omitted_traps += 1,
        }
    }

    /// Adds a problem, or counts it if there are too many.
    pub(super) fn add_problem(&mut self, problem: Problem) {
        match self.problems.len() < Self::MAX_KEPT {
            true => self.problems.push(problem),
            false => self.omitted_problems += 1,
        }
    }
}
