//! `cargo xtask bench --only streams`: measures what the filter costs thousands of event streams in a real Envoy.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use sluice_tests::streams::{Plan, allow, run, serve, steps};

#[derive(Parser)]
#[command(
    about = "Measures event streams through a real Envoy; `cargo xtask bench --only streams` starts it"
)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Measure, write the report, and print its table
    Measure {
        /// How many streams are open on each way
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        streams: u32,
        /// How long each way sends
        #[arg(long, value_parser = humantime::parse_duration)]
        length: Duration,
        /// Events a second on each stream
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        /// The folder for the report
        #[arg(long)]
        report: PathBuf,
    },
    /// Be the upstream: who measures starts this
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
    allow(plan.streams)?;
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} slices, {elapsed} {msg}")?;
    let bar = ProgressBar::new(steps()).with_style(style);
    let figures = run(plan, &std::env::current_exe()?, &bar);
    bar.finish_and_clear();
    println!("{}", figures.table());
    let written = figures.write(report);
    written
        .map_err(|error| format!("cannot write a report to {}: {error}", report.display()).into())
}
