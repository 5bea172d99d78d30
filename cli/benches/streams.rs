//! The time and memory of a replay of 100,000 streams that are all open at once. Prints figures by name.

mod program;

use program::{replay, write};
use sluice_test_kit::{inputs, trace};

/// Streams that are open at once.
const STREAMS: usize = 100_000;

fn main() {
    let configuration = inputs::configuration(inputs::ROUTES);
    let trace = write("streams.jsonl", &trace::streams(STREAMS));
    let (took, peak) = replay(&write("config.json", &configuration), &trace);
    println!("replay/seconds {:.2}", took.as_secs_f64());
    println!("replay/bytes {peak}");
}
