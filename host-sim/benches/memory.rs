//! Whether the filter's linear memory grows with the number of streams that it has seen: a proxy runs for months. Not a measurement
//! of time; prints the bytes after few and after many streams.

#[path = "../../filter/benches/inputs.rs"]
#[expect(dead_code, reason = "not every benchmark asks for every input")]
mod inputs;
mod worker;

use sluice_sim::HeaderMap;
use worker::{Worker, filter, module};

/// When the size is looked at.
const STREAMS: [usize; 2] = [10_000, 10_000_000];

fn main() {
    let configuration = inputs::configuration(inputs::ROUTES);
    let mut worker = Worker::new(&module(&filter()), &configuration);
    let requests: Vec<HeaderMap> =
        (0..inputs::ROUTES).map(|index| inputs::request(index).into_iter().collect()).collect();
    for (number, request) in requests.iter().cycle().take(STREAMS[1]).enumerate() {
        worker.exchange(request);
        if STREAMS.contains(&(number + 1)) {
            assert!(worker.sent(":path").is_some());
            println!("bytes/{} {}", number + 1, worker.vm.memory_bytes());
        }
    }
}
