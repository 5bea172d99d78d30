//! The third scenario: a third proxy joins two that have all connections, and a rebalance moves its
//! share to it.

use std::fmt;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use indicatif::ProgressBar;

use super::client_pool::{ClientPool, Load};
use super::filter::{configuration, start_drain};
use super::restart::Bounds;
use super::service;
use crate::envoy::{Bootstrap, Envoy};
use crate::haproxy::{Balance, HaProxy, Server};
use crate::reusable_port;

/// The share of each of three proxies.
const PERCENT: u64 = 33;

/// Three standard deviations of such a share, with the default number of clients.
const MAX_DEVIATION: f64 = 0.1;

/// The wait after a window, in which the slowest request ends and its client sends another one.
const PAUSE: Duration = Duration::from_secs(2);

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The connections of each proxy before the third joined.
    pub before: [u64; 3],
    /// The connections of each proxy after the rebalance.
    pub after: [u64; 3],
    /// The number of closed connections.
    pub moved: usize,
    /// The number of requests.
    pub requests: u64,
    /// The number of failed requests.
    pub failed: usize,
}

/// Starts a third proxy and rebalances the first two within this window.
///
/// # Panics
/// If a program does not start.
pub fn run(window: Duration, load: Load) -> Outcome {
    let upstream = service::start(Arc::default());
    let servers = ["a", "b", "c"].map(|name| {
        let port = reusable_port();
        Server { name, http1: port, http2: port }
    });
    let [a, b, c] = servers;
    let launch = |server: Server| {
        let bootstrap = Bootstrap::discovered(upstream, &configuration(Bounds::default()));
        Envoy::start(bootstrap.listening_on(server.http1))
    };
    let old = [a, b].map(launch);
    let balancer = HaProxy::start(Balance::LeastConnections, &servers);
    balancer.wait_until_down(c.name);
    let clients = ClientPool::start(load, (balancer.http1, balancer.http2), &ProgressBar::hidden());
    let connections = || servers.map(|server| balancer.connections(server.name));
    balancer.wait_for_connections(&servers, load.clients());
    let before = connections();
    let _third = launch(c);
    balancer.wait_until_up(c.name);
    for envoy in &old {
        start_drain(envoy, &format!("mode=rebalance&percent={PERCENT}"), window);
    }
    sleep(window + PAUSE);
    balancer.wait_for_connections(&servers, load.clients());
    let after = connections();
    let clients = clients.finish();
    Outcome {
        before,
        after,
        moved: clients.reconnects().len(),
        requests: clients.requests(),
        failed: clients.failed(),
    }
}

impl Outcome {
    /// Whether a third of the connections moved, most of them to the new proxy, and no request
    /// failed.
    pub fn holds(&self) -> bool {
        let share = self.moved as f64 / self.before.iter().sum::<u64>() as f64;
        let is_third = (share - PERCENT as f64 / 100.0).abs() <= MAX_DEVIATION;
        self.failed == 0 && is_third && self.after[2] as f64 >= 0.8 * self.moved as f64
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, after, moved, requests, failed } = self;
        write!(
            f,
            "scale-out: {before:?} connections before, {after:?} after, {moved} moved, \
             {failed} of {requests} requests failed"
        )
    }
}
