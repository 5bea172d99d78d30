//! `cargo xtask prove-drain`: restarts real proxies under load, with the filter and by other ways,
//! and counts what their clients lose.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use sluice_tests::prove::ways::{Drain, Way};
use sluice_tests::prove::{Plan, blue_green, rolling, scale_out, table};

/// The filter's drains in the proof take this long, the switches twice as long.
const WINDOW: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(name = "cargo xtask prove-drain", about)]
struct Arguments {
    /// Requests under which proxies are restarted by the filter
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,
    /// The same for each other way; 0 leaves them out
    #[arg(long, default_value_t = 100_000)]
    rivals: u64,
    /// Wait this long between the look at a connection and the write, like `10ms`
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    round_trip: Duration,
    /// Switches of the second story
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    switches: u64,
    /// Tell only these stories
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Story>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Story {
    /// Two proxies behind HAProxy, restarted in turn
    Rolling,
    /// One proxy, all connections closed by each switch
    BlueGreen,
    /// A third proxy joins two
    ScaleOut,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan { round_trip: arguments.round_trip, ..Plan::default() };
    let told = |story| arguments.only.is_empty() || arguments.only.contains(&story);
    let mut holds = true;
    if told(Story::Rolling) {
        holds &= restarts(&arguments, plan);
    }
    if told(Story::BlueGreen) {
        let bar = bar(arguments.switches, "blue/green");
        let outcome = blue_green::run(arguments.switches, 2 * WINDOW, plan, &bar);
        bar.finish_and_clear();
        println!("{outcome}");
        holds &= outcome.holds();
    }
    if told(Story::ScaleOut) {
        let outcome = scale_out::run(WINDOW, plan);
        println!("{outcome}");
        holds &= outcome.holds();
    }
    match holds {
        true => println!("\nProved: the filter lost no request."),
        false => println!("\nNot proved: see above."),
    }
    ExitCode::from(u8::from(!holds))
}

/// Restarts by the filter, then by each other way; whether the filter lost nothing.
fn restarts(arguments: &Arguments, plan: Plan) -> bool {
    let rivals = Way::RIVALS.into_iter().filter(|_| arguments.rivals > 0);
    let ours = (Way::Envoy(Drain::Sluice(WINDOW)), arguments.requests);
    let runs = [ours].into_iter().chain(rivals.map(|way| (way, arguments.rivals)));
    let run = |(way, requests): (Way, u64)| {
        let bar = bar(requests, way.name());
        let outcome = rolling::run(way, requests, plan, &bar);
        bar.finish_and_clear();
        println!("{outcome}");
        outcome
    };
    let outcomes: Vec<_> = runs.map(run).collect();
    println!("\n{}\n", table(&outcomes));
    outcomes[0].accounts.failed() == 0
}

fn bar(length: u64, what: &'static str) -> ProgressBar {
    let style = "{prefix} {wide_bar} {human_pos} of {human_len}, {elapsed} {msg}";
    let style = ProgressStyle::with_template(style).expect("a template without a mistake");
    ProgressBar::new(length).with_style(style).with_prefix(what)
}
