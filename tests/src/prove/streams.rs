//! The fourth scenario: proxies restart in turn while streams are open. No completion must be lost
//! that ends within its bound, and each other stream must end at a boundary.

mod client;
mod ending;
mod stats;
mod table;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::ProgressBar;

use self::client::{Kind, Proxy, work};
use super::client_pool::{ClientPool, Load};
use super::client_stats::AllClients;
use super::restart::{Bounds, RestartMethod};
use super::service;
use crate::haproxy::{Balance, HaProxy};

pub use stats::{Cut, Lengths, StreamLoad, StreamStats};
pub use table::table;

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How the proxies were restarted.
    pub method: RestartMethod,
    /// The statistics of the ordinary clients.
    pub clients: AllClients,
    /// How the streams ended.
    pub streams: StreamStats,
    /// For each restart, the time until the proxy could be stopped.
    pub drains: Vec<Duration>,
}

/// Restarts proxies this many times. The bar counts restarts.
///
/// # Panics
/// If a program does not start.
pub fn run(
    method: RestartMethod,
    restarts: u64,
    (load, stream_load): (Load, StreamLoad),
    bounds: Bounds,
    bar: &ProgressBar,
) -> Outcome {
    let is_over = Arc::<AtomicBool>::default();
    let mut fleet = method.start_fleet(service::start(is_over.clone()), bounds);
    let servers = fleet.servers();
    let balancer = HaProxy::start(Balance::RoundRobin, &servers);
    let ports = (balancer.http1, balancer.http2);
    let clients = ClientPool::start(load, ports, &ProgressBar::hidden());
    let streams = start_streams(stream_load, ports, &is_over);
    balancer.wait_for_connections(&servers, load.clients() + stream_load.clients());
    let mut drains = Vec::new();
    for restart in 0..restarts as usize {
        drains.push(fleet.restart(restart % servers.len(), &balancer));
        bar.inc(1);
    }
    is_over.store(true, Ordering::Relaxed);
    let mut all = StreamStats::default();
    for stream in streams {
        all += stream.join().expect("a client does not panic");
    }
    Outcome { method, clients: clients.finish(), streams: all, drains }
}

fn start_streams(
    load: StreamLoad,
    (http1, http2): (u16, u16),
    is_over: &Arc<AtomicBool>,
) -> Vec<JoinHandle<StreamStats>> {
    let kinds = [
        (Kind::Events, load.events),
        (Kind::Socket, load.sockets),
        (Kind::Completions(load.lengths), load.completions),
    ];
    let kinds = kinds.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, count));
    let start = |(seed, kind): (usize, Kind)| {
        let proxy = match kind {
            Kind::Events | Kind::Completions(_) if seed.is_multiple_of(2) => Proxy::Http2(http2),
            _ => Proxy::Http1(http1),
        };
        let is_over = is_over.clone();
        thread::spawn(move || work(kind, proxy, seed as u64, &is_over))
    };
    kinds.enumerate().map(start).collect()
}

impl Outcome {
    /// Whether each stream ended at a boundary, no completion was lost, and no request failed.
    pub fn holds(&self) -> bool {
        self.streams.cut().torn == 0 && self.streams.lost == 0 && self.clients.failed() == 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, clients, streams, .. } = self;
        let (failed, requests) = (clients.failed(), clients.requests());
        write!(f, "{}: {streams}; {failed} of {requests} requests failed", method.name())
    }
}
