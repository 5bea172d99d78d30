//! The cost of a request in a real Envoy, with and without the filter. The program `bench-requests`
//! of the tests measures it and writes its report to `target/bench`.

use std::fs;
use std::num::NonZeroU32;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use super::table::{Goal, Table};
use crate::envoy;
use crate::process::{announce, cargo, run, target};

#[derive(Args)]
pub(super) struct RequestsPlan {
    /// Turns of each setup of the filter in Envoy
    #[arg(long, value_name = "N", default_value = "100")]
    rounds: NonZeroU32,
}

/// The comparisons of the report that have a goal.
const COMPARED: [(&str, &str, f64); 4] = [
    ("lua", "Sluice with `timeouts.request` / Lua with the same decisions", 1.0),
    ("handwritten", "… / module with the same host calls", 0.95),
    (
        "handwritten-auto",
        "… with `\"buffering\": \"auto\"` / module with the same host calls",
        0.95,
    ),
    ("handwritten-drain", "… with `drain`, idle / module with the same host calls", 0.95),
];

/// Runs `bench-requests` and adds the main figures of its report to the table.
pub(super) fn measure(plan: &RequestsPlan, table: &mut Table) -> Result<()> {
    announce("requests through one Envoy, each setup in turn");
    let folder = target().join("bench");
    // Without `--package`, cargo reuses the dependencies that the tests have compiled.
    let mut program = cargo("run", ["--quiet", "--bin", "bench-requests", "--"]);
    program.args(["--rounds", &plan.rounds.to_string(), "--report"]).arg(&folder);
    program.env("SLUICE_ENVOY", envoy::provide()?);
    run(program)?;
    let report = fs::read(folder.join("requests.json")).context("bench-requests left no report")?;
    let report: Value = serde_json::from_slice(&report)?;
    for origin in ["direct_response", "upstream"] {
        for (ratio, name, goal) in COMPARED {
            let figure = report[origin]["ratios"][ratio].as_f64();
            let figure = figure.with_context(|| format!("requests.json: expected {ratio}"))?;
            let name = format!("requests/s, {origin}: {name}");
            table.compare(name, figure, Goal::AtLeast(goal), "×");
        }
    }
    Ok(())
}
