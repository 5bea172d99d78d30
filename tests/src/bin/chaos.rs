//! `cargo xtask chaos`: drains real proxies while faults happen, and checks that the drains close
//! what they have to close and nothing else.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sluice_tests::chaos::{Length, Options, Plan, run};

#[derive(Parser)]
#[command(name = "cargo xtask chaos", about)]
struct Arguments {
    /// How long new epochs begin
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Run this many epochs instead
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,
    /// The seed of the plan
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the processes, and fail if their memory or their open files grow
    #[arg(long)]
    soak: bool,
    /// Print the plan of that many epochs instead
    #[arg(long)]
    plan: Option<usize>,
}

fn main() -> ExitCode {
    let Arguments { minutes, epochs, seed, soak, plan } = Arguments::parse();
    println!("seed {seed}");
    if let Some(epochs) = plan {
        let mut plan = Plan::new(seed, soak);
        (0..epochs).for_each(|_| println!("{}", plan.next_epoch()));
        return ExitCode::SUCCESS;
    }
    let time = Length::Time(Duration::from_secs(minutes * 60));
    let length = epochs.map_or(time, Length::Epochs);
    let outcome = run(Options { seed, length, is_soak: soak }, &|line| println!("{line}"));
    println!("\n{outcome}");
    ExitCode::from(u8::from(!outcome.holds()))
}
