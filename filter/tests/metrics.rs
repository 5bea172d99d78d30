//! The metrics have the names that the documentation promises, and sums arrive whole.

use sluice_filter::metrics::{General, Kind, Metrics, PerRoute, Sink, ended_name};
use sluice_filter::reason::Reason;

/// A host: the metrics it was asked to define, in their order, with their values.
#[derive(Default)]
struct Host(Vec<(String, i64)>);

impl Sink for Host {
    fn define(&mut self, _: Kind, name: &str) -> Option<u32> {
        self.0.push((name.to_owned(), 0));
        u32::try_from(self.0.len() - 1).ok()
    }

    fn add(&mut self, id: u32, change: i64) {
        self.0[id as usize].1 += change;
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
    let ended = ended_name(Reason::Overflow, "NAME").replace(Reason::Overflow.word(), "REASON");
    let ended = [(ended, "counter".to_owned())];
    assert_eq!(rows.collect::<Vec<_>>(), [&general[..], &routes, &ended].concat());
}

#[test]
fn what_was_counted_is_handed_over_once() {
    let mut metrics = Metrics::default();
    let (a, b) = (metrics.slot("a"), metrics.slot("b"));
    assert_eq!(metrics.slot("a"), a, "the next configuration has the same route");
    metrics.add(General::DrainClosed, 1);
    metrics.add(General::DrainClosed, -1);
    metrics.add(General::DrainStale, 1);
    metrics.count(a, PerRoute::Requests);
    metrics.count(a, PerRoute::Requests);
    metrics.count(b, PerRoute::DrainClosed);
    let mut host = Host::default();
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
    assert_eq!(host.0, expected(2), "those that counted nothing are there with 0");
    metrics.flush(&mut host);
    assert_eq!(host.0, expected(2));
    metrics.count(a, PerRoute::Requests);
    metrics.flush(&mut host);
    assert_eq!(host.0, expected(3), "defined once");
    let place = General::ALL.iter().position(|metric| *metric == General::DrainStale);
    assert_eq!(metrics.id(General::DrainStale, &mut host).map(|id| id as usize), place);
}

#[test]
fn a_reason_is_counted_from_its_first_exchange_on() {
    let mut metrics = Metrics::default();
    let slot = metrics.slot("a");
    let mut host = Host::default();
    for _ in 0..2 {
        metrics.ended(slot, Reason::ReadTimeout);
        metrics.ended(slot, Reason::Overflow);
        metrics.ended(slot, Reason::ReadTimeout);
        metrics.flush(&mut host);
    }
    let ended: Vec<_> = host.0.iter().filter(|(name, _)| name.contains("ended")).collect();
    let expected = [("sluice.route.a.ended.read_timeout", 4), ("sluice.route.a.ended.overflow", 2)];
    assert_eq!(
        ended,
        expected.map(|(name, value)| (name.to_owned(), value)).iter().collect::<Vec<_>>()
    );
}
