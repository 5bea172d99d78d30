//! How many streams ended badly, and why: in the simulator by what the filter told of each exchange, in Envoy by the filter's counters.

use std::collections::BTreeMap;
use std::time::Instant;

use sluice_filter::config::NO_ROUTE;
use sluice_sim::replay::Report;

use super::proxy::Proxy;
use super::seen::LATE;

/// How many, by route and reason.
pub(super) type Ended = BTreeMap<(String, String), u64>;

/// What the filter told the simulator.
pub(super) fn in_report(report: &Report<'_>) -> Ended {
    let mut ended = Ended::new();
    for exchange in &report.exchanges {
        if let Some(reason) = &exchange.reason {
            let route = exchange.route.as_deref().filter(|route| !route.is_empty());
            let route = route.unwrap_or(NO_ROUTE).to_owned();
            *ended.entry((route, reason.to_string())).or_default() += 1;
        }
    }
    ended
}

/// All that is known to have ended in an Envoy. Its counters count all traces that it has played, and a count that nobody expected may come
/// so late that it is found with the next trace.
#[derive(Default)]
pub(super) struct Account(Ended);

impl Account {
    /// How many, by route and reason.
    pub(super) fn ended(&self) -> &Ended {
        &self.0
    }

    /// Adds what a trace should lead to, and says in what Envoy's counters differ once it has had its time.
    pub(super) fn differences(&mut self, expected: &Ended, proxy: &Proxy) -> Vec<String> {
        for (which, count) in expected {
            *self.0.entry(which.clone()).or_default() += count;
        }
        let begin = Instant::now();
        let real = loop {
            let real = proxy.ended();
            if real == self.0 || begin.elapsed() > LATE {
                break real;
            }
            std::thread::sleep(LATE / 50);
        };
        let simulated = std::mem::replace(&mut self.0, real);
        let all =
            simulated.keys().chain(self.0.keys().filter(|which| !simulated.contains_key(*which)));
        let count = |ended: &Ended, which| ended.get(which).copied().unwrap_or(0);
        all.filter_map(|which| {
            let (simulated, real) = (count(&simulated, which), count(&self.0, which));
            let (route, reason) = which;
            (simulated != real)
                .then(|| format!("ended.{reason} of {route}: simulator {simulated}, Envoy {real}"))
        })
        .collect()
    }
}
