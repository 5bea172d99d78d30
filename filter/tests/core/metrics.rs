//! The names of the metrics are those of the documentation, and the host receives every count once.

use sluice_filter::host::MetricKind;
use sluice_filter::metrics::{General, Metrics, PerRoute, failure_name};
use sluice_filter::reason::Reason;

use crate::host::MemoryHost;

#[test]
fn the_documentation_has_exactly_the_metrics_that_exist() {
    let rows = include_str!("../../../docs/metrics.md").lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        Some((
            cells.next()?.trim().trim_end_matches('`').to_owned(),
            cells.next()?.trim().to_owned(),
        ))
    });
    let general = General::ALL.map(|metric| {
        let (name, kind) = metric.name();
        let kind = if kind == MetricKind::Gauge { "gauge" } else { "counter" };
        (name.to_owned(), kind.to_owned())
    });
    let routes = PerRoute::ALL.map(|metric| (metric.name("NAME"), "counter".to_owned()));
    let failure = failure_name(Reason::Overflow, "NAME").replace(Reason::Overflow.word(), "REASON");
    let failures = [(failure, "counter".to_owned())];
    assert_eq!(rows.collect::<Vec<_>>(), [&general[..], &routes, &failures].concat());
}

#[test]
fn each_count_is_reported_once() {
    let mut metrics = Metrics::default();
    let (a, b) = (metrics.slot("a"), metrics.slot("b"));
    assert_eq!(metrics.slot("a"), a, "the next configuration has the same route");
    metrics.add(General::DrainClosed, 1);
    metrics.add(General::DrainClosed, -1);
    metrics.add(General::DrainStale, 1);
    metrics.count(a, PerRoute::Requests);
    metrics.count(a, PerRoute::Requests);
    metrics.count(b, PerRoute::DrainClosed);
    let mut host = MemoryHost::new();
    metrics.flush(&mut host);
    let expected = |requests| {
        let values = [
            ("sluice.drain.stale", 1),
            ("sluice.route.a.requests", requests),
            ("sluice.route.b.drain_closed", 1),
        ];
        let general = General::ALL.map(|metric| metric.name().0.to_owned());
        let routes = ["a", "b"].map(|route| PerRoute::ALL.map(|metric| metric.name(route)));
        let all = general.into_iter().chain(routes.into_iter().flatten());
        let value = |name: &str| values.iter().find(|value| value.0 == name);
        let valued = |name: String| {
            let value = value(&name).map_or(0, |value| value.1);
            (name, value)
        };
        all.map(valued).collect::<Vec<_>>()
    };
    assert_eq!(host.metrics, expected(2), "metrics without counts have the value 0");
    metrics.flush(&mut host);
    assert_eq!(host.metrics, expected(2));
    metrics.count(a, PerRoute::Requests);
    metrics.flush(&mut host);
    assert_eq!(host.metrics, expected(3), "defined once");
    let position = General::ALL.iter().position(|metric| *metric == General::DrainStale);
    assert_eq!(metrics.id(General::DrainStale, &mut host).map(|id| id as usize), position);
}

#[test]
fn failures_of_a_route_are_counted_by_reason() {
    let mut metrics = Metrics::default();
    let slot = metrics.slot("a");
    let mut host = MemoryHost::new();
    for _ in 0..2 {
        metrics.count_failure(slot, Reason::ReadTimeout);
        metrics.count_failure(slot, Reason::Overflow);
        metrics.count_failure(slot, Reason::ReadTimeout);
        metrics.flush(&mut host);
    }
    let ended: Vec<_> = host.metrics.iter().filter(|(name, _)| name.contains("ended")).collect();
    let expected = [("sluice.route.a.ended.read_timeout", 4), ("sluice.route.a.ended.overflow", 2)];
    assert_eq!(
        ended,
        expected.map(|(name, value)| (name.to_owned(), value)).iter().collect::<Vec<_>>()
    );
}
