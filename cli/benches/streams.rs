//! Measures a replay of 100,000 concurrent streams. Prints one named figure per line.

mod program;

use std::io::Write;

use program::{Cores, replay, write};
use sluice_test_kit::{inputs, trace};

/// Concurrent streams.
const STREAMS: usize = 100_000;

fn main() {
    let configuration = inputs::configuration(inputs::ROUTES);
    let trace = write("streams.jsonl", |out| out.write_all(trace::streams(STREAMS).as_bytes()));
    let configuration = write("streams.json", |out| out.write_all(configuration.as_bytes()));
    let used = replay(&configuration, &trace, Cores::One);
    println!("replay/seconds {:.2}", used.main_thread.as_secs_f64());
    println!("replay/bytes {}", used.memory);
}
