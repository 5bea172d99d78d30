//! The scenarios in `tests/traces`: each tells the story of a real failure, and its expectations hold because of the filter.
//!
//! A scenario is `NAME.jsonl` with the configuration `NAME.config.json`. What a trace can say by itself stands in the trace;
//! here stand what needs counting over all connections, what must fail without the filter, and what may differ between runs.

use sluice_test_kit::program;

mod scenarios {
    mod ablation;
    mod blue_green;
    mod determinism;
    mod fleet;
    mod hold;
    mod properties;
    mod shared_data;
    mod simulator;
    mod spread;
    mod streams;
    mod termination;
    mod workers;
}

/// Every scenario.
const ALL: [&str; 7] = [
    "tour",
    "kapacitor-logs",
    "blue-green",
    "stalled-backend",
    "slow-pages",
    "autoscaling-termination",
    "endings",
];

/// The trace of a scenario, from the repository's root.
fn trace(name: &str) -> String {
    format!("tests/traces/{name}.jsonl")
}

/// The configuration of a scenario, from the repository's root.
fn configuration(name: &str) -> String {
    format!("tests/traces/{name}.config.json")
}
