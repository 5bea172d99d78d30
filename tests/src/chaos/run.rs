//! Runs a plan: starts the proxies, the store and the clients, executes one epoch after the other,
//! and checks what is left at the end.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::clients::Clients;
use super::journal::Journal;
use super::monitor::Monitor;
use super::plan::{PROXIES, Plan};
use super::probe::Connection;
use super::proxy::Proxy;
use super::resources::{Growth, Usage};
use super::service;
use super::store::Store;
use super::timeline::Timeline;
use super::verdict::EpochReport;

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

/// The time in which the requests of stopped clients must leave the counts. A crashed VM is counted
/// for ten seconds.
const IDLE_LIMIT: Duration = Duration::from_secs(15);

/// The parts of a run that its epochs use.
pub(super) struct Run<'a> {
    pub(super) proxies: Vec<Arc<Proxy>>,
    pub(super) store: Store,
    pub(super) journal: Arc<Journal>,
    pub(super) timeline: Arc<Timeline>,
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
    /// Reports an event with its time.
    pub(super) fn say(&self, text: &str) {
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
