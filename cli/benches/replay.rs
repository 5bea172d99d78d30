//! Measures a replay of many short requests. Prints one named figure per line.

mod program;

use program::{replay, write};
use sluice_test_kit::{inputs, trace};

/// Requests in the measured trace.
const REQUESTS: usize = 100_000;
/// Requests in a trace that takes only as long as the start of the program.
const START: usize = 1;
const ROUNDS: usize = 5;

fn main() {
    let configuration = write("config.json", &inputs::configuration(inputs::ROUTES));
    let short = write("start.jsonl", &trace::requests(START));
    let long = write("requests.jsonl", &trace::requests(REQUESTS));
    let (mut rates, mut memory) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let (start, _) = replay(&configuration, &short);
        let (whole, peak) = replay(&configuration, &long);
        rates.push((REQUESTS - START) as f64 / (whole - start).as_secs_f64());
        memory = peak.max(memory);
    }
    println!("requests/second {:.0}", median(rates));
    println!("memory/bytes {memory}");
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
