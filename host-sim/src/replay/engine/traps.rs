//! Crashes of the filter: which exchange or configuration they belong to, and whether the trace
//! expects them.
//!
//! A crash that the trace does not expect fails the replay. A crash in a callback of an exchange
//! belongs to that exchange. A crash in a callback of the plugin (a configuration, a tick, a
//! response to a call, a queue) belongs to the `configure` event in force, and to the exchanges in
//! flight on the worker that expect a crash.

use std::time::Duration;

use crate::replay::crash::Scope;
use crate::replay::error::ReplayError;
use crate::replay::exchange::Spec;
use crate::replay::report::{ConfigurationReport, LogLine, Mismatch, Problem, TrapReport};
use crate::replay::verdict::trap_mismatch;
use crate::trace::{ConfigureExpect, TrapExpect};
use crate::{LogLevel, StartError, StreamId, Trap, TrapReason};

use super::Engine;

impl Engine<'_> {
    /// Pushes the configuration of an event, and compares the result with its expectations.
    pub(super) fn configure_event(
        &mut self,
        line: u32,
        at: Duration,
        configuration: &str,
        expect: ConfigureExpect<'static>,
    ) -> Result<(), ReplayError> {
        let report = ConfigurationReport {
            line,
            at,
            accepted: false,
            expected: 0,
            message: None,
            failures: Vec::new(),
        };
        let old = self.scope.replace(Scope { expect, report, trap: None });
        let rejection = self.configure(configuration.as_bytes())?;
        let accepted = rejection.is_none();
        let has_filter = self.module.is_some();
        let Some(Scope { expect, report: pushed, .. }) = &mut self.scope else { return Ok(()) };
        pushed.accepted = accepted;
        pushed.message = rejection;
        if has_filter && let Some(want) = expect.accepted() {
            pushed.expected += 1;
            pushed.failures.extend(Mismatch::check("accepted", &want, &accepted));
        } else if let Some(want) = expect.accepted {
            pushed.expected += 1;
            let got = "nothing, because the proxy has no filter";
            pushed.failures.extend(Mismatch::check("accepted", &want.to_string(), &got.to_owned()));
        }
        // A configuration that was rejected leaves the previous one in force.
        let ended = if accepted { old } else { std::mem::replace(&mut self.scope, old) };
        self.judge_scope(ended);
        Ok(())
    }

    /// Compares the last configuration with its expectations at the end of the trace.
    pub(super) fn end_scope(&mut self) {
        let ended = self.scope.take();
        self.judge_scope(ended);
    }

    fn judge_scope(&mut self, scope: Option<Scope>) {
        let Some(Scope { expect, report: mut pushed, trap }) = scope else { return };
        if let Some(want) = &expect.trap {
            pushed.expected += 1;
            if let Some((want, got)) = trap_mismatch(want, trap.as_deref()) {
                pushed.failures.extend(Mismatch::check("trap", &want, &got));
            }
        }
        self.report.add_configuration(pushed);
    }

    /// Records a crash in the report. `worker` is `None` for the main thread.
    pub(super) fn record_trap(&mut self, worker: Option<usize>, trap: &Trap) {
        let message = trap.to_string();
        let (mut line, mut exchange, mut expected) = (None, None, false);
        match trap.stream.zip(worker).and_then(|(stream, worker)| self.owner(worker, stream)) {
            Some((spec, kept)) => {
                *kept = Some(message.clone());
                (line, exchange) = (Some(spec.line), Some(spec.get().id.to_string()));
                expected = expects(spec, &message);
            }
            None => {
                let in_flight = self.exchanges.iter_mut().filter(|(_, exchange)| {
                    Some(exchange.worker) == worker && exchange.stream.is_some()
                });
                for (_, exchange) in in_flight {
                    exchange.trap = Some(message.clone());
                    expected |= expects(&exchange.spec, &message);
                }
                if let Some(scope) = &mut self.scope {
                    line = Some(scope.report.line);
                    let matches = |want: &TrapExpect<'_>| want.matches(&message);
                    let matched = scope.expect.trap.as_ref().is_some_and(matches);
                    expected |= matched;
                    if matched || scope.trap.is_none() {
                        scope.trap = Some(message.clone());
                    }
                }
            }
        }
        let worker = worker.map(|worker| worker as u32);
        let (at, level) = (self.now, LogLevel::Critical);
        // Without instructions, every callback crashes; the report says so once.
        if !expected && trap.reason != TrapReason::TotalBudget {
            let fix = match exchange {
                Some(_) => "on this line",
                None => "on the line of a `configure` event before it",
            };
            let text = format!(
                "{message}; expected no crash; if the trace causes it on purpose, write \
                 \"expect\":{{\"trap\":true}} {fix}"
            );
            self.report.summary.add_problem(Problem { line, at, text });
        }
        self.report.summary.add_log(LogLine { at, worker, level, text: message.clone() });
        let callback = trap.callback;
        self.report.summary.add_trap(TrapReport {
            line,
            at,
            worker,
            exchange,
            callback,
            message,
            expected,
        });
    }

    /// Records that a worker refused a configuration that the main thread accepted. The worker keeps
    /// the previous one.
    pub(super) fn worker_refused(&mut self, worker: usize, error: &StartError) {
        let text = format!(
            "worker {worker}: {error}, although the main thread accepted it; expected the same \
             result from each VM"
        );
        let line = self.scope.as_ref().map(|scope| scope.report.line);
        self.report.summary.add_problem(Problem { line, at: self.now, text });
    }

    /// The exchange of a stream, and where it keeps the message of its crash.
    fn owner(&mut self, worker: usize, stream: StreamId) -> Option<(&Spec, &mut Option<String>)> {
        if let Some(ending) = &mut self.ending
            && (ending.worker, ending.stream) == (worker, stream)
        {
            return Some((&ending.spec, &mut ending.trap));
        }
        let slot = self.workers[worker].exchange_of(stream)?;
        let exchange = self.exchanges.get_mut(slot as usize)?;
        Some((&exchange.spec, &mut exchange.trap))
    }
}

/// Whether the exchange expects a crash with this message.
fn expects(spec: &Spec, message: &str) -> bool {
    let want = spec.get().expect.as_ref().and_then(|expect| expect.trap.as_ref());
    want.is_some_and(|want| want.matches(message))
}
