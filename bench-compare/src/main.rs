//! How fast two hosts run the same filters. See README.md.

mod ours;
mod theirs;

use std::time::Instant;

const FILTERS: [(&str, &str); 2] = [
    ("empty", include_str!("../../host-sim/benches/empty.wat")),
    ("small", include_str!("../../host-sim/benches/small.wat")),
];

/// The header that the small filter sets.
const MARK: &str = "x-small";

const REQUEST: [(&str, &str); 10] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "www.example.com"),
    (":path", "/search?q=sluice"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cookie", "session=8d1f3c5e7a9b0d2f4a6c8e0b1d3f5a7c; theme=dark"),
    ("x-forwarded-for", "203.0.113.7"),
];

const RESPONSE: [(&str, &str); 3] =
    [(":status", "200"), ("content-type", "text/html"), ("content-length", "512")];

const BODY: [u8; 512] = [b'x'; 512];

/// Turns, and exchanges of each host in a turn: long enough for the clock, short enough for the neighbours' noise to fall on both.
const ROUNDS: usize = 41;
const EXCHANGES: usize = 50_000;

fn main() {
    for (name, text) in FILTERS {
        let wasm = wat::parse_str(text).expect("the module is written correctly");
        let mut ours = ours::Worker::new(&wasm);
        let mut theirs = theirs::Worker::new(&wasm);
        ours.exchange();
        theirs.exchange();
        let expected = (name == "small").then(|| "seen".to_owned());
        assert_eq!(ours.mark(), expected);
        assert_eq!(theirs.mark(), expected);

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

/// Exchanges a second of both in one turn.
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
