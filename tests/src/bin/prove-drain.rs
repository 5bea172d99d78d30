//! `cargo xtask prove-drain`: restarts real proxies under load, with the filter and with other
//! methods, and counts the requests that fail.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use sluice_tests::prove::restart::{Bounds, DrainMethod, RestartMethod};
use sluice_tests::prove::streams::{self, StreamLoad};
use sluice_tests::prove::{Load, blue_green, rolling, scale_out, table};

/// The window of the filter's drains; the blue/green switches use twice this window.
const WINDOW: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(name = "cargo xtask prove-drain", about)]
struct Arguments {
    /// The number of requests during which the filter drains proxies that restart
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,
    /// The number of requests for each other restart method; 0 skips these methods in all scenarios
    #[arg(long, default_value_t = 100_000)]
    rivals: u64,
    /// The time between a client's check of its connection and the write, for example `10ms`
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    round_trip: Duration,
    /// The number of switches in the scenario blue-green
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    switches: u64,
    /// The number of restarts for each method in the scenario streams
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    stream_restarts: u64,
    /// Run only these scenarios
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Two proxies behind HAProxy, restarted in turn
    Rolling,
    /// The same, with streams that are open
    Streams,
    /// One proxy; each switch closes all connections
    BlueGreen,
    /// A third proxy joins two
    ScaleOut,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let load = Load { round_trip: arguments.round_trip, ..Load::default() };
    let selected = |scenario| arguments.only.is_empty() || arguments.only.contains(&scenario);
    let mut holds = true;
    if selected(Scenario::Rolling) {
        holds &= restarts(&arguments, load);
    }
    if selected(Scenario::Streams) {
        holds &= restarts_with_streams(&arguments, load);
    }
    if selected(Scenario::BlueGreen) {
        let bar = bar(arguments.switches, "blue/green");
        let outcome = blue_green::run(arguments.switches, 2 * WINDOW, load, &bar);
        bar.finish_and_clear();
        println!("{outcome}");
        holds &= outcome.holds();
    }
    if selected(Scenario::ScaleOut) {
        let outcome = scale_out::run(WINDOW, load);
        println!("{outcome}");
        holds &= outcome.holds();
    }
    match holds {
        true => println!("\nProved: the filter lost no request."),
        false => println!("\nNot proved: see above."),
    }
    ExitCode::from(u8::from(!holds))
}

/// Restarts proxies with the filter, then with each other method; returns whether the filter lost
/// no request.
fn restarts(arguments: &Arguments, load: Load) -> bool {
    let run = |method: RestartMethod, requests: u64| {
        let bar = bar(requests, method.name());
        let outcome = rolling::run(method, requests, load, &bar);
        bar.finish_and_clear();
        println!("{outcome}");
        outcome
    };
    let filter = DrainMethod::Sluice(WINDOW);
    let mut outcomes = vec![run(RestartMethod::Envoy(filter), arguments.requests)];
    if arguments.rivals > 0 {
        let with_state_drain = RestartMethod::Envoy(DrainMethod::SluiceStateDrain(WINDOW));
        let methods = [with_state_drain].into_iter().chain(RestartMethod::ALTERNATIVES);
        for method in methods.filter(is_supported) {
            outcomes.push(run(method, arguments.rivals));
        }
    }
    println!("\n{}\n", table(&outcomes));
    let mut of_filter = outcomes.iter().filter(|outcome| outcome.method.uses_filter());
    of_filter.all(|outcome| outcome.clients.failed() == 0)
}

/// Restarts proxies while streams are open, with the filter, then with each other method; returns
/// whether the filter ended each stream at a boundary and lost nothing.
fn restarts_with_streams(arguments: &Arguments, load: Load) -> bool {
    let run = |method: RestartMethod| {
        let bar = bar(arguments.stream_restarts, method.name());
        let loads = (load, StreamLoad::default());
        let restarts = arguments.stream_restarts;
        let outcome = streams::run(method, restarts, loads, Bounds::default(), &bar);
        bar.finish_and_clear();
        println!("{outcome}");
        outcome
    };
    let filter = run(RestartMethod::Envoy(DrainMethod::Sluice(WINDOW)));
    let holds = filter.holds();
    let mut outcomes = vec![filter];
    if arguments.rivals > 0 {
        outcomes.extend(RestartMethod::ALTERNATIVES.into_iter().filter(is_supported).map(run));
    }
    println!("\n{}\n", streams::table(&outcomes));
    holds
}

/// Whether the Envoy at hand supports this method; prints a line if it does not.
fn is_supported(method: &RestartMethod) -> bool {
    let reason = method.unsupported();
    if let Some(reason) = &reason {
        println!("{}: skipped, {reason}", method.name());
    }
    reason.is_none()
}

fn bar(length: u64, name: &'static str) -> ProgressBar {
    let style = "{prefix} {wide_bar} {human_pos} of {human_len}, {elapsed} {msg}";
    let style = ProgressStyle::with_template(style).expect("a valid template");
    ProgressBar::new(length).with_style(style).with_prefix(name)
}
