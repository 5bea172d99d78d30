//! Measures the delay that the filter adds to events: thousands of event streams through an Envoy
//! without the filter and through one with it, from the upstream's write to the client's read.
//!
//! All streams stay open. The upstream sends to one setup after the other, in short turns, so that
//! other load on the machine affects each setup equally. Upstream and clients are separate
//! processes, because the number of open files of a process is limited.

mod clients;
mod event;
mod event_reader;
mod open_files;
mod plot;
mod process_usage;
mod report;
mod results;
mod setup;
mod upstream_process;

use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;

use clients::StreamClients;
pub use event::Event;
pub use event_reader::{EventReader, StreamError};
pub use open_files::{LimitTooLow, raise_open_file_limit};
pub use results::Results;
use results::TurnResult;
use setup::{RunningSetup, Setup};
use upstream_process::UpstreamProcess;
pub use upstream_process::serve;

/// The turns of each setup. Short turns keep disturbances of some of them out of the median; the
/// number is even, so that each of two compared setups is equally often the first.
const TURNS: u32 = 120;

/// Before each measured turn, events of one tenth of its length load the caches with the setup's
/// data.
const WARM_UP: u32 = 10;

/// The parameters of a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The number of streams that are open in each setup.
    pub streams: u32,
    /// How long each setup sends events, in total.
    pub length: Duration,
    /// Events per second on each stream.
    pub rate: u32,
}

impl Plan {
    /// The events per second of each setup.
    fn events_per_second(&self) -> u64 {
        u64::from(self.streams) * u64::from(self.rate)
    }

    /// The number of events in a turn of this length.
    fn events(&self, length: Duration) -> u64 {
        (length.as_secs_f64() * self.events_per_second() as f64).round().max(1.0) as u64
    }
}

/// Runs the measurement. `program` is an executable that calls [`serve`] when its argument is
/// `upstream`.
///
/// # Panics
/// If an event is lost, duplicated or reordered, or a stream ends early.
pub fn run(plan: Plan, program: &Path, bar: &ProgressBar) -> Results {
    let mut upstream = UpstreamProcess::start(program);
    let clients = StreamClients::new();
    let setups = Setup::ALL.map(|setup| {
        bar.set_message(format!("{} streams, {}", plan.streams, setup.name()));
        let running = RunningSetup::start(setup, upstream.ports[setup as usize]);
        clients.open_streams(running.port, plan.streams);
        running
    });
    let length = plan.length / TURNS;
    let mut turns = Vec::new();
    for number in 0..TURNS {
        for setup in Setup::in_turn(number) {
            bar.set_message(setup.name());
            let (running, id) = (&setups[setup as usize], turns.len() as u32 + 1);
            let warm_up = plan.events(length / WARM_UP);
            upstream.send(setup, Event::WARM_UP, warm_up, length / WARM_UP);
            let before = running.usage();
            let events = plan.events(length);
            let took = upstream.send(setup, id, events, length);
            let delays = clients.wait_for_delays(id, events);
            let cpu = running.cpu_since(before);
            turns.push(TurnResult { setup, number, events, took, delays, cpu });
            bar.inc(1);
        }
    }
    let memory = setups.each_ref().map(RunningSetup::memory);
    upstream.end_streams();
    clients.wait_for_end(plan.streams * Setup::ALL.len() as u32);
    Results { plan, turns, memory }
}

/// The length of the progress bar of a run.
pub fn steps() -> u64 {
    u64::from(TURNS) * Setup::ALL.len() as u64
}
