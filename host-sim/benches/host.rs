//! The cost of the host: whole exchanges through Sluice and through handwritten filters, and the
//! time to load a filter.

#[expect(dead_code, reason = "not every benchmark uses every method")]
mod worker;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluice_sim::{HeaderMap, Process, Profile, Vm, VmOptions};
use sluice_test_kit::inputs;
use worker::{Worker, filter, module};

/// Assembles a handwritten module.
fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the module is valid")
}

fn requests() -> Vec<HeaderMap> {
    let request = |number| inputs::request(inputs::route_of(number, inputs::ROUTES));
    (0..inputs::ROUTES).map(|number| request(number).into_iter().collect()).collect()
}

fn exchange(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange");
    group.throughput(Throughput::Elements(1));
    let requests = requests();

    let mut empty = Worker::new(&module(&assemble(include_str!("empty.wat"))), "");
    empty.exchange(&requests[0]);
    assert_eq!(empty.sent("x-small"), None);
    group.bench_function("empty", |bencher| bencher.iter(|| empty.exchange(&requests[0])));

    let mut small = Worker::new(&module(&assemble(include_str!("small.wat"))), "");
    small.exchange(&requests[0]);
    assert_eq!(small.sent("x-small"), Some("seen"));
    group.bench_function("small", |bencher| bencher.iter(|| small.exchange(&requests[0])));

    let mut sluice = Worker::new(&module(&filter()), &inputs::configuration(inputs::ROUTES));
    for (number, request) in requests.iter().enumerate() {
        sluice.exchange(request);
        let limit = inputs::timeout_ms(inputs::route_of(number, inputs::ROUTES));
        assert_eq!(sluice.sent("x-envoy-upstream-rq-timeout-ms"), Some(limit));
    }
    let mut next = requests.iter().cycle();
    group.bench_function("sluice", |bencher| {
        bencher.iter(|| sluice.exchange(next.next().expect("a cycle has no end")));
    });
    group.finish();
}

fn loading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("module");
    let wasm = filter();
    group.sample_size(10).bench_function("compile", |bencher| bencher.iter(|| module(&wasm)));

    let module = module(&wasm);
    let process = Process::new(Profile::Envoy, 0);
    group.sample_size(50).bench_function("instantiate", |bencher| {
        bencher.iter_with_large_drop(|| Vm::new(&module, &process, VmOptions::default()));
    });

    let configuration = inputs::configuration(inputs::ROUTES);
    group.bench_function("configure", |bencher| {
        bencher.iter_with_large_drop(|| Worker::new(&module, &configuration));
    });
    group.finish();
}

criterion_group!(benches, exchange, loading);
criterion_main!(benches);
