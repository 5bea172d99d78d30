//! The cost of a tick that checks 100,000 streams, and of a chunk; next to a timing wheel, the
//! usual alternative.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sluice_filter::config::Span;
use sluice_filter::idle_timers::{IdleTimers, TimerId, WaitsFor};
use sluice_filter::policy::IdleTimeouts;

const STREAMS: u32 = 100_000;
const TICK_MS: u64 = 83;
const TIMEOUT_MS: u64 = 60_000;
const LIMIT: usize = 32;

fn streams() -> (IdleTimers<()>, Vec<TimerId>) {
    let mut timers = IdleTimers::default();
    timers.set_tick_period(Span::from_millis(TICK_MS), Some(0));
    let timeouts = IdleTimeouts { read: Some(Span::from_millis(TIMEOUT_MS)), send: None };
    let start = |context| timers.start(context, timeouts, WaitsFor::Response, ());
    let ids = (0..STREAMS).map(start).collect();
    (timers, ids)
}

/// A wheel of one revolution. A stream is in the slot of the tick at which its timeout may expire.
/// If a chunk arrived in the meantime, that tick moves it to a later slot. A chunk notes its tick,
/// nothing else.
struct Wheel {
    slots: Vec<Vec<u32>>,
    last: Vec<u64>,
    tick: u64,
}

impl Wheel {
    const TICKS: u64 = TIMEOUT_MS / TICK_MS + 2;

    /// Streams that started within one tick, or evenly over a whole timeout.
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
        let checked = std::mem::take(&mut self.slots[(self.tick % turn) as usize]);
        let mut expired = 0;
        for stream in checked {
            let end = self.last[stream as usize] + Self::TICKS;
            if end <= self.tick {
                expired += 1;
            } else {
                self.slots[(end % turn) as usize].push(stream);
            }
        }
        expired
    }
}

fn tick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("idle timers");
    let (mut timers, ids) = streams();
    assert_eq!(ids.len(), STREAMS as usize);
    group.bench_function("tick", |bencher| {
        // The same time again and again: no stream expires, each is checked.
        bencher.iter(|| assert!(black_box(&mut timers).expire(Some(0), LIMIT).is_empty()));
    });
    let mut ids = ids.into_iter().cycle();
    group.bench_function("chunk", |bencher| {
        bencher.iter(|| timers.response_chunk(ids.next().expect("a cycle has no end"), 1));
    });
    for (name, evenly) in [("wheel, even starts", true), ("wheel, one start", false)] {
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
