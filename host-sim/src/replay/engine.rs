//! Runs a replay. Takes the events of the trace and the steps between them in the order of virtual
//! time, and passes messages between clients, filter, router and upstreams.
//!
//! The engine runs on one thread and reads no clock, so a run depends on the trace, the module and
//! the options only.

mod calls;
mod client;
mod plugin;
mod stop;
mod ticks;
mod timeouts;
mod traps;
mod upstream;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use humantime::format_duration;
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::proxy::{ProxySettings, Setup, Version};
use crate::trace::{
    ClusterResponse, ConnectionIndex, EventKind, Headers, Outcome, OwnedEvent, Protocol, ReadError,
};
use crate::{Effect, HeaderMap, Module, Process};

use super::check::Checks;
use super::connections::{Connection, Openings};
use super::crash::{Ending, Scope};
use super::decisions::Decisions;
use super::error::ReplayError;
use super::exchange::{ActiveExchange, Spec};
use super::options::{BASE_INSTRUCTIONS, EVENT_INSTRUCTIONS, Options, Progress};
use super::report::{MetricsReport, Mismatch, Note, Warning};
use super::schedule::{Entry, Schedule, Wake};
use super::sink::{Reports, Sink};
use super::summary::Summary;
use super::worker::{PendingCall, Worker};

/// The time that a run continues after the last event if only ticks are due. The filter's own
/// timeouts can then end the exchanges that are still open.
const TICKS_AFTER_END: Duration = Duration::from_secs(3600);

/// The number of events between two reports of progress.
const PROGRESS_EVERY: u64 = 4096;

/// The state of a run.
pub(super) struct Engine<'t> {
    options: &'t Options,
    /// The line of the trace's setup.
    setup_line: Option<u32>,
    /// The setup of the trace with that of the options.
    setup: Setup,
    /// The settings of that setup's proxy; `None` for a host that is not a proxy of this kind.
    settings: Option<ProxySettings>,
    /// The warnings so far, each once.
    warned: HashSet<String>,
    module: Option<&'t Module>,
    process: Process,
    decisions: Decisions,
    now: Duration,
    /// The last value that the trace set the proxy's clock to, and when.
    clock: Duration,
    clock_set_at: Duration,
    schedule: Schedule,
    workers: Vec<Worker>,
    connections: Slab<Connection>,
    /// The connections that the trace can use again.
    openings: FxHashMap<ConnectionIndex, Openings>,
    next_connection_id: u64,
    exchanges: Slab<Box<ActiveExchange>>,
    /// The number of exchanges in the trace so far.
    numbered: u64,
    clusters: HashMap<String, Rc<ClusterResponse<'static>>>,
    calls: Slab<PendingCall>,
    rng: fastrand::Rng,
    /// The request ids. Other random choices do not depend on their number.
    request_ids: fastrand::Rng,
    report: Reports<'t>,
    /// Kept for its capacity; empty between two uses.
    effects: Vec<Effect>,
    /// The configuration in force.
    configuration: Option<Box<[u8]>>,
    /// The exchanges that may have a step due now.
    ready: Vec<u32>,
    /// The exchanges that have ended and were not removed yet.
    ended: Vec<(u32, Outcome)>,
    last_activity: Duration,
    /// The number of events that have happened.
    happened: u64,
    /// The `configure` event in force, for crashes outside of exchanges.
    scope: Option<Scope>,
    /// The exchange whose final callbacks run.
    ending: Option<Ending>,
    /// Whether the report says that the replay was stopped.
    stop_reported: bool,
}

impl<'t> Engine<'t> {
    /// Creates a process and its workers.
    pub(super) fn new(
        module: Option<&'t Module>,
        start: Start,
        options: &'t Options,
        sink: &'t mut dyn Sink,
    ) -> Result<Self, ReplayError> {
        let process = Process::with_limits(options.profile, options.seed, &options.limits);
        process.set_max_instructions(options.max_instructions.unwrap_or(BASE_INSTRUCTIONS));
        let setup = start.setup.merged(&options.setup);
        process.set_upstreams(Some(setup.clusters.clone().unwrap_or_default()));
        let start_time = setup.start_time.unwrap_or(options.start_time);
        process.set_now(start_time);
        let decisions = Decisions::register(&process, options.decision_function.as_deref());
        let summary = Summary {
            trace: start.name,
            profile: options.profile.name(),
            seed: options.seed,
            workers: options.workers.get(),
            filter: module.is_some(),
            ..Summary::default()
        };
        let mut engine = Self {
            options,
            setup_line: start.setup_line,
            settings: options
                .profile
                .rules()
                .router
                .is_some()
                .then(|| setup.proxy.as_ref().map(ProxySettings::of).unwrap_or_default()),
            warned: HashSet::new(),
            setup,
            module,
            process,
            decisions,
            now: Duration::ZERO,
            clock: start_time,
            clock_set_at: Duration::ZERO,
            schedule: Schedule::default(),
            workers: Vec::new(),
            connections: Slab::new(),
            openings: FxHashMap::default(),
            next_connection_id: 0,
            exchanges: Slab::new(),
            numbered: 0,
            clusters: HashMap::new(),
            calls: Slab::new(),
            rng: fastrand::Rng::with_seed(options.seed),
            request_ids: fastrand::Rng::with_seed(!options.seed),
            report: Reports::new(sink, summary),
            effects: Vec::new(),
            configuration: None,
            ready: Vec::new(),
            ended: Vec::new(),
            last_activity: Duration::ZERO,
            happened: 0,
            scope: None,
            ending: None,
            stop_reported: false,
        };
        engine.report.summary.proxy =
            engine.setup.proxy.as_ref().zip(engine.settings.as_ref()).map(|(_, settings)| {
                format!("{} {}", settings.preset.name(), settings.version.name())
            });
        engine.warn_of_setup();
        if let Some(module) = module {
            for index in 0..options.workers.get() {
                // The one VM of a service takes the place of the first worker's.
                let vm = match engine.is_singleton() && index > 0 {
                    true => None,
                    false => Some(engine.new_vm(module, index)?),
                };
                engine.workers.push(Worker::new(vm));
            }
            engine.configure_at_start(start.configures)?;
        } else {
            engine.workers.resize_with(options.workers.get() as usize, || Worker::new(None));
        }
        Ok(engine)
    }

    /// The version of the proxy.
    fn version(&self) -> Version {
        self.settings.as_ref().map(|settings| settings.version).unwrap_or_default()
    }

    /// The `vm_id` of the VMs.
    fn vm_id(&self) -> &str {
        let plugin = self.setup.plugin.as_ref();
        plugin.and_then(|plugin| plugin.vm_id.as_deref()).unwrap_or(&self.options.vm_id)
    }

    /// Applies the configuration of the options.
    fn configure_at_start(&mut self, configures: bool) -> Result<(), ReplayError> {
        let text = match &self.options.configuration {
            Some(text) => text.as_slice(),
            None if configures => return Ok(()),
            None => b"",
        };
        match self.configure(text)? {
            Some(rejection) => Err(ReplayError::Rejected(rejection)),
            None => Ok(()),
        }
    }

    /// Runs the events, and the steps after the last one. Ends at the first mistake in the trace.
    pub(super) fn run(
        mut self,
        events: impl Iterator<Item = Result<OwnedEvent, ReadError>>,
    ) -> Result<Summary, ReplayError> {
        let mut checks = Checks::new(self.module, &self.setup, self.options);
        for event in events {
            if self.happened.is_multiple_of(PROGRESS_EVERY) {
                self.report_progress();
            }
            let happened = match event {
                Ok(event) => match checks.check(&self.report.summary.trace, &event) {
                    Ok(()) => self.happen(event),
                    Err(mistake) => Err(mistake),
                },
                // The input ends with the replay.
                Err(_) if self.is_stopped() => {
                    self.report_stop(None, "while it waited for the next event");
                    Ok(false)
                }
                Err(mistake) => Err(ReplayError::Read(mistake)),
            };
            match happened {
                Ok(true) => self.happened += 1,
                Ok(false) => break,
                Err(mistake) if mistake.is_in_trace() && checks.can_fail() => {
                    self.report.summary.stopped = Some(mistake);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if !checks.can_fail() && !self.is_stopped() {
            return Err(ReplayError::Empty { trace: self.report.summary.trace });
        }
        self.run_to_end()?;
        if self.is_stopped() {
            self.report_stop(None, "after the last event");
        }
        self.report_progress();
        self.finish()
    }

    /// Runs the steps before an event, and the event. Returns `false` if the replay ends before it.
    fn happen(&mut self, event: OwnedEvent) -> Result<bool, ReplayError> {
        self.run_until(event.at)?;
        if self.is_stopped() {
            self.report_stop(Some(event.line), "before this event");
            return Ok(false);
        }
        if self.options.max_instructions.is_none() {
            let events = EVENT_INSTRUCTIONS.saturating_mul(self.happened + 1);
            self.process.set_max_instructions(BASE_INSTRUCTIONS.saturating_add(events));
        }
        self.advance_clock(event.at);
        self.event(event)?;
        self.run_ready()?;
        Ok(true)
    }

    /// Runs the steps that are due before `until`.
    fn run_until(&mut self, until: Duration) -> Result<(), ReplayError> {
        while let Some(at) = self.schedule.next_at() {
            if at >= until || self.is_stopped() {
                break;
            }
            self.run_next()?;
        }
        Ok(())
    }

    /// Runs the steps after the last event: until all exchanges have ended, or for an hour with
    /// ticks only. Then each plugin ticks once more, because filters count in memory and report on
    /// a tick.
    fn run_to_end(&mut self) -> Result<(), ReplayError> {
        self.last_activity = self.now;
        while (!self.exchanges.is_empty() || !self.calls.is_empty()) && !self.is_stopped() {
            match self.schedule.next_at() {
                Some(at) if at <= self.last_activity + TICKS_AFTER_END => self.run_next()?,
                _ => break,
            }
        }
        let tickers = self.workers.iter().flat_map(|worker| &worker.tickers);
        if let Some(period) = tickers.filter_map(|ticker| ticker.period).max() {
            let until = self.now + period + Duration::from_nanos(1);
            self.run_until(until)?;
        }
        self.report_open();
        self.end_scope();
        Ok(())
    }

    /// Runs the next step of the schedule.
    fn run_next(&mut self) -> Result<(), ReplayError> {
        let Some((at, entry, wake)) = self.schedule.pop() else { return Ok(()) };
        match wake {
            Wake::Exchange(slot) => {
                if self.exchange(slot).is_some_and(|exchange| exchange.entry == entry) {
                    self.advance_clock(at);
                    self.last_activity = at;
                    self.run_exchange(slot)?;
                }
            }
            Wake::Tick(worker) => self.tick(worker as usize, entry, at)?,
            Wake::Call(slot) => {
                self.advance_clock(at);
                self.last_activity = at;
                self.end_call(slot as usize)?;
            }
        }
        self.run_ready()
    }

    fn advance_clock(&mut self, to: Duration) {
        if to > self.now {
            self.now = to;
            self.process.set_now(self.clock + (to - self.clock_set_at));
        }
    }

    fn event(&mut self, event: OwnedEvent) -> Result<(), ReplayError> {
        let (line, at) = (event.line, event.at);
        match event.kind {
            EventKind::Configure { configuration, expect } => {
                self.configure_event(line, at, &configuration, expect)?;
            }
            EventKind::Open { connection, name, open } => {
                if open.protocol == Protocol::Http3 {
                    self.warn(Some(line), "HTTP/3 is simulated as HTTP/2".to_owned());
                }
                let slot = self.connection(connection, &name, false);
                self.open_connection(slot, Some(&open));
            }
            EventKind::Exchange(exchange) => {
                let spec = Spec::new(line, self.numbered, exchange);
                self.numbered += 1;
                self.request(spec)?;
                self.end_exchanges()?;
            }
            EventKind::SharedData(write) => {
                let (key, value) = (write.key.as_bytes(), write.value.as_bytes());
                self.process.set_shared_data(self.vm_id(), key, value, 0).map_err(|status| {
                    let trace = self.report.summary.trace.clone();
                    ReplayError::SharedData { trace, line, status }
                })?;
                self.note(line, at, format!("shared data {} = {}", write.key, write.value));
            }
            EventKind::Cluster { cluster, respond } => {
                self.clusters.insert(cluster.to_string(), Rc::from(respond));
                self.note(line, at, format!("cluster {cluster} has a new response"));
            }
            EventKind::Close { connection, .. } => {
                if let Some(name) = self.client_closes(connection)? {
                    self.note(line, at, format!("client closes {name}"));
                }
            }
            EventKind::Clock(clock) => {
                (self.clock, self.clock_set_at) = (clock, self.now);
                self.process.set_now(clock);
                let time = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + clock);
                self.note(line, at, format!("the clock is set to {time}"));
            }
            EventKind::Stall { worker, duration } => {
                self.workers[worker as usize].stalled_until = self.now + duration;
                let duration = format_duration(duration);
                self.note(line, at, format!("worker {worker} stalls for {duration}"));
            }
            EventKind::Metrics(expected) => {
                let failures = expected
                    .iter()
                    .flat_map(|(name, want)| {
                        Mismatch::check_metric(name, *want, self.process.metric(name))
                    })
                    .collect();
                let expected = expected.len();
                self.report.add_metrics(MetricsReport { line, at, expected, failures });
            }
        }
        Ok(())
    }

    /// Warns of a setup that the profile does not apply.
    fn warn_of_setup(&mut self) {
        if self.settings.is_none() && self.setup.proxy.is_some() {
            let text = format!(
                "proxy: the profile {} has no such settings, so they have no effect",
                self.options.profile.name()
            );
            self.warn(self.setup_line, text);
        }
        if let Some(settings) = &self.settings {
            let fields: Vec<_> = settings.retry_policy.unmodelled().collect();
            for field in fields {
                let text = format!("proxy.retry_policy.{field} is not simulated");
                self.warn(self.setup_line, text);
            }
        }
    }

    /// Warns once of something that the replay does not simulate.
    fn warn(&mut self, line: Option<u32>, text: String) {
        if self.warned.insert(text.clone()) {
            self.report.summary.warnings.push(Warning { line, text });
        }
    }

    fn report_progress(&mut self) {
        self.report.progress(Progress { done: self.happened, now: self.now });
    }

    fn note(&mut self, line: u32, at: Duration, text: String) {
        self.report.add_note(Note { line, at, text });
    }

    fn finish(mut self) -> Result<Summary, ReplayError> {
        for (_, connection) in &self.connections {
            if let Some(open) = connection.report(None) {
                self.report.add_connection(open);
            }
        }
        let mut summary = self.report.into_summary().map_err(ReplayError::Sink)?;
        summary.metrics = self.process.metrics();
        summary.metrics.sort_by(|a, b| a.name.cmp(&b.name));
        summary.ended = self.now;
        Ok(summary)
    }

    /// The exchange in `slot`.
    ///
    /// A call into the filter can end any exchange, so callers look the slot up again after it.
    fn exchange(&mut self, slot: u32) -> Option<&mut ActiveExchange> {
        self.exchanges.get_mut(slot as usize).map(|exchange| &mut **exchange)
    }

    /// Schedules the next step of the exchange, unless it is already scheduled.
    fn reschedule(&mut self, slot: u32) {
        let Some(exchange) = self.exchanges.get_mut(slot as usize) else { return };
        let due = exchange.due();
        if due != exchange.scheduled {
            exchange.scheduled = due;
            exchange.entry = match due {
                Some(at) => self.schedule.push(at, Wake::Exchange(slot)),
                None => Entry::default(),
            };
        }
    }

    /// Marks an exchange for [`run_ready`](Self::run_ready).
    fn mark_ready(&mut self, slot: u32) {
        self.ready.push(slot);
    }

    /// Runs the marked exchanges until no step is due now.
    fn run_ready(&mut self) -> Result<(), ReplayError> {
        while let Some(slot) = self.ready.pop() {
            self.run_exchange(slot)?;
        }
        Ok(())
    }

    /// Runs the steps of an exchange that are due now: the client's, the upstream's, then the
    /// timeouts.
    fn run_exchange(&mut self, slot: u32) -> Result<(), ReplayError> {
        let now = self.now;
        if let Some(exchange) = self.exchange(slot) {
            exchange.scheduled = exchange.scheduled.filter(|at| *at > now);
        }
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        while self.exchange(slot).is_some_and(|exchange| is_due(exchange.upload_at)) {
            if self.is_stopped() {
                return Ok(());
            }
            self.upload(slot)?;
        }
        while self.exchange(slot).is_some_and(|exchange| is_due(exchange.step_at)) {
            if self.is_stopped() {
                return Ok(());
            }
            self.attempt_step(slot)?;
        }
        if self.exchange(slot).is_some_and(|exchange| is_due(exchange.attempt_deadline)) {
            self.attempt_timeout(slot)?;
        }
        if self.exchange(slot).is_some_and(|exchange| is_due(exchange.deadline)) {
            self.request_timeout(slot)?;
        }
        self.expire_stream(slot)?;
        self.reschedule(slot);
        Ok(())
    }
}

/// What is known of a trace before its first event.
pub(super) struct Start {
    /// The name of the trace.
    pub(super) name: String,
    pub(super) setup: Setup,
    /// The line of the setup, if there is one.
    pub(super) setup_line: Option<u32>,
    /// Whether the trace pushes a configuration.
    pub(super) configures: bool,
}

/// Converts the header fields of a trace.
fn header_map(fields: &Headers<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.push(&**name, &**value);
    }
    map
}
