//! What the filter costs streams that never wait: thousands of event streams through an Envoy without it and one with it, and each
//! event's delay from the upstream's write to the client's read.
//!
//! All streams are open all the time, and the upstream sends to one way after the other, in short turns: what else happens on the
//! machine then meets each way alike. Upstream and clients have a process each, because a process may have only so many files.

mod audience;
mod event;
mod feed;
mod figures;
mod files;
mod plot;
mod process;
mod report;
mod source;
mod way;

use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;

use audience::Audience;
pub use event::Event;
pub use feed::{Broken, Feed};
pub use figures::Figures;
use figures::Slice;
pub use files::{TooFew, allow};
use source::Source;
pub use source::serve;
use way::{Road, Way};

/// Each way sends this often. Short turns keep what disturbs some of them out of the median; they are even in number, so that each of
/// two ways is as often the first.
const TURNS: u32 = 120;

/// Before a turn counts, a part of its length of events brings its own way's data into the caches.
const LEAD: u32 = 10;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Open on each way at the same time.
    pub streams: u32,
    /// How long each way sends in all.
    pub length: Duration,
    /// Events a second on each stream.
    pub rate: u32,
}

impl Plan {
    /// Each way's events a second.
    fn events_a_second(&self) -> u64 {
        u64::from(self.streams) * u64::from(self.rate)
    }

    /// How many events a turn of this length has.
    fn events(&self, length: Duration) -> u64 {
        (length.as_secs_f64() * self.events_a_second() as f64).round().max(1.0) as u64
    }
}

/// Measures; `program` is the one that [`serve`]s where its arguments say so.
///
/// # Panics
/// If an event is lost, comes twice or out of order, or a stream ends otherwise than well.
pub fn run(plan: Plan, program: &Path, bar: &ProgressBar) -> Figures {
    let mut source = Source::start(program);
    let audience = Audience::new();
    let roads = Way::ALL.map(|way| {
        bar.set_message(format!("{} streams, {}", plan.streams, way.name()));
        let road = Road::open(way, source.ports[way as usize]);
        audience.tune_in(road.port, plan.streams);
        road
    });
    let turn = plan.length / TURNS;
    let mut slices = Vec::new();
    for number in 0..TURNS {
        for way in Way::in_turn(number) {
            bar.set_message(way.name());
            let (road, slice) = (&roads[way as usize], slices.len() as u32 + 1);
            let lead = plan.events(turn / LEAD);
            source.send(way, Event::UNCOUNTED, lead, turn / LEAD);
            let before = road.usage();
            let events = plan.events(turn);
            let took = source.send(way, slice, events, turn);
            let delays = audience.await_delays(slice, events);
            slices.push(Slice {
                way,
                turn: number,
                events,
                took,
                delays,
                cpu: road.cpu_since(before),
            });
            bar.inc(1);
        }
    }
    let memory = roads.each_ref().map(Road::memory);
    source.end();
    audience.await_end(plan.streams * Way::ALL.len() as u32);
    Figures { plan, slices, memory }
}

/// How many steps the bar of a run has.
pub fn steps() -> u64 {
    u64::from(TURNS) * Way::ALL.len() as u64
}
