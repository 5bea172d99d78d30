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
mod proxy_settings;
pub mod runner;
mod simulation;
mod trace_rewrite;
mod upstream;

use serde_json::Value;
use sluice_sim::Module;
use sluice_sim::proxy::ProxySettings;
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

/// Real Envoys, upstreams that follow the scripts of traces, and the module for the simulator.
pub struct Comparison<'m> {
    /// The latest Envoys. A trace runs on one with the settings of its proxy.
    proxies: Vec<ComparedProxy>,
    upstreams: Upstreams,
    module: &'m Module,
    /// The failures in Envoys that were stopped.
    earlier_failures: FailureCounts,
    runs: u32,
}

struct ComparedProxy {
    settings: ProxySettings,
    proxy: Proxy,
    failures: FailureTotals,
}

/// The number of Envoys that run at the same time; each needs memory for its VMs.
const PROXIES: usize = 2;

impl<'m> Comparison<'m> {
    /// Starts the upstreams.
    pub fn start(module: &'m Module) -> Self {
        Self {
            proxies: Vec::new(),
            upstreams: Upstreams::start(),
            module,
            earlier_failures: FailureCounts::new(),
            runs: 0,
        }
    }

    /// The streams that have failed in Envoy so far.
    fn failures(&self) -> FailureCounts {
        let mut all = self.earlier_failures.clone();
        for compared in &self.proxies {
            add(&mut all, compared.failures.counts());
        }
        all
    }

    /// The index of an Envoy with these settings, which is started if none runs.
    ///
    /// # Panics
    /// If Envoy is not found.
    fn proxy_with(&mut self, settings: &ProxySettings) -> usize {
        if let Some(index) = self.proxies.iter().position(|one| one.settings == *settings) {
            return index;
        }
        if self.proxies.len() == PROXIES {
            let stopped = self.proxies.remove(0);
            add(&mut self.earlier_failures, stopped.failures.counts());
        }
        self.proxies.push(ComparedProxy {
            settings: settings.clone(),
            proxy: Proxy::start(self.upstreams.ports(), settings),
            failures: FailureTotals::default(),
        });
        self.proxies.len() - 1
    }

    /// Runs a trace on both; returns one line for each difference.
    ///
    /// # Panics
    /// If the trace is malformed, a real Envoy cannot do what it describes, or Envoy is not found.
    pub fn differences(&mut self, text: &str, configuration: &Value) -> Vec<String> {
        let trace = Trace::parse("trace", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let simulated = Simulated::of(&trace, configuration, self.module);
        let settings = trace.setup.proxy.as_ref().map(ProxySettings::of).unwrap_or_default();
        let index = self.proxy_with(&settings);
        let ComparedProxy { proxy, failures, .. } = &mut self.proxies[index];
        proxy.begin(configuration);
        // The number keeps apart the attempts of two runs of one trace.
        self.runs += 1;
        let (real, wrong_verdicts) =
            playback::play(self.runs, &trace, &simulated, proxy, &self.upstreams);
        let mut differences = observation::compare(&simulated.observed, &real);
        differences.extend(failures.differences(&simulated.failures, proxy));
        differences.extend(wrong_verdicts);
        differences.extend(simulated.wrong_verdicts);
        differences
    }
}

fn add(total: &mut FailureCounts, more: &FailureCounts) {
    for (key, count) in more {
        *total.entry(key.clone()).or_default() += count;
    }
}
