//! Measures what the filter costs a request: one Envoy with one worker and a listener for each
//! setup, from an empty filter chain to the filter with each of its features, a Lua script with the
//! same decisions, and handwritten modules with the same host calls.
//!
//! The setups take short turns, so that other load on the machine affects each of them equally. The
//! processor time is that of Envoy's worker thread alone. It does not depend on how fast the
//! clients are.

mod clients;
mod lua;
mod results;
mod setup;
mod upstream;
mod wasm;
mod worker_time;

use std::time::Instant;

use indicatif::ProgressBar;

use crate::envoy::Envoy;
use clients::Clients;
pub use results::Results;
use results::Turn;
use setup::{Setup, bootstrap, setups};
use worker_time::worker_time;

/// The parameters of a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The turns of each setup.
    pub rounds: u32,
    /// The requests of each turn.
    pub requests: u32,
}

/// Where the responses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Envoy's `direct_response`.
    Envoy,
    /// A server on this machine.
    Upstream,
}

impl Origin {
    pub(crate) const ALL: [Origin; 2] = [Origin::Envoy, Origin::Upstream];

    fn name(self) -> &'static str {
        match self {
            Origin::Envoy => "direct_response",
            Origin::Upstream => "upstream",
        }
    }
}

/// Runs the measurement.
///
/// # Panics
/// If Envoy does not start, or a request does not succeed or has another timeout than its setup
/// sets.
pub fn run(plan: Plan, bar: &ProgressBar) -> Results {
    let setups = setups();
    let turns = Origin::ALL.map(|origin| measure(&setups, origin, plan, bar));
    Results::new(setups.iter().map(|setup| setup.name.to_owned()).collect(), turns)
}

/// The length of the progress bar of a run.
pub fn steps(plan: Plan) -> u64 {
    (Origin::ALL.len() * setups().len()) as u64 * u64::from(plan.rounds + 1)
}

/// The turns of each setup, in the order of the setups.
fn measure(setups: &[Setup], origin: Origin, plan: Plan, bar: &ProgressBar) -> Vec<Vec<Turn>> {
    let upstream = upstream::start();
    let modules = tempfile::tempdir().expect("a temporary folder");
    let envoy = Envoy::start(bootstrap(setups, origin, upstream, modules.path()));
    let mut clients: Vec<Clients> =
        envoy.listener_ports().into_iter().map(Clients::connect).collect();
    assert_eq!(clients.len(), setups.len(), "the listeners of Envoy");
    if origin == Origin::Upstream {
        for (setup, clients) in setups.iter().zip(&mut clients) {
            let timeout = clients.timeout_at_upstream();
            assert_eq!(timeout, setup.timeout_ms.to_string(), "timeout of {:?}", setup.name);
        }
    }
    let mut turns = vec![Vec::new(); setups.len()];
    // The first round warms up and is not counted.
    for round in 0..=plan.rounds {
        let mut order: Vec<usize> = (0..setups.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            bar.set_message(format!("{}, {}", origin.name(), setups[index].name));
            let before = worker_time(envoy.process());
            let start = Instant::now();
            let requests = clients[index].send(plan.requests);
            let took = start.elapsed();
            let worker = worker_time(envoy.process()) - before;
            if round > 0 {
                turns[index].push(Turn { requests, took, worker });
            }
            bar.inc(1);
        }
    }
    turns
}
