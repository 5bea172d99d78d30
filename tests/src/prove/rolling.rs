//! The first story: two proxies are restarted in turn, again and again, and nobody should notice.

use std::collections::BTreeMap;
use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use indicatif::ProgressBar;

use super::account::{Accounts, Failure};
use super::crew::{Crew, Plan};
use super::service;
use super::ways::Way;
use crate::haproxy::{Balance, HaProxy};

/// Restarts begin at least this far apart, so that all clients are calm again whatever the way.
const PACE: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How they were restarted.
    pub way: Way,
    /// What the clients saw.
    pub accounts: Accounts,
    /// How long each proxy took until it could be stopped.
    pub drains: Vec<Duration>,
}

/// Restarts proxies until the clients have made so many requests, each proxy once at least.
///
/// # Panics
/// If a part does not start, or a drain does not end.
pub fn run(way: Way, requests: u64, plan: Plan, bar: &ProgressBar) -> Outcome {
    let mut fleet = way.fleet(service::start());
    let servers = fleet.servers();
    let balancer = HaProxy::start(Balance::RoundRobin, &servers);
    let crew = Crew::start(plan, (balancer.http1, balancer.http2), bar);
    let mut drains = Vec::new();
    while crew.requests() < requests || drains.len() < servers.len() {
        let begin = crew.now();
        drains.push(fleet.restart(drains.len() % servers.len(), &balancer));
        sleep((begin + PACE).saturating_sub(crew.now()));
    }
    Outcome { way, accounts: crew.finish(), drains }
}

/// Why requests failed, and how much of the race is the clients' own: as long as it takes from a look
/// to the write, a close goes unnoticed.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = self.accounts.merged(|account| &account.gap);
        let [median, p99] =
            [0.5, 0.99].map(|quantile| Duration::from_nanos(gap.value_at_quantile(quantile)));
        let (name, failed) = (self.way.name(), self.accounts.failed());
        write!(f, "{name}: {failed} failed, from look to write {median:?}, p99 {p99:?}")?;
        let mut reasons = BTreeMap::<Failure, usize>::new();
        for failure in self.accounts.failures() {
            *reasons.entry(failure).or_default() += 1;
        }
        reasons.iter().try_for_each(|(reason, count)| write!(f, ", {reason} {count}"))
    }
}
