//! Causes the faults of an epoch.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::fault::{Fault, PlannedFault};
use super::plan::PROXIES;
use super::proxy::Proxy;
use super::run::Run;
use super::store::Behavior;
use super::timeline::Span;

/// The store in place of the index of a proxy.
pub(super) const STORE: usize = PROXIES;

/// The interval of fast pushes, as a share of `refresh`.
const PUSHES: f64 = 0.75;

/// The time in which the listeners of a predecessor close.
const HANDOVER: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Causes a fault; returns when it happened.
    pub(super) fn inject(&self, planned: PlannedFault) -> Vec<Span> {
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
        let start = Instant::now();
        while start.elapsed() < lasts {
            proxy.push();
            sleep(proxy.plan.refresh.mul_f64(PUSHES));
        }
    }
}
