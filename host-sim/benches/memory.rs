//! Whether the filter's linear memory grows with the number of streams that it has seen: a proxy runs for months. Not a measurement
//! of time; it prints the number of streams and the bytes after them, first after few and then after many.

#[path = "../../filter/benches/inputs.rs"]
#[expect(dead_code, reason = "not every benchmark asks for every input")]
mod inputs;
mod worker;

use sluice_sim::HeaderMap;
use worker::{Worker, filter, module};

const FEW: usize = 10_000;
const MANY: usize = 10_000_000;

fn main() {
    let configuration = inputs::configuration(inputs::ROUTES);
    let mut worker = Worker::new(&module(&filter()), &configuration);
    let requests: Vec<HeaderMap> =
        (0..inputs::ROUTES).map(|index| inputs::request(index).into_iter().collect()).collect();
    for (number, request) in requests.iter().cycle().take(MANY).enumerate() {
        worker.exchange(request);
        if [FEW, MANY].contains(&(number + 1)) {
            assert!(worker.sent(":path").is_some());
            println!("{} {}", number + 1, worker.vm.memory_bytes());
        }
    }
}
