//! The host library against wasmtime alone: whole exchanges through the same modules, in turns in
//! one process. Prints figures by name.
//!
//! With the names of a module and of a host, and a number, it only makes that many exchanges, so
//! that a profiler can count their instructions: `limit small deadline 100000`.

mod bare;
mod inputs;
mod lending;

use std::time::Instant;

use bare::Bare;
use lending::Worker;
use sluice_sim::Limits;

const FILTERS: [(&str, &str); 2] =
    [("empty", include_str!("empty.wat")), ("small", include_str!("small.wat"))];

/// The number of rounds, and the number of exchanges of each host in a round. A round is short, so
/// that other load on the machine affects all hosts alike.
const ROUNDS: usize = 61;
const EXCHANGES: usize = 20_000;

/// The deadline of a callback, in epochs. Nothing advances the epoch here.
const DEADLINE: u64 = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [filter, host, exchanges] = arguments.as_slice() {
        return run_one(filter, host, exchanges.parse().expect("a number of exchanges"));
    }
    for (name, text) in FILTERS {
        let wasm = wat::parse_str(text).expect("the module is valid");
        let [mut bare, mut deadline, mut instructions] = HOSTS.map(|host| Host::new(host, &wasm));
        let expected = (name == "small").then(|| "seen".to_owned());
        for host in [&mut bare, &mut deadline, &mut instructions] {
            host.exchange();
            assert_eq!(host.marker(), expected);
        }
        let rounds: Vec<[f64; 3]> = (0..ROUNDS)
            .map(|_| [&mut bare, &mut deadline, &mut instructions].map(nanoseconds))
            .collect();
        for (index, host) in HOSTS.into_iter().enumerate() {
            println!("{name}/{host}/ns {:.1}", median(rounds.iter().map(|round| round[index])));
            let ratios = rounds.iter().map(|round| round[0] / round[index]);
            println!("{name}/{host}/ratio {:.3}", median(ratios));
        }
    }
}

const HOSTS: [&str; 3] = ["bare", "deadline", "instructions"];

fn run_one(filter: &str, host: &str, exchanges: usize) {
    let (_, text) = FILTERS.into_iter().find(|(name, _)| *name == filter).expect("a filter");
    let mut host = Host::new(host, &wat::parse_str(text).expect("the module is valid"));
    (0..exchanges).for_each(|_| host.exchange());
}

enum Host {
    Bare(Box<Bare>),
    Ours(Box<Worker>),
}

impl Host {
    fn new(name: &str, wasm: &[u8]) -> Host {
        let limits = match name {
            "bare" => return Host::Bare(Box::new(Bare::new(wasm))),
            "deadline" => Limits::default().with_callback_deadline(DEADLINE),
            _ => Limits::default(),
        };
        Host::Ours(Box::new(Worker::with_limits(wasm, &limits)))
    }

    fn exchange(&mut self) {
        match self {
            Host::Bare(bare) => bare.exchange(),
            Host::Ours(worker) => worker.exchange(),
        }
    }

    fn marker(&self) -> Option<String> {
        match self {
            Host::Bare(bare) => bare.marker(),
            Host::Ours(worker) => worker.marker(),
        }
    }
}

/// The nanoseconds of an exchange.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn nanoseconds(host: &mut Host) -> f64 {
    let begin = Instant::now();
    for _ in 0..EXCHANGES {
        host.exchange();
    }
    begin.elapsed().as_secs_f64() * 1e9 / EXCHANGES as f64
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
