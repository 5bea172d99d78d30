//! The work of the filter for a request, counted: callbacks, host calls and instructions, and the
//! growth of its memory. The counts repeat exactly. Prints figures by name.

#[expect(dead_code, reason = "not every benchmark uses every method")]
mod worker;

use std::collections::BTreeMap;

use sluice_sim::{Cost, HeaderMap};
use sluice_test_kit::inputs;
use worker::{Worker, filter, module};

/// What the simulator counts for a host call.
const HOST_CALL_INSTRUCTIONS: u64 = 100;

/// The requests before the counted ones: enough to reach every route.
const WARM_UP: usize = 1_000;
const REQUESTS: usize = 100_000;

fn main() {
    let requests = (0..inputs::ROUTES).map(|number| {
        let request = inputs::request(inputs::route_of(number, inputs::ROUTES));
        request.into_iter().collect::<HeaderMap>()
    });
    let requests: Vec<HeaderMap> = requests.collect();
    let mut worker = Worker::new(&module(&filter()), &inputs::configuration(inputs::ROUTES));
    let mut next = requests.iter().cycle();
    let mut exchange = |worker: &mut Worker| {
        worker.exchange(next.next().expect("a cycle has no end"));
    };
    (0..WARM_UP).for_each(|_| exchange(&mut worker));
    let (before, bytes) = (worker.vm.cost(), worker.vm.memory_bytes());
    (0..REQUESTS).for_each(|_| exchange(&mut worker));
    let cost = worker.vm.cost() - before;
    let events = cost_of_events(&mut worker, &requests);
    let per_request = |count: u64| count as f64 / REQUESTS as f64;
    println!("callbacks {:.2}", per_request(cost.callbacks));
    println!("host-calls {:.2}", per_request(cost.host_calls));
    println!("instructions {:.0}", per_request(own(cost)));
    for (event, instructions) in events {
        println!("{event}/instructions {:.0}", instructions as f64 / requests.len() as f64);
    }
    println!("growth/bytes {}", worker.vm.memory_bytes() - bytes);
}

/// The instructions of the module itself.
fn own(cost: Cost) -> u64 {
    cost.instructions - HOST_CALL_INSTRUCTIONS * cost.host_calls
}

/// The instructions of each event of an exchange, for all requests together.
fn cost_of_events(worker: &mut Worker, requests: &[HeaderMap]) -> BTreeMap<&'static str, u64> {
    let mut events = BTreeMap::new();
    for request in requests {
        let mut before = worker.vm.cost();
        worker.exchange_in_steps(request, |event, vm| {
            *events.entry(event).or_default() += own(vm.cost() - before);
            before = vm.cost();
        });
    }
    events
}
