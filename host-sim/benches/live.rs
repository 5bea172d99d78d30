//! The cost of 100,000 open streams in one VM: the filter's linear memory for each stream, and the
//! time of a tick. Prints figures by name.

#[expect(dead_code, reason = "not every benchmark uses every method")]
mod worker;

use std::time::{Duration, Instant};

use sluice_sim::HeaderMap;
use sluice_test_kit::inputs;
use worker::{Worker, filter, module};

/// The number of streams that are open at the same time.
const STREAMS: usize = 100_000;
/// The number of ticks for the median.
const TICKS: u32 = 240;

fn main() {
    let configuration = inputs::configuration(inputs::ROUTES);
    let mut worker = Worker::new(&module(&filter()), &configuration);
    let before = worker.vm.memory_bytes();
    for number in 0..STREAMS {
        let route = inputs::streaming_route_of(number, inputs::ROUTES);
        let request: HeaderMap = inputs::request(route).into_iter().collect();
        worker.begin(&request);
    }
    let bytes = (worker.vm.memory_bytes() - before) as f64 / STREAMS as f64;
    println!("linear/bytes {bytes:.0}");
    println!("tick/ms {:.3}", median_tick(&mut worker).as_secs_f64() * 1e3);
}

/// The median time of a tick when no other event happens.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn median_tick(worker: &mut Worker) -> Duration {
    let period = worker.tick_period();
    let mut times: Vec<Duration> = (1..=TICKS)
        .map(|number| {
            worker.process.set_now(period * number);
            let begin = Instant::now();
            worker.tick();
            begin.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}
