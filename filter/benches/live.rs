//! What a tick costs that looks after 100,000 live streams, and what a piece costs; beside a timing wheel, which is the other way to do it.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sluice_filter::config::Span;
use sluice_filter::live::{Live, Slot, Waits};
use sluice_filter::policy::IdleTimeouts;

const STREAMS: u32 = 100_000;
const TICK_MS: u64 = 83;
const LIMIT_MS: u64 = 60_000;
const ROOM: usize = 32;

fn streams() -> (Live<()>, Vec<Slot>) {
    let mut live = Live::default();
    live.ticks_every(Span::from_millis(TICK_MS), Some(0));
    let limits = IdleTimeouts { read: Some(Span::from_millis(LIMIT_MS)), send: None };
    let slots =
        (0..STREAMS).map(|context| live.begin(context, limits, Waits::ForUpstream, ())).collect();
    (live, slots)
}

/// A wheel of one revolution: streams lie in the slot of the tick at which they may be idle for too long, and are laid into a later one when
/// something came in the meantime. A piece notes its tick, nothing else.
struct Wheel {
    slots: Vec<Vec<u32>>,
    last: Vec<u64>,
    tick: u64,
}

impl Wheel {
    const TICKS: u64 = LIMIT_MS / TICK_MS + 2;

    /// Streams that began within one tick, or evenly over a whole limit.
    fn new(evenly: bool) -> Self {
        let mut wheel = Self {
            slots: (0..=Self::TICKS).map(|_| Vec::new()).collect(),
            last: vec![0; STREAMS as usize],
            tick: 0,
        };
        for stream in 0..STREAMS {
            let slot = if evenly { u64::from(stream) % Self::TICKS + 1 } else { 1 };
            wheel.slots[slot as usize].push(stream);
        }
        wheel
    }

    fn tick(&mut self) -> usize {
        self.tick += 1;
        let turn = Self::TICKS + 1;
        let looked_at = std::mem::take(&mut self.slots[(self.tick % turn) as usize]);
        let mut over = 0;
        for stream in looked_at {
            let end = self.last[stream as usize] + Self::TICKS;
            if end <= self.tick {
                over += 1;
            } else {
                self.slots[(end % turn) as usize].push(stream);
            }
        }
        over
    }
}

fn tick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("live");
    let (mut live, slots) = streams();
    assert_eq!(slots.len(), STREAMS as usize);
    group.bench_function("tick", |bencher| {
        // The same time again and again: no stream is over, each is looked at.
        bencher.iter(|| assert!(black_box(&mut live).tick(Some(0), ROOM).is_empty()));
    });
    let mut slots = slots.into_iter().cycle();
    group.bench_function("piece", |bencher| {
        bencher.iter(|| live.received(slots.next().expect("a cycle has no end"), 1));
    });
    for (name, evenly) in [("wheel, evenly", true), ("wheel, at once", false)] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || {
                    let mut wheel = Wheel::new(evenly);
                    wheel.last.fill(1);
                    wheel
                },
                |wheel| assert_eq!(wheel.tick(), 0),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, tick);
criterion_main!(benches);
