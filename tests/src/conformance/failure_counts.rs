//! Counts failed streams by route and reason: in the simulator from the filter's decisions, in
//! Envoy from the filter's counters.

use std::collections::BTreeMap;
use std::time::Instant;

use sluice_filter::config::NO_ROUTE;
use sluice_sim::replay::Report;

use super::observation::LATE;
use super::proxy::Proxy;

/// The number of failed streams by route and reason.
pub(super) type FailureCounts = BTreeMap<(String, String), u64>;

/// The failed streams of a replay.
pub(super) fn in_report(report: &Report) -> FailureCounts {
    let mut counts = FailureCounts::new();
    for exchange in &report.exchanges {
        if let Some(reason) = &exchange.reason {
            let route = exchange.route.as_deref().filter(|route| !route.is_empty());
            let route = route.unwrap_or(NO_ROUTE).to_owned();
            *counts.entry((route, reason.to_string())).or_default() += 1;
        }
    }
    counts
}

/// The failed streams of all traces that one Envoy has run. An unexpected failure may be counted so
/// late that it appears as a difference of the next trace.
#[derive(Default)]
pub(super) struct FailureTotals(FailureCounts);

impl FailureTotals {
    pub(super) fn counts(&self) -> &FailureCounts {
        &self.0
    }

    /// Adds the failures that a trace causes in the simulator, and returns the differences from
    /// Envoy's counters. Waits up to [`LATE`] for equal counts.
    pub(super) fn differences(&mut self, expected: &FailureCounts, proxy: &Proxy) -> Vec<String> {
        for (key, count) in expected {
            *self.0.entry(key.clone()).or_default() += count;
        }
        let start = Instant::now();
        let real = loop {
            let real = proxy.failures();
            if real == self.0 || start.elapsed() > LATE {
                break real;
            }
            std::thread::sleep(LATE / 50);
        };
        let simulated = std::mem::replace(&mut self.0, real);
        let all = simulated.keys().chain(self.0.keys().filter(|key| !simulated.contains_key(*key)));
        let count = |counts: &FailureCounts, key| counts.get(key).copied().unwrap_or(0);
        all.filter_map(|key| {
            let (simulated, real) = (count(&simulated, key), count(&self.0, key));
            let (route, reason) = key;
            (simulated != real)
                .then(|| format!("ended.{reason} of {route}: simulator {simulated}, Envoy {real}"))
        })
        .collect()
    }
}
