//! Checks an event of a trace against the module and the options, before it happens.

use std::num::NonZeroU32;

use crate::Module;
use crate::proxy::Setup;
use crate::trace::{EventKind, OwnedEvent};

use super::error::ReplayError;
use super::options::Options;

/// What the events of a trace can refer to, and whether one of them checks anything.
pub(super) struct Checks {
    workers: NonZeroU32,
    /// The clusters that are declared.
    clusters: Vec<String>,
    tcp_only: bool,
    can_fail: bool,
}

impl Checks {
    /// `setup` is that of the trace, with that of the options.
    pub(super) fn new(module: Option<&Module>, setup: &Setup, options: &Options) -> Self {
        Self {
            workers: options.workers,
            clusters: setup.clusters.clone().unwrap_or_default(),
            tcp_only: module.is_some_and(Module::is_tcp_only),
            can_fail: false,
        }
    }

    /// Checks the next event of the trace with this name.
    pub(super) fn check(&mut self, trace: &str, event: &OwnedEvent) -> Result<(), ReplayError> {
        let line = event.line;
        let trace = || trace.to_owned();
        match &event.kind {
            EventKind::Exchange(_) if self.tcp_only => {
                return Err(ReplayError::TcpOnly { trace: trace(), line });
            }
            EventKind::Open { open, .. } => {
                if let Some(worker) = open.worker {
                    self.check_worker(trace, line, "open.worker", worker)?;
                }
            }
            EventKind::Stall { worker, .. } => self.check_worker(trace, line, "worker", *worker)?,
            EventKind::Cluster { cluster, .. } => {
                if !self.clusters.iter().any(|name| **name == **cluster) {
                    return Err(ReplayError::Cluster {
                        trace: trace(),
                        line,
                        cluster: cluster.to_string(),
                        declared: self.clusters.clone(),
                    });
                }
            }
            EventKind::Configure { .. } | EventKind::Exchange(_) | EventKind::Metrics(_) => {
                self.can_fail = true;
            }
            EventKind::SharedData(_) | EventKind::Close { .. } | EventKind::Clock(_) => {}
        }
        Ok(())
    }

    /// Whether one of the events so far can fail or succeed.
    pub(super) fn can_fail(&self) -> bool {
        self.can_fail
    }

    fn check_worker(
        &self,
        trace: impl Fn() -> String,
        line: u32,
        field: &'static str,
        worker: u32,
    ) -> Result<(), ReplayError> {
        match worker < self.workers.get() {
            true => Ok(()),
            false => {
                let workers = self.workers;
                Err(ReplayError::Worker { trace: trace(), line, field, worker, workers })
            }
        }
    }
}
