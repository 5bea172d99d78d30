//! The scenarios in `tests/traces`, replayed in the simulator. Each reproduces a real failure that
//! the filter prevents.
//!
//! A scenario is `NAME.jsonl` with the configuration `NAME.config.json`. Expectations about single
//! exchanges are in the trace. The tests here count over all connections, replay without the
//! filter, and vary workers and seeds.

use sluice_test_kit::program;

mod simulator {
    mod blue_green;
    mod determinism;
    mod event_streams;
    mod expectations;
    mod fleet;
    mod growth;
    mod host_call_budget;
    mod many_connections;
    mod random_drains;
    mod replays;
    mod second_host;
    mod shared_data;
    mod stream_bounds;
    mod termination;
    mod without_filter;
    mod workers;
}

/// All scenarios.
const SCENARIOS: [&str; 8] = [
    "tour",
    "kapacitor-logs",
    "blue-green",
    "stalled-backend",
    "slow-pages",
    "autoscaling-termination",
    "endings",
    "silent-model",
];

/// The path of a scenario's trace, relative to the repository's root.
fn trace(name: &str) -> String {
    format!("tests/traces/{name}.jsonl")
}

/// The path of a scenario's configuration, relative to the repository's root.
fn configuration(name: &str) -> String {
    format!("tests/traces/{name}.config.json")
}
