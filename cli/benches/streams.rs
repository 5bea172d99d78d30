//! Measures a replay of 100,000 concurrent streams. Prints one named figure per line.

mod program;

use program::{replay, write};
use sluice_test_kit::{inputs, trace};

/// Concurrent streams.
const STREAMS: usize = 100_000;

fn main() {
    let configuration = inputs::configuration(inputs::ROUTES);
    let trace = write("streams.jsonl", &trace::streams(STREAMS));
    let (time, peak) = replay(&write("config.json", &configuration), &trace);
    println!("replay/seconds {:.2}", time.as_secs_f64());
    println!("replay/bytes {peak}");
}
