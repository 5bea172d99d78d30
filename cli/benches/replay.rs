//! Measures replays of many short requests. Prints one named figure per line.

mod program;

use std::io::Write;

use program::{Cores, replay, replay_pipe, write};
use sluice_test_kit::trace::{browser_configuration, write_browser_requests};

/// Requests in the trace whose speed is measured.
const REQUESTS: u64 = 300_000;
/// Requests in the trace whose memory is measured, unless an argument has another number. It comes
/// from a pipe.
const LONG: u64 = 10_000_000;
const ROUNDS: usize = 5;

fn main() {
    let configuration =
        write("config.json", |out| out.write_all(browser_configuration().as_bytes()));
    let short = write("start.jsonl", |out| write_browser_requests(1, out));
    let long = write("requests.jsonl", |out| write_browser_requests(REQUESTS, out));
    // The first run compiles the module, and keeps the machine code.
    replay(&configuration, &short, Cores::One);
    let (mut starts, mut one_core, mut all_cores) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = replay(&configuration, &short, Cores::One);
        starts.push(start.wall.as_secs_f64() * 1e3);
        let one = replay(&configuration, &long, Cores::One);
        one_core.push(rate(one.main_thread.saturating_sub(start.main_thread).as_secs_f64()));
        let start = replay(&configuration, &short, Cores::All);
        let all = replay(&configuration, &long, Cores::All);
        all_cores.push(rate(all.wall.saturating_sub(start.wall).as_secs_f64()));
    }
    println!("start/ms {:.1}", median(starts));
    println!("one-core/second {:.0}", median(one_core));
    println!("two-threads/second {:.0}", median(all_cores));
    let argument = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let long = argument.unwrap_or(LONG);
    let piped = replay_pipe(&configuration, |mut out| write_browser_requests(long, &mut out));
    println!("long/bytes {}", piped.memory);
    println!("long/seconds {:.1}", piped.wall.as_secs_f64());
}

/// Requests per second.
fn rate(seconds: f64) -> f64 {
    (REQUESTS - 1) as f64 / seconds
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
