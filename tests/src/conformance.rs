//! Runs the same trace on the simulator's `envoy` profile and on a real Envoy, and compares what
//! the clients observe.
//!
//! A difference is a bug in one of the two. The comparison ignores: headers that belong to the
//! proxy, differences in time that a loaded machine can cause, how much of a response arrives
//! before it is cut, the body of the health reply, which of several concurrent HTTP/2 exchanges
//! received the GOAWAY, and when within a drain's window a connection closes (`trace_rewrite`).

mod client;
mod clock;
mod failure_counts;
pub mod generator;
mod observation;
mod playback;
mod proxy;
pub mod runner;
mod simulation;
mod trace_rewrite;
mod upstream;

use serde_json::Value;
use sluice_sim::Module;
use sluice_sim::trace::Trace;
use sluice_test_kit::program;

use failure_counts::{FailureCounts, FailureTotals};
use proxy::Proxy;
use simulation::Simulated;
use upstream::Upstreams;

/// The filter's module, which both run.
///
/// # Panics
/// If it has not been built.
pub fn module() -> Module {
    let path = program::module();
    let wasm = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Module::new(&wasm, &sluice_sim::Limits::default()).expect("the module is valid")
}

/// A real Envoy, upstreams that follow the scripts of traces, and the module for the simulator.
pub struct Comparison<'m> {
    proxy: Proxy,
    upstreams: Upstreams,
    module: &'m Module,
    failures: FailureTotals,
    runs: u32,
}

impl<'m> Comparison<'m> {
    /// Starts Envoy with the drain bridge.
    ///
    /// # Panics
    /// If Envoy is not found.
    pub fn start(module: &'m Module) -> Self {
        let upstreams = Upstreams::start();
        Self {
            proxy: Proxy::start(upstreams.ports()),
            upstreams,
            module,
            failures: FailureTotals::default(),
            runs: 0,
        }
    }

    /// The streams that have failed in Envoy so far.
    fn failures(&self) -> &FailureCounts {
        self.failures.counts()
    }

    /// Runs a trace on both; returns one line for each difference.
    ///
    /// # Panics
    /// If the trace is malformed, or a real Envoy cannot do what it describes.
    pub fn differences(&mut self, text: &str, configuration: &Value) -> Vec<String> {
        let trace = Trace::parse("trace", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let simulated = Simulated::of(&trace, configuration, self.module);
        self.proxy.begin(configuration);
        // The number keeps apart the attempts of two runs of one trace.
        self.runs += 1;
        let (real, wrong_verdicts) =
            playback::play(self.runs, &trace, &simulated, &mut self.proxy, &self.upstreams);
        let mut differences = observation::compare(&simulated.observed, &real);
        differences.extend(self.failures.differences(&simulated.failures, &self.proxy));
        differences.extend(wrong_verdicts);
        differences.extend(simulated.wrong_verdicts);
        differences
    }
}
