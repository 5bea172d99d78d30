//! Runs a plan: starts the proxies, the store and the clients, and executes one epoch after the
//! other.

use std::sync::Arc;
use std::thread::{Scope, scope, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::clients::Clients;
use super::fault::{Fault, PlannedFault};
use super::journal::Journal;
use super::monitor::Monitor;
use super::plan::{EpochPlan, PROXIES, Plan, Source};
use super::probe::{self, Connection};
use super::proxy::Proxy;
use super::resources::{Growth, Usage};
use super::service;
use super::store::{Behavior, Store};
use super::timeline::{Span, Timeline};
use super::verdict::{EpochReport, Facts, Learned, TRAIL, expected_by};

/// How long a run lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Epochs begin until this time has passed.
    Time(Duration),
    /// This many epochs.
    Epochs(u64),
}

/// A run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The seed of the plan.
    pub seed: u64,
    /// The length.
    pub length: Length,
    /// Whether the memory and the files of the proxies must not grow. Processes are then not
    /// replaced.
    pub is_soak: bool,
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The epochs.
    pub epochs: Vec<EpochReport>,
    /// The growth of each proxy.
    pub growth: Vec<Growth>,
    /// The violations that belong to no epoch.
    pub violations: Vec<String>,
}

/// The clients start this long before the first epoch.
const WARM_UP: Duration = Duration::from_secs(2);

/// An epoch ends this long after its last connection had to close, so that calm clients send
/// another request.
const SETTLE: Duration = Duration::from_secs(4);

/// Consecutive probes of new connections after which all workers have learned a drain. With four
/// workers, they miss one of them once in ten million times.
const PROBES_FOR_EACH_WORKER: usize = 16;

/// An epoch that is not learned after this time ends.
const LEARN_LIMIT: Duration = Duration::from_secs(60);

/// The intervals of fast pushes, as shares of `refresh`: 0.2 s for 250 ms, 0.7 s for 1 s.
const PUSHES: [(Duration, f64); 2] = [(Duration::from_millis(250), 0.8), (Duration::MAX, 0.7)];

const EPOCH: &str = "wasmcustom.sluice.drain.epoch";

/// The time in which a drain spreads from its source alone, before the store has it too.
const ALONE: Duration = Duration::from_secs(3);

/// The time in which the listeners of a predecessor close.
const HANDOVER: Duration = Duration::from_secs(1);

/// The time in which the requests of stopped clients must leave the counts. A crashed VM is counted
/// for ten seconds.
const IDLE_LIMIT: Duration = Duration::from_secs(15);

struct Run<'a> {
    proxies: Vec<Arc<Proxy>>,
    store: Store,
    journal: Arc<Journal>,
    timeline: Arc<Timeline>,
    report: &'a (dyn Fn(&str) + Sync),
}

/// Runs a plan. `report` receives each event as a line.
///
/// # Panics
/// If a program does not start.
pub fn run(options: Options, report: &(dyn Fn(&str) + Sync)) -> Outcome {
    let mut plan = Plan::new(options.seed, options.is_soak);
    let (upstream, store) = (service::start(), Store::start());
    let start =
        |index: usize| Arc::new(Proxy::start(index, plan.proxies[index], upstream, store.port));
    let proxies: Vec<_> = (0..PROXIES).map(start).collect();
    let journal = Arc::new(Journal::new(Instant::now()));
    let timeline = Arc::new(Timeline::default());
    let run = Run { proxies, store, journal, timeline, report };
    for proxy in &run.proxies {
        let (name, plan) = (proxy.name(), proxy.plan);
        run.say(&format!("proxy {name}: {} workers, refresh {:?}", plan.workers, plan.refresh));
    }
    let ports = [0, 1].map(|index| run.proxies[index].port);
    let clients = Clients::start(ports, options.seed, &run.journal);
    let monitor = Monitor::start(&run.proxies, &run.journal, &run.timeline);
    sleep(WARM_UP);
    let (mut epochs, mut usages, mut violations) = (Vec::new(), Vec::new(), Vec::new());
    let is_over = |epochs: &[EpochReport]| match options.length {
        Length::Time(time) => run.journal.now() >= time,
        Length::Epochs(number) => epochs.len() as u64 >= number,
    };
    while !is_over(&epochs) {
        let epoch = plan.next_epoch();
        clients.set_quick(epoch.is_quick);
        epochs.push(run.epoch(&epoch));
        match run.usages() {
            Ok(usage) => usages.push(usage),
            Err(ended) => {
                violations.push(ended);
                break;
            }
        }
    }
    clients.finish();
    monitor.finish();
    violations.extend(run.final_violations());
    let growth = Growth::of(&usages);
    if options.is_soak {
        violations.extend(growth.iter().filter_map(Growth::violation));
    }
    Outcome { epochs, growth, violations }
}

impl Run<'_> {
    fn say(&self, text: &str) {
        (self.report)(&format!("{:8.2} s  {text}", self.journal.now().as_secs_f64()));
    }

    /// The usage of each proxy; the end of its log if the process has ended.
    fn usages(&self) -> Result<Vec<Usage>, String> {
        let usage = |proxy: &Arc<Proxy>| {
            let usage = Usage::of(proxy.process());
            usage.ok_or_else(|| format!("{} has ended: {}", proxy.name(), proxy.log_end()))
        };
        self.proxies.iter().map(usage).collect()
    }

    /// Executes one epoch and judges it.
    fn epoch(&self, plan: &EpochPlan) -> EpochReport {
        self.say(&plan.to_string());
        let start = Instant::now();
        let wait_until = |at: Duration| sleep(at.saturating_sub(start.elapsed()));
        let (written, learned) = scope(|scope| {
            let faults: Vec<_> = plan
                .faults
                .iter()
                .map(|fault| {
                    scope.spawn(move || {
                        wait_until(fault.at);
                        self.inject(*fault)
                    })
                })
                .collect();
            wait_until(plan.at);
            let written = self.write(plan, scope);
            self.say(&format!("epoch {} written", plan.number));
            let first: Vec<_> = self
                .proxies
                .iter()
                .map(|proxy| scope.spawn(|| self.wait_until_learned(proxy, plan.number)))
                .collect();
            let faults: Vec<Span> = faults
                .into_iter()
                .flat_map(|fault| fault.join().expect("a fault is injected"))
                .collect();
            // A process that has begun since the drain was written learns it from the store.
            if plan.source != Source::Store {
                sleep((written + ALONE).saturating_sub(self.journal.now()));
                self.store.write(&record(plan), || ());
            }
            let stored = self.journal.now();
            let first = first.into_iter().map(|thread| thread.join().expect("probes"));
            let first: Vec<_> = first.collect();
            let learned = [0, 1]
                .map(|index| self.learned(plan, index, first[index], written, stored, &faults));
            (written, learned)
        });
        self.say(&format!("epoch {} learned by all workers", plan.number));
        let refreshes = [0, 1].map(|index| self.proxies[index].plan.refresh);
        let last =
            learned.iter().map(|learned| learned.again.unwrap_or(learned.at).max(learned.at));
        let end = last.max().unwrap_or_default() + plan.window + refreshes[0].max(refreshes[1]);
        sleep((end + SETTLE).saturating_sub(self.journal.now()));
        let until = self.journal.now().saturating_sub(TRAIL);
        let events = self.timeline.cut(until);
        let entries = self.journal.cut(until);
        let facts = Facts { plan, refreshes, written, learned, entries: &entries, events: &events };
        let report = facts.judge();
        for violation in report.violations.iter().take(SHOWN_VIOLATIONS) {
            self.say(&format!("VIOLATION {violation}"));
        }
        if report.violations.len() > SHOWN_VIOLATIONS {
            self.say(&format!("VIOLATION {} in total", report.violations.len()));
        }
        report
    }

    /// Completes what the probes found at one proxy.
    fn learned(
        &self,
        plan: &EpochPlan,
        index: usize,
        at: Duration,
        written: Duration,
        stored: Duration,
        faults: &[Span],
    ) -> Learned {
        let refresh = self.proxies[index].plan.refresh;
        let of_proxy = faults.iter().filter(|span| span.proxy == index && span.to > written);
        let mut free = written;
        let mut outage = Duration::ZERO;
        for span in of_proxy {
            free = free.max(span.to);
        }
        if plan.source == Source::Store {
            for span in faults.iter().filter(|span| span.proxy == STORE) {
                free = free.max(span.to);
                outage = outage.max(span.to - span.from);
            }
        }
        let events = self.timeline.cut(Duration::ZERO);
        let is_replaced =
            events.handovers.iter().any(|span| span.proxy == index && span.to > written);
        if is_replaced {
            free = free.max(stored);
        }
        let again = is_replaced.then(|| self.wait_until_learned(&self.proxies[index], plan.number));
        Learned { at, expected: expected_by(plan.source, free, outage, refresh), again }
    }

    /// Writes the drain; returns when. Commands are sent on other threads, because a suspended
    /// proxy does not reply.
    fn write<'scope>(
        &'scope self,
        plan: &'scope EpochPlan,
        scope: &'scope Scope<'scope, '_>,
    ) -> Duration {
        let mut written = self.journal.now();
        match plan.source {
            Source::Store => {
                self.store.write(&record(plan), || written = self.journal.now());
            }
            Source::Admin => {
                for proxy in &self.proxies {
                    scope.spawn(|| self.command(proxy, plan));
                }
            }
            Source::Push | Source::PushWithModule => {
                for proxy in &self.proxies {
                    proxy.push_drain(&state(plan), plan.source == Source::PushWithModule);
                }
            }
        }
        written
    }

    /// Sends the drain to an admin path, again if a crash or a restart loses the command.
    fn command(&self, proxy: &Proxy, plan: &EpochPlan) {
        let EpochPlan { number, mode, window, .. } = plan;
        let query = format!("epoch={number}&mode={}&window_ms={}", mode.word(), window.as_millis());
        let start = Instant::now();
        loop {
            let reply = probe::command(proxy.port, &query);
            match reply {
                Ok(reply) if reply.status == 200 => return,
                other if start.elapsed() > LEARN_LIMIT => {
                    panic!("{}: no reply to {query}: {other:?}\n{}", proxy.name(), proxy.log_end())
                }
                Ok(reply) if reply.status == 409 => {
                    return self.say(&format!("{} refuses {query}: {}", proxy.name(), reply.body));
                }
                _ => sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Waits until all workers of a proxy have learned an epoch; returns when they certainly had.
    fn wait_until_learned(&self, proxy: &Proxy, epoch: u64) -> Duration {
        let needed = PROBES_FOR_EACH_WORKER * proxy.plan.workers;
        let start = Instant::now();
        let mut learned = 0;
        while learned < needed && start.elapsed() < LEARN_LIMIT {
            // Before a worker has learned the drain, new connections would show the filter new ids,
            // and could hide that a VM does not know the ids of the clients' connections.
            let is_known = learned > 0
                || probe::metric(proxy.admin(), EPOCH).is_some_and(|known| known >= epoch);
            if is_known && self.has_learned(proxy, epoch) {
                learned += 1;
            } else {
                learned = 0;
                sleep(Duration::from_millis(20));
            }
        }
        self.journal.now()
    }

    /// Whether the worker of a new connection has learned an epoch.
    fn has_learned(&self, proxy: &Proxy, epoch: u64) -> bool {
        let reply = Connection::open(proxy.port).and_then(|mut connection| connection.health());
        let state = reply.ok().and_then(|reply| reply.state());
        state.is_some_and(|state| state.epoch >= epoch)
    }

    /// Causes a fault; returns when it happened.
    fn inject(&self, planned: PlannedFault) -> Vec<Span> {
        let PlannedFault { lasts, fault, .. } = planned;
        let from = self.journal.now();
        let span = |proxy| Span { proxy, from, to: self.journal.now() };
        let of_store = |behavior| {
            self.store.behave(behavior);
            sleep(lasts);
            self.store.behave(Behavior::Forward);
            vec![span(STORE)]
        };
        let spans = match fault {
            Fault::StoreRefuses => of_store(Behavior::Refuse),
            Fault::StoreHangs => of_store(Behavior::Hang),
            Fault::StoreSlow(delay) => of_store(Behavior::Delay(delay)),
            Fault::StoreHalf { stalls } => of_store(Behavior::Half { stalls }),
            Fault::StoreNonsense(kind) => of_store(Behavior::Replace(kind)),
            Fault::StoreLosesData { keeps_older } => {
                self.store.lose_data(keeps_older);
                sleep(lasts);
                self.store.restore_data();
                vec![span(STORE)]
            }
            Fault::FastPushes { proxy } => {
                self.push_fast(&self.proxies[proxy], lasts);
                Vec::new()
            }
            Fault::Crash { proxy, all } => {
                self.proxies[proxy].crash(all);
                let span = span(proxy);
                self.timeline.record(|events| events.crashes.push(span));
                vec![span]
            }
            Fault::ListenerUpdate { proxy, whole } => {
                self.proxies[proxy].update_listener(whole);
                vec![span(proxy)]
            }
            Fault::OwnDrain { proxy } => {
                self.proxies[proxy].drain_listeners();
                sleep(lasts);
                vec![self.hot_restart(proxy)]
            }
            Fault::HotRestart { proxy } => vec![self.hot_restart(proxy)],
            Fault::Suspend { proxy } => {
                self.proxies[proxy].suspend(lasts);
                let span = span(proxy);
                self.timeline.record(|events| events.suspensions.push(span));
                vec![span]
            }
        };
        self.say(&format!("{fault}: since {:.2} s", from.as_secs_f64()));
        spans
    }

    fn hot_restart(&self, index: usize) -> Span {
        let from = self.proxies[index].hot_restart(|| self.journal.now());
        let to = self.journal.now() + HANDOVER;
        let span = Span { proxy: index, from, to };
        self.timeline.record(|events| events.handovers.push(span));
        sleep(HANDOVER);
        span
    }

    fn push_fast(&self, proxy: &Proxy, lasts: Duration) {
        let refresh = proxy.plan.refresh;
        let share = PUSHES.iter().find(|(up_to, _)| refresh <= *up_to).map_or(1.0, |(_, s)| *s);
        let start = Instant::now();
        while start.elapsed() < lasts {
            proxy.push();
            sleep(refresh.mul_f64(share));
        }
    }

    /// What the end of a run shows: rejected pushes, and counts that do not return to zero.
    fn final_violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for proxy in &self.proxies {
            violations.extend(proxy.rejected_pushes());
            if let Err(found) = self.wait_until_idle(proxy) {
                violations.push(format!(
                    "{}: expected no in-flight request {IDLE_LIMIT:?} after the last one, found {found:?}",
                    proxy.name()
                ));
            }
        }
        violations
    }

    /// Waits until a proxy reports no in-flight request.
    ///
    /// # Errors
    /// If it reports another number, or none, for too long.
    fn wait_until_idle(&self, proxy: &Proxy) -> Result<(), Option<u64>> {
        let start = Instant::now();
        loop {
            let reply = Connection::open(proxy.port).and_then(|mut connection| connection.health());
            let in_flight = reply.ok().and_then(|reply| reply.state()).map(|state| state.in_flight);
            if in_flight == Some(0) {
                return Ok(());
            }
            if start.elapsed() > IDLE_LIMIT {
                return Err(in_flight);
            }
            sleep(Duration::from_millis(100));
        }
    }
}

/// The violations of an epoch that are printed; a broken epoch may have thousands.
const SHOWN_VIOLATIONS: usize = 12;

/// The store in place of the index of a proxy.
const STORE: usize = PROXIES;

fn record(plan: &EpochPlan) -> String {
    let EpochPlan { number, mode, window, .. } = plan;
    json!({ "epoch": number, "mode": mode.word(), "window_ms": window.as_millis() as u64 })
        .to_string()
}

/// The drain in the form of `drain.state`.
fn state(plan: &EpochPlan) -> Value {
    let window = format!("{}ms", plan.window.as_millis());
    json!({ "epoch": plan.number, "mode": plan.mode.word(), "window": window })
}
