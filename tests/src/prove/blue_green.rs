//! The second story: behind one proxy the service is switched from blue to green every few seconds,
//! and with each switch all old connections are to be closed, once, spread over a window.

use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use indicatif::ProgressBar;

use super::account::{Accounts, Span};
use super::crew::{Crew, Plan};
use super::filter::{configuration, order};
use super::service;
use crate::envoy::{Bootstrap, Envoy};

/// After a window: the slowest request ends, and its client asks again.
const REST: Duration = Duration::from_secs(2);

/// Workers learn of an epoch up to this long after each other; what was opened meanwhile may count as
/// old or as new.
const LEARNING: Duration = Duration::from_millis(300);

/// How far any tenth of the window may be from even.
const UNEVENNESS: f64 = 0.25;

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How many switches there were.
    pub epochs: usize,
    /// Connections that were there when a switch began, over all switches.
    pub old: usize,
    /// Of these, those that were not closed with it.
    pub left: usize,
    /// Later connections that were closed all the same.
    pub new_closed: usize,
    /// How many of the old ones were closed in each tenth of the window; in the last one, or after it.
    pub tenths: [usize; 10],
    /// Requests.
    pub requests: u64,
    /// Requests that failed.
    pub failed: usize,
}

/// A switch: when it was ordered, when the proxy had taken the order, when the next one came.
#[derive(Debug, Clone, Copy)]
struct Switch {
    ordered: Duration,
    taken: Duration,
    next: Duration,
}

/// Switches so many times, with such a window. The bar counts the switches.
///
/// # Panics
/// If a part does not start.
pub fn run(epochs: u64, window: Duration, plan: Plan, bar: &ProgressBar) -> Outcome {
    let bootstrap = Bootstrap::discovered(service::start(), &configuration());
    let envoy = Envoy::start_with_workers(bootstrap, 2);
    let crew = Crew::start(plan, (envoy.port, envoy.port), &ProgressBar::hidden());
    sleep(REST);
    let mut switches = Vec::new();
    for _ in 0..epochs {
        let ordered = crew.now();
        order(&envoy, "mode=reload", window);
        let taken = crew.now();
        sleep(window + REST);
        switches.push(Switch { ordered, taken, next: crew.now() });
        bar.inc(1);
    }
    Outcome::of(&crew.finish(), &switches, window)
}

impl Outcome {
    /// How far the busiest or the calmest tenth is from an even share.
    pub fn unevenness(&self) -> f64 {
        let even = self.tenths.iter().sum::<usize>() as f64 / 10.0;
        self.tenths.iter().map(|&tenth| (tenth as f64 / even - 1.0).abs()).fold(0.0, f64::max)
    }

    /// Whether every old connection was closed with each switch, no other was, evenly over the
    /// window, and nothing was lost.
    pub fn holds(&self) -> bool {
        let lost = self.left + self.new_closed + self.failed;
        self.old > 0 && lost == 0 && self.unevenness() <= UNEVENNESS
    }

    fn of(accounts: &Accounts, switches: &[Switch], window: Duration) -> Self {
        let mut outcome = Self {
            epochs: switches.len(),
            old: 0,
            left: 0,
            new_closed: 0,
            tenths: [0; 10],
            requests: accounts.requests(),
            failed: accounts.failed(),
        };
        for switch in switches {
            for span in accounts.connections() {
                outcome.judge(span, *switch, window);
            }
        }
        outcome
    }

    fn judge(&mut self, span: &Span, switch: Switch, window: Duration) {
        let closed = span.closed.filter(|closed| *closed < switch.next);
        if span.opened < switch.ordered && closed.is_none_or(|closed| closed > switch.ordered) {
            self.old += 1;
            match closed {
                None => self.left += 1,
                Some(closed) => {
                    let share = (closed - switch.ordered).div_duration_f64(window);
                    self.tenths[((share * 10.0) as usize).min(9)] += 1;
                }
            }
        }
        let is_new = (switch.taken + LEARNING..switch.next).contains(&span.opened);
        self.new_closed += usize::from(is_new && closed.is_some());
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epochs, old, left, new_closed, requests, failed, .. } = self;
        let uneven = self.unevenness() * 100.0;
        write!(
            f,
            "blue/green: {epochs} switches with {old} old connections, {left} of them left open, \
             {new_closed} newer ones closed, tenths of the window within {uneven:.0} % of even, \
             {failed} of {requests} requests failed"
        )
    }
}
