//! `sluice`: tests a configuration of the filter before a proxy loads it, and drains the proxies
//! that run the filter.
//!
//! This is a library so that the fuzz targets can call the parsers of recordings. Nothing here is an
//! API for other programs.
//!
//! The program combines two libraries that do not depend on each other: the simulator does not know
//! the filter's rules, and the filter's rules do not know a host.

#[doc(hidden)]
pub mod check;
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

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

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
    #[command(flatten)]
    color: colorchoice_clap::Color,
    #[command(subcommand)]
    command: Command,
}

const REPLAY_STATUS: &str = "Exit status: 0 if every expectation is met, 1 if one failed or the filter crashed, 2 for \
     invalid input or a replay that checked nothing.";

/// Of commands that only print.
const PRINT_STATUS: &str = "Exit status: 0 if the result is complete, 2 for invalid input.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay traces through the filter and compare the results with the traces' expectations
    #[command(after_help = REPLAY_STATUS)]
    Replay(replay::Arguments),
    /// Replay traces with two configurations or modules, and list what clients see differently
    Diff(diff::Arguments),
    /// Check whether the filter accepts a configuration, and list what each route does
    Check(check::Arguments),
    /// Show which route a request takes, and why
    #[command(after_help = PRINT_STATUS)]
    Explain(explain::Arguments),
    /// Convert an access log or a browser recording to a trace
    #[command(after_help = PRINT_STATUS)]
    Import(import::Arguments),
    /// Print the JSON Schema of the configuration
    #[command(after_help = PRINT_STATUS)]
    Schema,
    /// Print a script that completes commands and options in a shell
    ///
    /// For bash: `sluice completions bash > ~/.local/share/bash-completion/completions/sluice`
    #[command(after_help = PRINT_STATUS)]
    Completions {
        /// Shell that runs the script
        shell: Shell,
    },
    /// Start, show or end a drain of running proxies
    #[command(subcommand)]
    Drain(Box<drain::Command>),
}

/// The program: reads the arguments of the process, and runs the command.
#[doc(hidden)]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.color.write_global();
    match run(&arguments.command) {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            eprintln!("sluice: {error}");
            ExitCode::from(2)
        }
    }
}

fn completions(shell: Shell) -> Result<Verdict, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "sluice", &mut script);
    files::print(|out| out.write_all(&script))?;
    Ok(Verdict::Passed)
}

fn run(command: &Command) -> Result<Verdict, CliError> {
    Ok(match command {
        Command::Replay(arguments) => replay::run(arguments)?,
        Command::Diff(arguments) => diff::run(arguments)?,
        Command::Check(arguments) => check::run(arguments)?,
        Command::Explain(arguments) => explain::run(arguments)?,
        Command::Import(arguments) => import::run(arguments)?,
        Command::Schema => schema::run()?,
        Command::Completions { shell } => completions(*shell)?,
        Command::Drain(command) => drain::run(command)?,
    })
}
