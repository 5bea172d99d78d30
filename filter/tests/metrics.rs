//! The metrics have the names that the documentation promises, and sums arrive whole.

use std::collections::BTreeMap;

use sluice_filter::metrics::{General, Kind, Metrics, PerRoute, Sink};

#[derive(Default)]
struct Sums(BTreeMap<String, i64>);

impl Sink for Sums {
    fn add(&mut self, _: Kind, name: &str, change: i64) {
        *self.0.entry(name.to_owned()).or_default() += change;
    }
}

#[test]
fn the_documentation_names_exactly_the_metrics_that_exist() {
    let rows = include_str!("../../docs/metrics.md").lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        Some((
            cells.next()?.trim().trim_end_matches('`').to_owned(),
            cells.next()?.trim().to_owned(),
        ))
    });
    let general = General::ALL.map(|metric| {
        let (name, kind) = metric.name();
        let kind = if kind == Kind::Gauge { "gauge" } else { "counter" };
        (name.to_owned(), kind.to_owned())
    });
    let routes = PerRoute::ALL.map(|metric| (metric.name("NAME"), "counter".to_owned()));
    assert_eq!(rows.collect::<Vec<_>>(), [general, routes].concat());
}

#[test]
fn sums_of_a_name_are_handed_over_once() {
    let mut metrics = Metrics::default();
    let (a, b) = (metrics.slot("a"), metrics.slot("b"));
    assert_eq!(metrics.slot("a"), a, "the next configuration has the same route");
    metrics.add(General::InFlight, 1);
    metrics.add(General::InFlight, 1);
    metrics.add(General::InFlight, -2);
    metrics.add(General::DrainStale, 1);
    metrics.count(a, PerRoute::Requests);
    metrics.count(a, PerRoute::Requests);
    metrics.count(b, PerRoute::DrainClosed);
    let mut sums = Sums::default();
    metrics.flush(&mut sums);
    let expected = [
        ("sluice.drain.stale", 1),
        ("sluice.route.a.requests", 2),
        ("sluice.route.b.drain_closed", 1),
    ];
    assert_eq!(sums.0, expected.map(|(name, sum)| (name.to_owned(), sum)).into());
    let mut nothing = Sums::default();
    metrics.flush(&mut nothing);
    assert_eq!(nothing.0, BTreeMap::new());
    metrics.count(a, PerRoute::Requests);
    metrics.flush(&mut nothing);
    assert_eq!(nothing.0, [("sluice.route.a.requests".to_owned(), 1)].into());
}
