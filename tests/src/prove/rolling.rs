//! The first scenario: two proxies are restarted in turn, again and again; no request must fail.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use indicatif::ProgressBar;

use super::client_pool::{ClientPool, Load};
use super::client_stats::{AllClients, Failure};
use super::restart::{Bounds, RestartMethod};
use super::service;
use crate::haproxy::{Balance, HaProxy};

/// The shortest time between the starts of two restarts. All reconnects of one restart are over by
/// then.
const INTERVAL: Duration = Duration::from_secs(5);

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How the proxies were restarted.
    pub method: RestartMethod,
    /// The statistics of the clients.
    pub clients: AllClients,
    /// For each restart, the time until the proxy could be stopped.
    pub drains: Vec<Duration>,
}

/// Restarts proxies until the clients have sent this many requests, and each proxy at least once.
///
/// # Panics
/// If a program does not start, or a drain does not end.
pub fn run(method: RestartMethod, requests: u64, load: Load, bar: &ProgressBar) -> Outcome {
    let mut fleet = method.start_fleet(service::start(Arc::default()), Bounds::default());
    let servers = fleet.servers();
    let balancer = HaProxy::start(Balance::RoundRobin, &servers);
    let clients = ClientPool::start(load, (balancer.http1, balancer.http2), bar);
    balancer.wait_for_connections(&servers, load.clients());
    let mut drains = Vec::new();
    while clients.requests() < requests || drains.len() < servers.len() {
        let start = clients.now();
        drains.push(fleet.restart(drains.len() % servers.len(), &balancer));
        sleep((start + INTERVAL).saturating_sub(clients.now()));
    }
    Outcome { method, clients: clients.finish(), drains }
}

/// The reasons of failures, and the time from check to write: a close in this time is the clients'
/// own race, which no proxy can prevent.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.clients.merged(|client| &client.check_to_write);
        let [median, p99] =
            [0.5, 0.99].map(|quantile| Duration::from_nanos(time.value_at_quantile(quantile)));
        let (name, failed) = (self.method.name(), self.clients.failed());
        write!(f, "{name}: {failed} failed, from check to write {median:?}, p99 {p99:?}")?;
        let mut reasons = BTreeMap::<Failure, usize>::new();
        for failure in self.clients.failures() {
            *reasons.entry(failure).or_default() += 1;
        }
        reasons.iter().try_for_each(|(reason, count)| write!(f, ", {reason} {count}"))
    }
}
