//! Ticks: which plugins of a worker tick, and when.

use std::time::Duration;

use crate::replay::error::ReplayError;
use crate::replay::schedule::{Entry, Wake};

use super::Engine;

impl Engine<'_> {
    /// Runs the tick of this entry, unless the entry is obsolete or the worker stalls.
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
            self.schedule_tick(worker, index, until);
            return Ok(());
        }
        if self.tick_period(worker, index).is_none() {
            // The last stream of the plugin has ended.
            self.workers[worker].tickers.remove(index);
            return Ok(());
        }
        self.advance_clock(at);
        let state = &mut self.workers[worker];
        if let Some(vm) = state.vm.as_mut() {
            vm.tick(state.tickers[index].plugin);
        }
        let period = self.tick_period(worker, index);
        self.workers[worker].tickers[index].period = period;
        if let Some(period) = period {
            self.schedule_tick(worker, index, self.now + period);
        }
        self.settle(worker)
    }

    /// Schedules the first tick of each plugin that has just been configured.
    ///
    /// In a proxy, workers receive a configuration one after the other. The seed therefore decides
    /// when the next tick is, within one period.
    pub(super) fn schedule_first_ticks(&mut self, worker: usize) {
        self.schedule_changed(worker, true);
    }

    /// Schedules the next tick of each plugin that has changed its period in a callback, one period
    /// from now.
    pub(super) fn schedule_ticks(&mut self, worker: usize) {
        self.schedule_changed(worker, false);
    }

    fn schedule_changed(&mut self, worker: usize, at_random: bool) {
        for index in 0..self.workers[worker].tickers.len() {
            let period = self.tick_period(worker, index);
            if period == self.workers[worker].tickers[index].period {
                continue;
            }
            self.workers[worker].tickers[index].period = period;
            if let Some(period) = period {
                let first = match at_random {
                    true => Duration::from_nanos(self.rng.u64(1..=period.as_nanos().max(1) as u64)),
                    false => period,
                };
                self.schedule_tick(worker, index, self.now + first);
            }
        }
        let state = &mut self.workers[worker];
        let in_force = state.plugin;
        state.tickers.retain(|ticker| ticker.period.is_some() || Some(ticker.plugin) == in_force);
    }

    fn schedule_tick(&mut self, worker: usize, index: usize, at: Duration) {
        let next = self.schedule.push(at, Wake::Tick(worker as u32));
        self.workers[worker].tickers[index].next = next;
    }

    /// The tick period that the plugin has set; `None` if it does not tick or has ended.
    fn tick_period(&self, worker: usize, index: usize) -> Option<Duration> {
        let state = &self.workers[worker];
        state.vm.as_ref()?.tick_period(state.tickers[index].plugin)
    }
}
