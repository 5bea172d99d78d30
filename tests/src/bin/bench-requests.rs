//! `cargo xtask bench --only envoy`: measures what the filter and each of its features cost a
//! request in a real Envoy.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use sluice_tests::requests::{Plan, run, steps};

#[derive(Parser)]
#[command(
    about = "Measures the cost of a request in a real Envoy; started by `cargo xtask bench --only envoy`"
)]
struct Arguments {
    /// The turns of each setup
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The requests of each turn
    #[arg(long, default_value_t = 800, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// The folder for the report
    #[arg(long)]
    report: PathBuf,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let plan = Plan { rounds: arguments.rounds, requests: arguments.requests };
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} turns, {elapsed} {msg}")?;
    let bar = ProgressBar::new(steps(plan)).with_style(style);
    let results = run(plan, &bar);
    bar.finish_and_clear();
    println!("{}", results.table());
    let folder = arguments.report.as_path();
    let written = results.write(folder);
    written
        .map_err(|error| format!("cannot write a report to {}: {error}", folder.display()).into())
}
