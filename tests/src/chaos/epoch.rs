//! Executes one epoch: writes its drain while its faults happen, waits until all workers have learned
//! the drain, and judges the records of the clients.

use std::thread::{Scope, scope, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::inject::STORE;
use super::plan::{EpochPlan, Source};
use super::probe::{self, Connection};
use super::proxy::Proxy;
use super::run::Run;
use super::timeline::Span;
use super::verdict::{EpochReport, Facts, Learned, TRAIL, expected_by};

/// An epoch ends this long after its last connection had to close, so that calm clients send
/// another request.
const SETTLE: Duration = Duration::from_secs(4);

/// Consecutive probes of new connections after which all workers have learned a drain. With four
/// workers, they miss one of them once in ten million times.
const PROBES_FOR_EACH_WORKER: usize = 16;

/// An epoch that is not learned after this time ends.
const LEARN_LIMIT: Duration = Duration::from_secs(60);

/// The time in which a drain spreads from its source alone, before the store has it too.
const ALONE: Duration = Duration::from_secs(3);

/// The violations of an epoch that are printed; a broken epoch may have thousands.
const SHOWN_VIOLATIONS: usize = 12;

const EPOCH: &str = "wasmcustom.sluice.drain.epoch";

impl Run<'_> {
    /// Executes one epoch and judges it.
    pub(super) fn epoch(&self, plan: &EpochPlan) -> EpochReport {
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
}

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
