//! `cargo xtask`: everything the README and CI run, so that a fresh clone needs no other command.

mod bench;
mod conformance;
mod debian;
mod demo;
mod envoy;
mod module;
mod prove;
mod shell;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and shows Sluice")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the filter for wasm32 to target/sluice_filter.wasm
    Build,
    /// Build, check the formatting and the lints, run every test, the ones on a real Envoy included
    Test,
    /// Build, then replay a short day of a service against the filter
    Demo,
    /// Measure what there is to measure, and print it beside the goals
    Bench(bench::Options),
    /// Restart real Envoys under load and count what their clients lose (--help tells the options)
    #[command(disable_help_flag = true)]
    ProveDrain {
        /// Handed to the program that does it
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Run traces on the simulator and on a real Envoy, and say in what they differ
    Conformance(conformance::Options),
    /// Bring a real Envoy to target/envoy/envoy (SLUICE_ENVOY=/path uses another)
    Envoy,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Build => module::build(),
        Command::Test => test::run(),
        Command::Demo => demo::run(),
        Command::Bench(options) => bench::run(&options),
        Command::ProveDrain { options } => prove::run(&options),
        Command::Conformance(options) => conformance::run(&options),
        Command::Envoy => envoy::bring().map(|path| println!("Envoy is at {}", path.display())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
