//! `sluice`: tests a configuration of the filter before a proxy sees it, and drains the proxies that run it.
//!
//! The program joins the simulator, which knows nothing of Sluice's rules, with the filter's core, which
//! knows nothing of hosts.

mod check;
mod drain;
mod explain;
mod files;
mod import;
mod replay;
mod style;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Replays request traces against a proxy-wasm filter in virtual time, explains Sluice configurations,
/// and drains proxies.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, max_term_width = 100, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replays traces and compares what clients and upstreams see with what the traces expect
    Replay(replay::Arguments),
    /// Says whether the filter accepts a configuration, and what its routes do
    Check(check::Arguments),
    /// Says which route a request takes, why not the ones before it, and what happens to it
    Explain(explain::Arguments),
    /// Turns what a proxy or a browser recorded into a trace
    Import(import::Arguments),
    /// Prints the JSON Schema of the configuration
    Schema,
    /// Starts, shows or ends the drain of running proxies
    #[command(subcommand)]
    Drain(Box<drain::Command>),
}

/// How a command ended, apart from bad input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Everything that was expected held.
    Held,
    /// Something did not.
    Failed,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Drain(command) => drain::run(&command),
        Command::Schema => files::print(|out| {
            serde_json::to_writer_pretty(&mut *out, &sluice_filter::config::schema())?;
            writeln!(out)
        })
        .map(|()| Verdict::Held),
    };
    match result {
        Ok(Verdict::Held) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::from(1),
        Err(message) => {
            eprintln!("sluice: {message}");
            ExitCode::from(2)
        }
    }
}
