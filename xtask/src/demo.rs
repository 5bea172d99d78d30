//! `cargo xtask demo`: replays a short day of a service against the module that a proxy would load.

use anyhow::{Context, Result};

use crate::module;
use crate::process::{announce, cargo, run};

const CONFIGURATION: &str = "tests/traces/tour.config.json";
const TRACE: &str = "tests/traces/tour.jsonl";

/// Builds the module and the program `sluice`, then replays the tour.
pub(crate) fn replay_tour() -> Result<()> {
    module::build()?;
    // Without `--package`, cargo compiles the dependencies with the features that the tests use.
    let program = ["--bin", "sluice"];
    announce("building the program sluice; the first build takes a few minutes");
    run(cargo("build", program))?;
    announce(&format!("sluice replay --config {CONFIGURATION} {TRACE}"));
    let replay = ["--quiet", "--", "replay", "--config", CONFIGURATION, TRACE];
    run(cargo("run", program.into_iter().chain(replay))).context("the demo failed")?;
    println!("The demo passed. Change {CONFIGURATION} and run `cargo xtask demo` again.");
    Ok(())
}
