//! The same trace on the simulator's `envoy` profile and on a real Envoy: what the clients see must agree.
//!
//! A difference is a bug in one of the two, never a matter of taste. What is left out of the comparison is
//! left out by name: headers that belong to the proxy, the length of pauses below what a loaded machine can
//! tell apart, how much of a response arrives before it is cut, what the health answer says beside its status,
//! which of several exchanges at once on an HTTP/2 connection got the GOAWAY, and ([`adapt`]) the moment
//! within a drain's window.

mod adapt;
mod client;
mod clock;
mod ended;
pub mod generator;
mod performance;
mod proxy;
pub mod runner;
mod seen;
mod simulation;
mod upstream;

use serde_json::Value;
use sluice_sim::Module;
use sluice_sim::trace::Trace;

use crate::root;
use ended::{Account, Ended};
use proxy::Proxy;
use simulation::Simulated;
use upstream::Upstreams;

/// The module that both run.
///
/// # Panics
/// If it was not built.
pub fn module() -> Module {
    let path = root().join("target/sluice_filter.wasm");
    let wasm = std::fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo xtask build` makes it", path.display())
    });
    Module::new(&wasm, &sluice_sim::Limits::default()).expect("our own module")
}

/// A real Envoy with upstreams that play the scripts of traces, and the module it runs.
pub struct Stage<'m> {
    proxy: Proxy,
    upstreams: Upstreams,
    module: &'m Module,
    account: Account,
    runs: u32,
}

impl<'m> Stage<'m> {
    /// Starts an Envoy with the drain bridge.
    ///
    /// # Panics
    /// If there is no Envoy.
    pub fn start(module: &'m Module) -> Self {
        let upstreams = Upstreams::start();
        Self {
            proxy: Proxy::start(upstreams.ports()),
            upstreams,
            module,
            account: Account::default(),
            runs: 0,
        }
    }

    /// How many streams ended badly in Envoy so far, by route and reason.
    fn ended(&self) -> &Ended {
        self.account.ended()
    }

    /// Runs a trace on both, and says in what they differ, a line for each difference.
    ///
    /// # Panics
    /// If the trace is wrong, or does what this stage cannot do.
    pub fn differences(&mut self, text: &str, configuration: &Value) -> Vec<String> {
        let trace = Trace::parse("trace", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let simulated = Simulated::of(&trace, configuration, self.module);
        self.proxy.begin(configuration);
        // Two runs of one trace must not find each other's attempts.
        self.runs += 1;
        let (real, misjudged) =
            performance::perform(self.runs, &trace, &simulated, &mut self.proxy, &self.upstreams);
        let mut differences = seen::compare(&simulated.seen, &real);
        differences.extend(self.account.differences(&simulated.ended, &self.proxy));
        differences.extend(misjudged);
        differences.extend(simulated.misjudged);
        differences
    }
}
