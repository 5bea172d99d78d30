//! `cargo xtask conformance`: runs the same traces on the simulator and on a real Envoy. A test
//! target does the work; this file passes it the options as environment variables.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::process::cargo;
use crate::{envoy, guests, module};

#[derive(Args)]
pub(crate) struct Options {
    /// Number of random traces [default: 200, or 0 if traces are named]
    #[arg(long, value_name = "N")]
    cases: Option<u32>,
    /// Number of random guests: programs of random host calls [default: 400, or 0 if traces are
    /// named]
    #[arg(long, value_name = "N")]
    guests: Option<u32>,
    /// Seed of the random traces and guests
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run with each supported version of Envoy, and write docs/compatibility.md
    #[arg(long, conflicts_with_all = ["traces", "full"])]
    record: bool,
    /// Run long traces at their full length
    #[arg(long)]
    full: bool,
    /// Traces to run instead of those in tests/traces; NAME.config.json is the configuration of
    /// NAME.jsonl
    traces: Vec<PathBuf>,
}

/// Builds the module and runs the traces. The last line has the number of traces and differences.
pub(crate) fn run(options: &Options) -> Result<()> {
    module::build()?;
    let are_guests_ok = !options.traces.is_empty() || guests_agree()?;
    // With `--workspace`, cargo reuses the dependencies that the tests have compiled.
    let mut test = cargo("test", ["--quiet", "--workspace", "--test", "conformance"]);
    test.env("SLUICE_ENVOY", envoy::provide()?);
    let cases = options.cases.or((!options.traces.is_empty()).then_some(0));
    if let Some(cases) = cases {
        test.env("SLUICE_CONFORMANCE_CASES", cases.to_string());
    }
    let guests = options.guests.or((!options.traces.is_empty()).then_some(0));
    if let Some(guests) = guests {
        test.env("SLUICE_CONFORMANCE_GUESTS", guests.to_string());
    }
    if let Some(seed) = options.seed {
        test.env("SLUICE_CONFORMANCE_SEED", seed.to_string());
    }
    if options.full {
        test.env("SLUICE_CONFORMANCE_FULL", "yes");
    }
    if !options.traces.is_empty() {
        // The test runs in another folder.
        let here = env::current_dir().context("cannot read the current folder")?;
        let traces = options.traces.iter().map(|trace| here.join(trace));
        test.env("SLUICE_CONFORMANCE_TRACES", env::join_paths(traces)?);
    }
    if options.record {
        test.env("SLUICE_CONFORMANCE_RECORD", "yes");
        for envoy in envoy::all()? {
            report(test.env("SLUICE_ENVOY", envoy))?;
        }
    } else {
        report(&mut test)?;
    }
    ensure!(are_guests_ok, "guests differ from their table; the lines are above");
    Ok(())
}

/// Runs the guests in other languages on both hosts.
fn guests_agree() -> Result<bool> {
    let left_out = guests::build()?;
    let names: Vec<_> = left_out.iter().map(|left_out| left_out.guest).collect();
    let mut test = cargo("test", ["--quiet", "--workspace", "--test", "envoy", "--", "guests::"]);
    test.env("SLUICE_ENVOY", envoy::provide()?).env("SLUICE_GUESTS_LEFT_OUT", names.join(","));
    Ok(test.status().context("cannot start cargo")?.success())
}

/// Prints the output of the test. Its last line is the report, and also the error if the test
/// fails.
fn report(test: &mut Command) -> Result<()> {
    let mut child = test.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().expect("the output is piped");
    let mut last = String::new();
    for line in BufReader::new(output).lines() {
        last = line.context("cannot read the output of the test")?;
        println!("{last}");
    }
    match child.wait()?.success() {
        true => Ok(()),
        false => bail!("{last}"),
    }
}
