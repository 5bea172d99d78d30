//! The third story: a third proxy joins two that have all the connections, and a rebalance gives it its
//! share.

use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use indicatif::ProgressBar;

use super::crew::{Crew, Plan};
use super::filter::{configuration, order};
use super::service;
use crate::envoy::{Bootstrap, Envoy};
use crate::haproxy::{Balance, HaProxy, Server};
use crate::{eventually, steady_port};

/// The share of each of three.
const PERCENT: u64 = 33;

/// Three standard deviations of a share of that size, with the clients of the default plan.
const SPREAD: f64 = 0.1;

/// After a window: the slowest request ends, and its client asks again.
const REST: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Connections of each proxy before the third joined.
    pub before: [u64; 3],
    /// Connections of each proxy afterwards.
    pub after: [u64; 3],
    /// Connections that were closed.
    pub moved: usize,
    /// Requests.
    pub requests: u64,
    /// Requests that failed.
    pub failed: usize,
}

/// Lets a third proxy join and rebalances the first two within this window.
///
/// # Panics
/// If a part does not start.
pub fn run(window: Duration, plan: Plan) -> Outcome {
    let upstream = service::start();
    let servers = ["a", "b", "c"].map(|name| {
        let port = steady_port();
        Server { name, http1: port, http2: port }
    });
    let [a, b, c] = servers;
    let launch = |server: Server| {
        let bootstrap = Bootstrap::discovered(upstream, &configuration());
        Envoy::start(bootstrap.listening_on(server.http1))
    };
    let old = [a, b].map(launch);
    let balancer = HaProxy::start(Balance::LeastConnections, &servers);
    balancer.await_out(c.name);
    let crew = Crew::start(plan, (balancer.http1, balancer.http2), &ProgressBar::hidden());
    let clients = (plan.looking + plan.blind + plan.http2) as u64;
    let connections = || servers.map(|server| balancer.connections(server.name));
    let all_are_there = || connections().iter().sum::<u64>() == clients;
    eventually("every client to connect", || all_are_there().then_some(()));
    let before = connections();
    let _third = launch(c);
    balancer.await_in(c.name);
    for envoy in &old {
        order(envoy, &format!("mode=rebalance&percent={PERCENT}"), window);
    }
    sleep(window + REST);
    eventually("every client to connect again", || all_are_there().then_some(()));
    let after = connections();
    let accounts = crew.finish();
    Outcome {
        before,
        after,
        moved: accounts.reconnects().len(),
        requests: accounts.requests(),
        failed: accounts.failed(),
    }
}

impl Outcome {
    /// Whether a third moved, nearly all of it to the new proxy, and nothing was lost.
    pub fn holds(&self) -> bool {
        let share = self.moved as f64 / self.before.iter().sum::<u64>() as f64;
        let is_third = (share - PERCENT as f64 / 100.0).abs() <= SPREAD;
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
