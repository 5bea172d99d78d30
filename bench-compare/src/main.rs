//! Compares the speed of two hosts with the same filters. See README.md.

#[path = "../../host-sim/benches/inputs.rs"]
mod inputs;
#[path = "../../host-sim/benches/lending.rs"]
mod ours;
mod theirs;

use std::time::Instant;

use sluice_sim::Limits;

const FILTERS: [(&str, &str); 2] = [
    ("empty", include_str!("../../host-sim/benches/empty.wat")),
    ("small", include_str!("../../host-sim/benches/small.wat")),
];

/// The number of rounds, and the number of exchanges of each host in a round. A round is long
/// enough for the resolution of the clock. It is short enough that other load on the machine
/// affects both hosts alike.
const ROUNDS: usize = 41;
const EXCHANGES: usize = 50_000;

fn main() {
    for (name, text) in FILTERS {
        let wasm = wat::parse_str(text).expect("the module is valid");
        let mut ours = ours::Worker::with_limits(&wasm, &Limits::default());
        let mut theirs = theirs::Worker::new(&wasm);
        ours.exchange();
        theirs.exchange();
        let expected = (name == "small").then(|| "seen".to_owned());
        assert_eq!(ours.marker(), expected);
        assert_eq!(theirs.marker(), expected);

        let mut rounds: Vec<Round> = (0..ROUNDS)
            .map(|_| Round { ours: rate(|| ours.exchange()), theirs: rate(|| theirs.exchange()) })
            .collect();
        rounds.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
        let median = &rounds[ROUNDS / 2];
        println!("{name}/sluice {:.0}", median.ours);
        println!("{name}/proxy-wasm-host {:.0}", median.theirs);
        println!("{name}/ratio {:.3}", median.ratio());
    }
}

/// The exchanges per second of both hosts in one round.
struct Round {
    ours: f64,
    theirs: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.ours / self.theirs
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn rate(mut exchange: impl FnMut()) -> f64 {
    let begin = Instant::now();
    for _ in 0..EXCHANGES {
        exchange();
    }
    EXCHANGES as f64 / begin.elapsed().as_secs_f64()
}
