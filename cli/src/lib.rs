//! `sluice`: tests a configuration of the filter before a proxy loads it, and drains the proxies
//! that run the filter.
//!
//! This is a library so that the fuzz targets can call the parsers of recordings. Nothing here is an
//! API for other programs.
//!
//! The program combines two libraries that do not depend on each other: the simulator does not know
//! the filter's rules, and the filter's rules do not know a host.

mod check;
mod configuration;
mod decision;
mod diff;
#[doc(hidden)]
pub mod drain;
mod effects;
mod error;
mod explain;
mod files;
mod filter_module;
mod gzip;
#[doc(hidden)]
pub mod import;
mod module_cache;
mod progress;
mod replay;
mod replay_limits;
mod report;
mod request;
mod request_url;
mod schema;
mod simulation;
mod sorter;
mod style;
mod text;
mod trace_input;
mod verdict;
mod waiting_input;
mod yaml;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::error::CliError;
use self::verdict::Verdict;

/// Test configurations of the Sluice filter without a proxy, and drain running proxies.
#[derive(Debug, Parser)]
#[command(
    name = "sluice",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Exit status: 0 as expected, 1 not as expected, 2 invalid input."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay traces through the filter and compare the results with the traces' expectations
    Replay(replay::Arguments),
    /// Replay traces with two configurations or modules, and list what clients see differently
    Diff(diff::Arguments),
    /// Check whether the filter accepts a configuration, and list what each route does
    Check(check::Arguments),
    /// Show which route a request takes, and why
    Explain(explain::Arguments),
    /// Convert an access log or a browser recording to a trace
    Import(import::Arguments),
    /// Print the JSON Schema of the configuration
    Schema,
    /// Start, show or end a drain of running proxies
    #[command(subcommand)]
    Drain(Box<drain::Command>),
}

/// The program: reads the arguments of the process, and runs the command.
#[doc(hidden)]
pub fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            eprintln!("sluice: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(command: &Command) -> Result<Verdict, CliError> {
    Ok(match command {
        Command::Replay(arguments) => replay::run(arguments)?,
        Command::Diff(arguments) => diff::run(arguments)?,
        Command::Check(arguments) => check::run(arguments)?,
        Command::Explain(arguments) => explain::run(arguments)?,
        Command::Import(arguments) => import::run(arguments)?,
        Command::Schema => schema::run()?,
        Command::Drain(command) => drain::run(command)?,
    })
}
