//! The measured values, and the figures computed from them.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Plan;
use super::setup::{Memory, Setup};

/// The measurement of one setup in one turn.
pub(super) struct TurnResult {
    pub(super) setup: Setup,
    pub(super) number: u32,
    pub(super) events: u64,
    /// How long the upstream took to send the events.
    pub(super) took: Duration,
    /// In nanoseconds.
    pub(super) delays: Histogram<u64>,
    /// The processor time of the proxy.
    pub(super) cpu: Option<Duration>,
}

/// The result of a run.
pub struct Results {
    pub(super) plan: Plan,
    pub(super) turns: Vec<TurnResult>,
    pub(super) memory: [Option<Memory>; Setup::ALL.len()],
}

impl Results {
    /// All delays of a setup, in nanoseconds.
    pub(super) fn delays(&self, setup: Setup) -> Histogram<u64> {
        let mut delays = self.of(setup).map(|turn| turn.delays.clone());
        let first = delays.next().expect("each setup has turns");
        delays.fold(first, |all, turn| all + turn)
    }

    /// The ratio of the delay with the filter to the delay without it, at this quantile: the median
    /// over the turns.
    pub(super) fn ratio(&self, quantile: f64) -> f64 {
        let pairs = self.of(Setup::Envoy).zip(self.of(Setup::EnvoyWithFilter));
        let mut ratios: Vec<f64> = pairs
            .map(|(without, with)| {
                debug_assert_eq!(without.number, with.number);
                let delay = |turn: &TurnResult| turn.delays.value_at_quantile(quantile) as f64;
                delay(with) / delay(without)
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        let middle = ratios.len() / 2;
        (ratios[middle] + ratios[(ratios.len() - 1) / 2]) / 2.0
    }

    /// The proxy's processor time per event, in microseconds.
    pub(super) fn cpu(&self, setup: Setup) -> Option<f64> {
        let all: Option<Duration> = self.of(setup).map(|turn| turn.cpu).sum();
        Some(all?.as_secs_f64() * 1e6 / self.events(setup) as f64)
    }

    /// The share of one processor that the proxy used while events were sent.
    pub(super) fn load(&self, setup: Setup) -> Option<f64> {
        let all: Option<Duration> = self.of(setup).map(|turn| turn.cpu).sum();
        Some(all?.div_duration_f64(self.took(setup)))
    }

    pub(super) fn memory(&self, setup: Setup) -> Option<Memory> {
        self.memory[setup as usize]
    }

    pub(super) fn events(&self, setup: Setup) -> u64 {
        self.of(setup).map(|turn| turn.events).sum()
    }

    /// The achieved events per second.
    pub(super) fn rate(&self, setup: Setup) -> f64 {
        self.events(setup) as f64 / self.took(setup).as_secs_f64()
    }

    fn took(&self, setup: Setup) -> Duration {
        self.of(setup).map(|turn| turn.took).sum()
    }

    pub(super) fn of(&self, setup: Setup) -> impl Iterator<Item = &TurnResult> {
        self.turns.iter().filter(move |turn| turn.setup == setup)
    }
}
