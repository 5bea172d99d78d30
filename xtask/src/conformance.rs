//! Holding simulator and real Envoy against each other: the repository's traces and random ones, or a plan of one's own.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::shell::cargo;
use crate::{envoy, module};

#[derive(Args)]
pub(crate) struct Options {
    /// How many random traces run; 200 where no TRACE is named
    #[arg(long, value_name = "N")]
    cases: Option<u32>,
    /// Which random traces
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run long traces at their full length, too
    #[arg(long)]
    full: bool,
    /// These traces instead of all in tests/traces; a configuration beside one (NAME.config.json) is its own
    traces: Vec<PathBuf>,
}

/// Builds what is needed and runs the plan; the last line says how many traces, how many differences.
pub(crate) fn run(options: &Options) -> Result<()> {
    module::build()?;
    let mut run = test();
    run.env("SLUICE_ENVOY", envoy::bring()?);
    let cases = options.cases.or((!options.traces.is_empty()).then_some(0));
    if let Some(cases) = cases {
        run.env("SLUICE_CONFORMANCE_CASES", cases.to_string());
    }
    if let Some(seed) = options.seed {
        run.env("SLUICE_CONFORMANCE_SEED", seed.to_string());
    }
    if options.full {
        run.env("SLUICE_CONFORMANCE_FULL", "yes");
    }
    if !options.traces.is_empty() {
        // The test runs in a folder of its own.
        let here = env::current_dir().context("no folder to start from")?;
        let traces = options.traces.iter().map(|trace| here.join(trace));
        run.env("SLUICE_CONFORMANCE_TRACES", env::join_paths(traces)?);
    }
    conclude(run)
}

/// Passes on what the test prints; its report is the last line also where cargo has more to say.
fn conclude(mut run: Command) -> Result<()> {
    let mut child = run.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().expect("the output is piped");
    let mut last = String::new();
    for line in BufReader::new(output).lines() {
        last = line.context("cannot read what the test prints")?;
        println!("{last}");
    }
    match child.wait()?.success() {
        true => Ok(()),
        false => bail!("{last}"),
    }
}

/// The whole workspace is named so that cargo uses what it has built.
fn test() -> Command {
    cargo(["test", "--quiet", "--workspace", "--test", "conformance"])
}
