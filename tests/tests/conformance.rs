//! Compares the simulator with a real Envoy: on the traces in `tests/traces/`, which include a
//! trace for each difference found so far, on random traces, and with random guests. `cargo xtask
//! conformance` sets the variables below.

use std::env;
use std::process::ExitCode;

use sluice_tests::compatibility::{self, Record};
use sluice_tests::conformance::runner::{CASES, Plan, SEED, run};
use sluice_tests::random_guest;

/// The default number of random guests.
const GUESTS: u32 = 400;

fn main() -> ExitCode {
    if is_filtered_out() {
        return ExitCode::SUCCESS;
    }
    let traces = env::var_os("SLUICE_CONFORMANCE_TRACES");
    let seed = number("SLUICE_CONFORMANCE_SEED").unwrap_or(SEED);
    let guests = number("SLUICE_CONFORMANCE_GUESTS").map_or(GUESTS, |guests| guests as u32);
    let guests = random_guest::report(seed, guests);
    let tally = run(&Plan {
        traces: traces.iter().flat_map(env::split_paths).collect(),
        cases: number("SLUICE_CONFORMANCE_CASES").map_or(CASES, |cases| cases as u32),
        seed,
        full: env::var_os("SLUICE_CONFORMANCE_FULL").is_some(),
    });
    let failures: Vec<_> =
        tally.failures.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    println!("failed streams in Envoy: {}", failures.join(", "));
    println!(
        "conformance: {} traces, {} differences; {} random guests, {} differences",
        tally.traces, tally.differences, guests.cases, guests.differences
    );
    match tally.differences + guests.differences {
        0 if env::var_os("SLUICE_CONFORMANCE_RECORD").is_some() => {
            compatibility::write(Record {
                random_guests: guests.cases,
                traces: tally.traces,
                host_calls: guests.host_calls,
                callbacks: guests.callbacks,
                settings: tally.settings,
                ..Record::default()
            });
            ExitCode::SUCCESS
        }
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Whether the arguments of `cargo test` select other tests or only list the tests.
fn is_filtered_out() -> bool {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut filters = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    let filtered = filters.peek().is_some() && !filters.any(|name| "conformance".contains(&**name));
    filtered || arguments.iter().any(|argument| argument == "--list")
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: expected a number, found {text:?}")))
}
