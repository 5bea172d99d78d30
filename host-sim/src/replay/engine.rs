//! The run itself: takes the events of a trace and what is due in between, in the order of virtual time,
//! and lets clients, filter, router and upstreams act on each other.
//!
//! Everything happens on one thread and nothing asks for the time of day, so a run depends on the trace,
//! the module and the options alone.

mod calls;
mod client;
mod plugin;
mod ticks;
mod upstream;

use std::collections::HashMap;
use std::time::Duration;

use humantime::format_duration;

use crate::HeaderMap;
use crate::trace::{Event, Kind, Outcome, Respond, Trace};
use crate::{Effect, Module, Process};

use super::connections::Connection;
use super::decisions::Decisions;
use super::exchange::Live;
use super::outcome::{ConfigurationReport, MetricsReport, Note, Report};
use super::schedule::{Entry, Schedule, Wake};
use super::verdict::Mismatch;
use super::worker::{PendingCall, Worker};
use super::{Options, Progress, ReplayError};

/// How long a run goes on with nothing but ticks after the last event, so that a filter's own limits
/// can end what would otherwise stay open for ever.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How many events pass between two reports of progress.
const PROGRESS_EVERY: usize = 4096;

/// A run under way.
pub(super) struct Engine<'t> {
    pub(super) trace: &'t Trace<'t>,
    pub(super) options: &'t Options,
    pub(super) module: Option<&'t Module>,
    pub(super) process: Process,
    pub(super) decisions: Decisions,
    pub(super) now: Duration,
    /// What the proxy's clock was set to last, and when.
    clock: Duration,
    clock_set_at: Duration,
    pub(super) schedule: Schedule,
    pub(super) workers: Vec<Worker>,
    /// The connections: those of the trace, then those that took the place of a closed one which
    /// still has exchanges under way.
    pub(super) connections: Vec<Connection<'t>>,
    /// Where in `connections` each of the trace's connections is now.
    pub(super) current: Vec<usize>,
    pub(super) next_connection_id: u64,
    pub(super) live: Vec<Option<Box<Live<'t>>>>,
    pub(super) free: Vec<u32>,
    pub(super) live_count: usize,
    pub(super) clusters: HashMap<&'t str, &'t Respond<'t>>,
    pub(super) calls: Vec<Option<PendingCall>>,
    pub(super) rng: fastrand::Rng,
    pub(super) report: Report<'t>,
    pub(super) effects: Vec<Effect>,
    /// The configuration in force.
    pub(super) configuration: Option<Box<[u8]>>,
    /// Exchanges to look after before time goes on.
    pub(super) ready: Vec<u32>,
    /// Exchanges that are over.
    pub(super) ended: Vec<(u32, Outcome)>,
    last_activity: Duration,
}

impl<'t> Engine<'t> {
    /// Sets the stage: a process, its workers, and the trace's connections, none of them open.
    pub(super) fn new(
        module: Option<&'t Module>,
        trace: &'t Trace<'t>,
        options: &'t Options,
    ) -> Result<Self, ReplayError> {
        let process = Process::new(options.profile, options.seed);
        let decisions = Decisions::listen(&process, options.decisions.as_deref());
        let mut engine = Self {
            trace,
            options,
            module,
            process,
            decisions,
            now: Duration::ZERO,
            clock: Duration::ZERO,
            clock_set_at: Duration::ZERO,
            schedule: Schedule::default(),
            workers: Vec::new(),
            connections: trace
                .connections
                .iter()
                .enumerate()
                .map(|(index, name)| Connection::new(index, name))
                .collect(),
            current: (0..trace.connections.len()).collect(),
            next_connection_id: 0,
            live: Vec::new(),
            free: Vec::new(),
            live_count: 0,
            clusters: HashMap::new(),
            calls: Vec::new(),
            rng: fastrand::Rng::with_seed(options.seed),
            report: Report::new(trace, options, module.is_some()),
            effects: Vec::new(),
            configuration: None,
            ready: Vec::new(),
            ended: Vec::new(),
            last_activity: Duration::ZERO,
        };
        if let Some(module) = module {
            for index in 0..options.workers.get() {
                let vm = engine.new_vm(module, index)?;
                engine.workers.push(Worker::new(Some(vm)));
            }
            engine.configure_at_start()?;
        } else {
            engine.workers.resize_with(options.workers.get() as usize, || Worker::new(None));
        }
        Ok(engine)
    }

    /// Puts the configuration in force that the options name.
    fn configure_at_start(&mut self) -> Result<(), ReplayError> {
        let configures =
            self.trace.events.iter().any(|event| matches!(event.kind, Kind::Configure { .. }));
        let text = match &self.options.configuration {
            Some(text) => text.as_slice(),
            None if configures => return Ok(()),
            None => b"",
        };
        match self.configure(text)? {
            Some(refusal) => Err(ReplayError::Refused(refusal)),
            None => Ok(()),
        }
    }

    /// Runs to the end.
    pub(super) fn run(
        mut self,
        observe: &mut dyn FnMut(Progress),
    ) -> Result<Report<'t>, ReplayError> {
        let trace = self.trace;
        for (done, event) in trace.events.iter().enumerate() {
            if done % PROGRESS_EVERY == 0 {
                observe(Progress { done, all: trace.events.len(), now: event.at });
            }
            self.run_until(event.at)?;
            self.advance(event.at);
            self.event(event)?;
            self.run_ready()?;
        }
        self.run_out()?;
        observe(Progress { done: trace.events.len(), all: trace.events.len(), now: self.now });
        Ok(self.finish_report())
    }

    /// Everything that is due before `until`.
    fn run_until(&mut self, until: Duration) -> Result<(), ReplayError> {
        while let Some(at) = self.schedule.next_at() {
            if at >= until {
                break;
            }
            self.wake()?;
        }
        Ok(())
    }

    /// The time after the last event: until every exchange has ended and every plugin has ticked once
    /// more (filters count in memory and report on the tick), or until only ticks were left for an hour.
    fn run_out(&mut self) -> Result<(), ReplayError> {
        self.last_activity = self.now;
        while self.live_count > 0 || self.calls.iter().any(Option::is_some) {
            match self.schedule.next_at() {
                Some(at) if at <= self.last_activity + PATIENCE => self.wake()?,
                _ => break,
            }
        }
        let tickers = self.workers.iter().flat_map(|worker| &worker.tickers);
        if let Some(period) = tickers.filter_map(|ticker| ticker.period).max() {
            let until = self.now + period + Duration::from_nanos(1);
            self.run_until(until)?;
        }
        let open: Vec<u32> = (0..self.live.len() as u32)
            .filter(|slot| self.live[*slot as usize].is_some())
            .collect();
        for slot in open {
            self.leave_open(slot);
        }
        Ok(())
    }

    fn wake(&mut self) -> Result<(), ReplayError> {
        let Some((at, entry, wake)) = self.schedule.pop() else { return Ok(()) };
        match wake {
            Wake::Exchange(slot) => {
                if self.at(slot).is_some_and(|live| live.entry == entry) {
                    self.advance(at);
                    self.last_activity = at;
                    self.progress(slot)?;
                }
            }
            Wake::Tick(worker) => self.tick(worker as usize, entry, at)?,
            Wake::Call(index) => {
                self.advance(at);
                self.last_activity = at;
                self.answer_call(index as usize)?;
            }
        }
        self.run_ready()
    }

    fn advance(&mut self, to: Duration) {
        if to > self.now {
            self.now = to;
            self.process.set_now(self.clock + (to - self.clock_set_at));
        }
    }

    fn event(&mut self, event: &'t Event<'t>) -> Result<(), ReplayError> {
        match &event.kind {
            Kind::Configure { configuration, expect } => {
                let refused = self.configure(configuration.as_bytes())?;
                let accepted = refused.is_none();
                self.report.configurations.push(ConfigurationReport {
                    line: event.line,
                    at: event.at,
                    accepted,
                    message: refused,
                    failures: Mismatch::check("accepted", &expect.accepted, &accepted)
                        .into_iter()
                        .collect(),
                });
            }
            Kind::Open { connection, open } => self.open_connection(connection.0, Some(open)),
            Kind::Exchange(exchange) => self.request(event.line, exchange)?,
            Kind::SharedData(write) => {
                let (key, value) = (write.key.as_bytes(), write.value.as_bytes());
                self.process
                    .set_shared_data(&self.options.vm_id, key, value, 0)
                    .map_err(|status| ReplayError::SharedData { line: event.line, status })?;
                self.note(event, format!("shared data {} = {}", write.key, write.value));
            }
            Kind::Cluster { cluster, respond } => {
                self.clusters.insert(cluster, respond);
                self.note(event, format!("cluster {cluster} answers differently from now on"));
            }
            Kind::Close { connection, .. } => {
                self.client_closes(connection.0)?;
                let name = self.connections[connection.0].name;
                self.note(event, format!("client closes {name}"));
            }
            Kind::Clock(clock) => {
                (self.clock, self.clock_set_at) = (*clock, self.now);
                self.process.set_now(*clock);
                self.note(event, format!("the clock is set to {}", format_duration(*clock)));
            }
            Kind::Stall { worker, span } => {
                self.workers[*worker as usize].stalled_until = self.now + *span;
                self.note(event, format!("worker {worker} stalls for {}", format_duration(*span)));
            }
            Kind::Metrics(expected) => {
                let failures = expected
                    .iter()
                    .flat_map(|(name, want)| {
                        let got = self.process.metric(name).unwrap_or(0);
                        Mismatch::check(name, want, &got)
                    })
                    .collect();
                self.report.metric_checks.push(MetricsReport {
                    line: event.line,
                    at: event.at,
                    expected: expected.len(),
                    failures,
                });
            }
        }
        Ok(())
    }

    fn note(&mut self, event: &Event<'_>, text: String) {
        self.report.notes.push(Note { line: event.line, at: event.at, text });
    }

    fn finish_report(mut self) -> Report<'t> {
        self.report.metrics = self.process.metrics();
        self.report.ended = self.now;
        for connection in &self.connections {
            self.report.connection(connection, None);
        }
        self.report.sort();
        self.report
    }

    /// The exchange in `slot`.
    ///
    /// Slots are handed out by the engine and emptied only by `end`; whoever holds one across a call
    /// into the filter asks again.
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Live<'t>> {
        self.live[slot as usize].as_deref_mut()
    }

    /// Puts the exchange's next due time into the schedule, where it is not there already.
    fn reschedule(&mut self, slot: u32) {
        let Some(live) = self.live[slot as usize].as_deref_mut() else { return };
        let due = live.due();
        if due != live.scheduled {
            live.scheduled = due;
            live.entry = match due {
                Some(at) => self.schedule.push(at, Wake::Exchange(slot)),
                None => Entry::default(),
            };
        }
    }

    /// Marks an exchange for [`run_ready`](Self::run_ready).
    pub(super) fn touch(&mut self, slot: u32) {
        self.ready.push(slot);
    }

    /// Looks after the exchanges that were touched, until nothing more is due now.
    fn run_ready(&mut self) -> Result<(), ReplayError> {
        while let Some(slot) = self.ready.pop() {
            self.progress(slot)?;
        }
        Ok(())
    }

    /// Does what is due in an exchange now: at most one thing of each kind, in the order in which they
    /// depend on each other.
    fn progress(&mut self, slot: u32) -> Result<(), ReplayError> {
        let now = self.now;
        if let Some(live) = self.at(slot) {
            live.scheduled = live.scheduled.filter(|at| *at > now);
        }
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        while self.at(slot).is_some_and(|live| is_due(live.upload_at)) {
            self.upload(slot)?;
        }
        while self.at(slot).is_some_and(|live| is_due(live.attempt_at)) {
            self.attempt_step(slot)?;
        }
        if self.at(slot).is_some_and(|live| is_due(live.try_deadline)) {
            self.try_timeout(slot)?;
        }
        if self.at(slot).is_some_and(|live| is_due(live.deadline)) {
            self.request_timeout(slot)?;
        }
        self.reschedule(slot);
        Ok(())
    }
}

/// Builds a header map from a trace's fields.
pub(super) fn header_map(fields: &crate::trace::Headers<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.push(&**name, &**value);
    }
    map
}
