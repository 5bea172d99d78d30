//! `cargo xtask bench --only streams`: measures the delay that the filter adds to events, with
//! thousands of streams in a real Envoy.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use sluice_tests::streams::{Plan, raise_open_file_limit, run, serve, steps};

#[derive(Parser)]
#[command(
    about = "Measures the delay of events through a real Envoy; started by `cargo xtask bench --only streams`"
)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Measure, write the report, and print its table
    Measure {
        /// The number of streams that are open in each setup
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        streams: u32,
        /// How long each setup sends events
        #[arg(long, value_parser = humantime::parse_duration)]
        length: Duration,
        /// Events per second on each stream
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        /// The folder for the report
        #[arg(long)]
        report: PathBuf,
    },
    /// Run as the upstream; `measure` starts this
    Upstream,
}

fn main() -> ExitCode {
    let outcome: Result<(), Box<dyn std::error::Error>> = match Arguments::parse().role {
        Role::Upstream => serve().map_err(Into::into),
        Role::Measure { streams, length, rate, report } => {
            measure(Plan { streams, length, rate }, &report)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(plan: Plan, report: &Path) -> Result<(), Box<dyn std::error::Error>> {
    raise_open_file_limit(plan.streams)?;
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} turns, {elapsed} {msg}")?;
    let bar = ProgressBar::new(steps()).with_style(style);
    let results = run(plan, &std::env::current_exe()?, &bar);
    bar.finish_and_clear();
    println!("{}", results.table());
    let written = results.write(report);
    written
        .map_err(|error| format!("cannot write a report to {}: {error}", report.display()).into())
}
