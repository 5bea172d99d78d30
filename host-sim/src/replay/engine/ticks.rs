//! Ticks: which plugins of a worker get them, and when.

use std::time::Duration;

use super::super::ReplayError;
use super::super::schedule::{Entry, Wake};
use super::Engine;

impl Engine<'_> {
    /// The tick of this entry, unless it was overtaken.
    pub(super) fn tick(
        &mut self,
        worker: usize,
        entry: Entry,
        at: Duration,
    ) -> Result<(), ReplayError> {
        let state = &mut self.workers[worker];
        let due = state.tickers.iter().position(|ticker| ticker.next == entry);
        let Some(index) = due else { return Ok(()) };
        if at < state.stalled_until {
            let until = state.stalled_until;
            self.tick_at(worker, index, until);
            return Ok(());
        }
        if self.period(worker, index).is_none() {
            // Its last stream has ended.
            self.workers[worker].tickers.remove(index);
            return Ok(());
        }
        self.advance(at);
        let state = &mut self.workers[worker];
        if let Some(vm) = state.vm.as_mut() {
            vm.tick(state.tickers[index].plugin);
        }
        let period = self.period(worker, index);
        self.workers[worker].tickers[index].period = period;
        if let Some(period) = period {
            self.tick_at(worker, index, self.now + period);
        }
        self.settle(worker)
    }

    /// Schedules the first tick of each plugin that has begun to tick, or ticks otherwise than before. Workers get a
    /// configuration one after the other in a proxy, so where within its first period a plugin ticks is left to the seed.
    pub(super) fn schedule_ticks(&mut self, worker: usize) {
        for index in 0..self.workers[worker].tickers.len() {
            let period = self.period(worker, index);
            if period == self.workers[worker].tickers[index].period {
                continue;
            }
            self.workers[worker].tickers[index].period = period;
            if let Some(period) = period {
                let first = self.rng.u64(1..=period.as_nanos().max(1) as u64);
                self.tick_at(worker, index, self.now + Duration::from_nanos(first));
            }
        }
        let state = &mut self.workers[worker];
        let in_force = state.plugin;
        state.tickers.retain(|ticker| ticker.period.is_some() || Some(ticker.plugin) == in_force);
    }

    fn tick_at(&mut self, worker: usize, index: usize, at: Duration) {
        let next = self.schedule.push(at, Wake::Tick(worker as u32));
        self.workers[worker].tickers[index].next = next;
    }

    /// How often a plugin wants to tick; `None` if it has ended.
    fn period(&self, worker: usize, index: usize) -> Option<Duration> {
        let state = &self.workers[worker];
        state.vm.as_ref()?.tick_period(state.tickers[index].plugin)
    }
}
