//! The second scenario: behind one proxy, the service is switched from blue to green every few
//! seconds. Each switch must close all old connections, each once, spread over a window.

use std::fmt;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use indicatif::ProgressBar;

use super::client_pool::{ClientPool, Load};
use super::client_stats::{AllClients, ConnectionSpan};
use super::filter::{configuration, start_drain};
use super::restart::Bounds;
use super::service;
use crate::envoy::{Bootstrap, Envoy};

/// The wait after a window, in which the slowest request ends and its client sends another one.
const PAUSE: Duration = Duration::from_secs(2);

/// Workers learn an epoch up to this long after each other. A connection that is opened meanwhile
/// may count as old or as new.
const PROPAGATION: Duration = Duration::from_millis(300);

/// The largest accepted deviation of a tenth of the window from an equal share.
const MAX_DEVIATION: f64 = 0.25;

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The number of switches.
    pub epochs: usize,
    /// The number of connections that were open at the start of a switch, summed over all switches.
    pub old: usize,
    /// How many of these were not closed by the switch.
    pub left: usize,
    /// The number of newer connections that were closed.
    pub new_closed: usize,
    /// The number of old connections closed in each tenth of the window; the last also counts later
    /// ones.
    pub tenths: [usize; 10],
    /// The number of requests.
    pub requests: u64,
    /// The number of failed requests.
    pub failed: usize,
}

/// The times of a switch: when the drain was requested, when the proxy had accepted it, when the
/// next switch began.
#[derive(Debug, Clone, Copy)]
struct Switch {
    requested: Duration,
    accepted: Duration,
    next: Duration,
}

/// Switches this many times, with this window. The bar counts switches.
///
/// # Panics
/// If a program does not start.
pub fn run(epochs: u64, window: Duration, load: Load, bar: &ProgressBar) -> Outcome {
    let bootstrap =
        Bootstrap::discovered(service::start(Arc::default()), &configuration(Bounds::default()));
    let envoy = Envoy::start_with_workers(bootstrap, 2);
    let clients = ClientPool::start(load, (envoy.port, envoy.port), &ProgressBar::hidden());
    sleep(PAUSE);
    let mut switches = Vec::new();
    for _ in 0..epochs {
        let requested = clients.now();
        start_drain(&envoy, "mode=reload", window);
        let accepted = clients.now();
        sleep(window + PAUSE);
        switches.push(Switch { requested, accepted, next: clients.now() });
        bar.inc(1);
    }
    Outcome::of(&clients.finish(), &switches, window)
}

impl Outcome {
    /// The largest relative deviation of a tenth from an equal share.
    pub fn deviation(&self) -> f64 {
        let equal = self.tenths.iter().sum::<usize>() as f64 / 10.0;
        self.tenths.iter().map(|&tenth| (tenth as f64 / equal - 1.0).abs()).fold(0.0, f64::max)
    }

    /// Whether each switch closed all old connections and no other, evenly over the window, and no
    /// request failed.
    pub fn holds(&self) -> bool {
        let wrong = self.left + self.new_closed + self.failed;
        self.old > 0 && wrong == 0 && self.deviation() <= MAX_DEVIATION
    }

    fn of(clients: &AllClients, switches: &[Switch], window: Duration) -> Self {
        let mut outcome = Self {
            epochs: switches.len(),
            old: 0,
            left: 0,
            new_closed: 0,
            tenths: [0; 10],
            requests: clients.requests(),
            failed: clients.failed(),
        };
        for switch in switches {
            for span in clients.connections() {
                outcome.count(span, *switch, window);
            }
        }
        outcome
    }

    fn count(&mut self, span: &ConnectionSpan, switch: Switch, window: Duration) {
        let closed = span.closed.filter(|closed| *closed < switch.next);
        if span.opened < switch.requested && closed.is_none_or(|closed| closed > switch.requested) {
            self.old += 1;
            match closed {
                None => self.left += 1,
                Some(closed) => {
                    let share = (closed - switch.requested).div_duration_f64(window);
                    self.tenths[((share * 10.0) as usize).min(9)] += 1;
                }
            }
        }
        let is_new = (switch.accepted + PROPAGATION..switch.next).contains(&span.opened);
        self.new_closed += usize::from(is_new && closed.is_some());
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epochs, old, left, new_closed, requests, failed, .. } = self;
        let deviation = self.deviation() * 100.0;
        write!(
            f,
            "blue/green: {epochs} switches with {old} old connections, {left} of them not closed, \
             {new_closed} newer ones closed, tenths of the window within {deviation:.0} % of equal, \
             {failed} of {requests} requests failed"
        )
    }
}
