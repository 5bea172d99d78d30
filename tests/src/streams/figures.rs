//! What was measured, and what follows from it.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Plan;
use super::way::{Memory, Way};

/// One way's part of one turn.
pub(super) struct Slice {
    pub(super) way: Way,
    pub(super) turn: u32,
    pub(super) events: u64,
    /// How long the upstream took to send them.
    pub(super) took: Duration,
    /// Nanoseconds.
    pub(super) delays: Histogram<u64>,
    /// Processor time of the proxy.
    pub(super) cpu: Option<Duration>,
}

/// The outcome of a run.
pub struct Figures {
    pub(super) plan: Plan,
    pub(super) slices: Vec<Slice>,
    pub(super) memory: [Option<Memory>; Way::ALL.len()],
}

impl Figures {
    /// All delays of a way, in nanoseconds.
    pub(super) fn delays(&self, way: Way) -> Histogram<u64> {
        let mut slices = self.of(way).map(|slice| slice.delays.clone());
        let first = slices.next().expect("each way has its turn");
        slices.fold(first, |all, slice| all + slice)
    }

    /// How many times as long as without the filter an event takes with it, at this quantile: the median of the turns' ratios.
    pub(super) fn ratio(&self, quantile: f64) -> f64 {
        let pairs = self.of(Way::Without).zip(self.of(Way::With));
        let mut ratios: Vec<f64> = pairs
            .map(|(without, with)| {
                debug_assert_eq!(without.turn, with.turn);
                let delay = |slice: &Slice| slice.delays.value_at_quantile(quantile) as f64;
                delay(with) / delay(without)
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        let middle = ratios.len() / 2;
        (ratios[middle] + ratios[(ratios.len() - 1) / 2]) / 2.0
    }

    /// Microseconds of the proxy's processor time for each event.
    pub(super) fn cpu(&self, way: Way) -> Option<f64> {
        let all: Option<Duration> = self.of(way).map(|slice| slice.cpu).sum();
        Some(all?.as_secs_f64() * 1e6 / self.events(way) as f64)
    }

    /// The share of one processor that the proxy took while it had events.
    pub(super) fn load(&self, way: Way) -> Option<f64> {
        let all: Option<Duration> = self.of(way).map(|slice| slice.cpu).sum();
        Some(all?.div_duration_f64(self.took(way)))
    }

    pub(super) fn memory(&self, way: Way) -> Option<Memory> {
        self.memory[way as usize]
    }

    pub(super) fn events(&self, way: Way) -> u64 {
        self.of(way).map(|slice| slice.events).sum()
    }

    /// Events a second, as they were really sent.
    pub(super) fn pace(&self, way: Way) -> f64 {
        self.events(way) as f64 / self.took(way).as_secs_f64()
    }

    fn took(&self, way: Way) -> Duration {
        self.of(way).map(|slice| slice.took).sum()
    }

    pub(super) fn of(&self, way: Way) -> impl Iterator<Item = &Slice> {
        self.slices.iter().filter(move |slice| slice.way == way)
    }
}
