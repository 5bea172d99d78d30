//! Replays with the simulator as a library, for generated traces and for counts over all
//! connections.

use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::time::Duration;

use sluice_sim::replay::{Options, Report, replay};
use sluice_sim::trace::Trace;
use sluice_sim::{FailurePolicy, Limits, Module, Profile, Properties};

use crate::program;

/// The options of `sluice replay`: Envoy with the drain bridge.
pub(crate) fn options(configuration: &str, workers: u32, seed: u64) -> Options {
    let envoy = Properties::new().with(&["xds", "node", "user_agent_name"], "envoy");
    on_host(Profile::Envoy, configuration, workers, seed).with_properties(envoy)
}

/// The options of a host other than Envoy.
pub(crate) fn generic(configuration: &str, workers: u32, seed: u64) -> Options {
    on_host(Profile::Generic, configuration, workers, seed)
}

fn on_host(profile: Profile, configuration: &str, workers: u32, seed: u64) -> Options {
    Options::new(profile)
        .with_workers(NonZeroU32::new(workers).expect("at least one worker"))
        .with_seed(seed)
        .with_configuration(configuration)
        .with_drain_bridge("x-sluice-drain", "close")
        .with_decision_function("sluice_decision")
        // As in `envoy-examples`.
        .with_failure_policy(FailurePolicy::FailReload)
        .with_reload_backoff(Duration::from_millis(50))
}

/// Replays `text` and passes the report to `check`.
pub(crate) fn replayed<T>(text: &str, options: &Options, check: impl FnOnce(&Report) -> T) -> T {
    let trace = Trace::parse("trace", text).expect("the trace is well-formed");
    let report = replay(Some(module()), &trace, options, &mut |_| {}).expect("the replay begins");
    check(&report)
}

/// [`replayed`] with a module that panics on a request with the header `x-crash`.
pub(crate) fn replayed_with_crash<T>(
    text: &str,
    options: &Options,
    check: impl FnOnce(&Report) -> T,
) -> T {
    static MODULE: OnceLock<Module> = OnceLock::new();
    let module = MODULE.get_or_init(|| {
        let path = program::root().join("target/sluice_filter.crash.wasm");
        let wasm = std::fs::read(path).expect("`cargo xtask test` builds the module");
        Module::new(&wasm, &Limits::default()).expect("the module is valid")
    });
    let trace = Trace::parse("trace", text).expect("the trace is well-formed");
    let report = replay(Some(module), &trace, options, &mut |_| {}).expect("the replay begins");
    check(&report)
}

/// Reads a file of the repository.
pub(crate) fn file(path: &str) -> String {
    std::fs::read_to_string(program::root().join(path)).expect("a file of the repository")
}

/// The filter's module, compiled once for all tests.
pub(crate) fn module() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| {
        let wasm = std::fs::read(program::module()).expect("the module has been built");
        Module::new(&wasm, &Limits::default()).expect("the module is valid")
    })
}
