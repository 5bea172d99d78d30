//! `cargo xtask`: builds, tests and measures Sluice. The README and CI use only these commands.

mod bench;
mod chaos;
mod conformance;
mod debian;
mod demo;
mod deny;
mod envoy;
mod fuzz;
mod guests;
mod install;
mod module;
mod nginx;
mod process;
mod prove_drain;
mod sha256;
mod test;
mod wheel;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and measures Sluice")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the filter to target/sluice_filter.wasm
    Build,
    /// Check formatting, lints, documentation and dependencies, and run all tests, also on Envoy
    Test,
    /// Build the filter and replay a short day of a service against it
    Demo,
    /// Run the benchmarks and print the figures with their goals
    Bench(bench::Options),
    /// Restart real proxies under load and count the requests that clients lose (see --help)
    #[command(disable_help_flag = true)]
    ProveDrain {
        /// Options of the program prove-drain
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Drain real proxies while faults happen, and check every connection (see --help)
    #[command(disable_help_flag = true)]
    Chaos {
        /// Options of the program chaos
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Run traces on the simulator and on a real Envoy, and print the differences
    Conformance(conformance::Options),
    /// Build the guests in other languages to target/guests
    Guests,
    /// Run the fuzz targets with the nightly compiler
    Fuzz(fuzz::Options),
    /// Download Envoy to target/envoy/envoy (SLUICE_ENVOY=/path names another Envoy)
    Envoy,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Build => module::build(),
        Command::Test => test::run(),
        Command::Demo => demo::replay_tour(),
        Command::Bench(options) => bench::run(&options),
        Command::ProveDrain { options } => prove_drain::run(&options),
        Command::Chaos { options } => chaos::run(&options),
        Command::Conformance(options) => conformance::run(&options),
        Command::Guests => guests::build().map(drop),
        Command::Fuzz(options) => fuzz::execute(&options),
        Command::Envoy => envoy::provide().map(|path| println!("Envoy is at {}", path.display())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
