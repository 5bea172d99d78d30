//! The demonstration: the module that a proxy would load decides over a short day of a service.

use anyhow::{Context, Result};

use crate::module;
use crate::shell::{self, announce, cargo};

const CONFIGURATION: &str = "tests/traces/tour.config.json";
const TRACE: &str = "tests/traces/tour.jsonl";

/// Builds the module and replays the tour against it.
pub(crate) fn run() -> Result<()> {
    module::build()?;
    announce(&format!("sluice replay --config {CONFIGURATION} {TRACE}"));
    let program = ["run", "--quiet", "--package", "sluice-cli", "--bin", "sluice", "--"];
    let replay = ["replay", "--config", CONFIGURATION, TRACE];
    shell::run(cargo(program.into_iter().chain(replay))).context("the demonstration went wrong")?;
    println!("The demonstration ended as expected. Change {CONFIGURATION} and run it again.");
    Ok(())
}
