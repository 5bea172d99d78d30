//! The native cost of route matching, with few and many routes, and of the whole decision over a
//! request.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluice_filter::stream::decide_request;
use sluice_filter::{Headers, RequestView, Rules, load};
use sluice_test_kit::inputs;

/// The number of requests is the same for each configuration, so that the caches see the same load.
const REQUESTS: usize = 1000;

fn configuration(routes: usize) -> Rules {
    let loaded = load(inputs::configuration(routes).as_bytes());
    let loaded = loaded.expect("the generated configuration is valid");
    assert!(loaded.warnings.is_empty(), "the first warning: {}", loaded.warnings[0]);
    loaded.rules
}

fn headers(request: Vec<(String, String)>) -> Headers {
    request.into_iter().collect()
}

/// Requests spread over all routes. Each is checked to match its own.
fn requests(config: &Rules, routes: usize) -> Vec<Headers> {
    (0..REQUESTS)
        .map(|number| {
            let index = inputs::route_of(number, routes);
            let request = headers(inputs::request(index));
            assert_eq!(config.match_route(&RequestView::new(&request)), Some(index));
            request
        })
        .collect()
}

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matching");
    for routes in [10, 1_000, 10_000] {
        let config = configuration(routes);
        let requests = requests(&config, routes);
        let views: Vec<_> = requests.iter().map(RequestView::new).collect();
        let mut views = views.iter().cycle();
        group.bench_function(BenchmarkId::new("found", routes), |bencher| {
            bencher.iter(|| config.match_route(views.next().expect("a cycle is endless")));
        });

        let stray = headers(inputs::unmatched_request());
        let stray = RequestView::new(&stray);
        assert_eq!(config.match_route(&stray), None);
        group.bench_function(BenchmarkId::new("none", routes), |bencher| {
            bencher.iter(|| config.match_route(black_box(&stray)));
        });
    }
    group.finish();
}

/// From the headers of a request to those that the filter sets.
fn decision(criterion: &mut Criterion) {
    let config = configuration(inputs::ROUTES);
    let requests = requests(&config, inputs::ROUTES);
    let mut next = requests.iter().cycle();
    criterion.bench_function("decision", |bencher| {
        bencher.iter(|| {
            let view = RequestView::new(next.next().expect("a cycle is endless"));
            let decision = decide_request(&config, &view, true);
            black_box((decision.set.len(), decision.route))
        });
    });
}

criterion_group!(benches, matching, decision);
criterion_main!(benches);
