//! The trace time of a run on a real proxy. The clock stops while the trace changes the proxy, so
//! that the duration of a configuration push has no effect.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A wall clock that stops at given trace times until it is resumed.
#[derive(Debug)]
pub(super) struct Clock {
    state: Mutex<State>,
    resumed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The instant of trace time zero; each halt moves it.
    zero: Instant,
    /// The trace times of the remaining halts, in order.
    halts: VecDeque<Duration>,
}

impl State {
    fn now(&self) -> Duration {
        let now = self.zero.elapsed();
        self.halts.front().map_or(now, |halt| now.min(*halt))
    }
}

impl Clock {
    /// Starts the clock. It stops at each of `halts`, which are in order, until
    /// [`resume`](Self::resume).
    pub(super) fn start(halts: impl IntoIterator<Item = Duration>) -> Self {
        let halts = halts.into_iter().collect();
        let state = State { zero: Instant::now(), halts };
        Self { state: Mutex::new(state), resumed: Condvar::new() }
    }

    /// The current trace time.
    pub(super) fn now(&self) -> Duration {
        self.lock().now()
    }

    /// Sleeps until a trace time; returns immediately if it has passed.
    pub(super) fn sleep_until(&self, time: Duration) {
        self.sleep_through_halts(time, Duration::MAX);
    }

    /// [`sleep_until`](Self::sleep_until), but halts from `first_ignored` on do not delay the
    /// return.
    fn sleep_through_halts(&self, time: Duration, first_ignored: Duration) {
        let mut state = self.lock();
        loop {
            let now = state.now();
            if now >= time {
                return;
            }
            state = match state.halts.front() {
                Some(halt) if *halt == now && now >= first_ignored => {
                    drop(state);
                    return std::thread::sleep(time - now);
                }
                Some(halt) if *halt == now => {
                    self.resumed.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
                _ => {
                    drop(state);
                    std::thread::sleep(time - now);
                    self.lock()
                }
            };
        }
    }

    /// Ends the current halt.
    pub(super) fn resume(&self) {
        let mut state = self.lock();
        if let Some(halt) = state.halts.pop_front() {
            state.zero = Instant::now() - halt;
        }
        self.resumed.notify_all();
    }

    /// Ends all halts.
    pub(super) fn release(&self) {
        while !self.lock().halts.is_empty() {
            self.resume();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of the pauses of one exchange. If the machine delays an exchange beyond its end, its
/// pauses ignore later halts. Otherwise, a halt that waits for the end of the exchange would never
/// end.
#[derive(Debug, Clone)]
pub(super) struct ExchangeClock {
    /// The clock of the trace.
    pub(super) clock: Arc<Clock>,
    /// The trace time at which the exchange ends in the simulator.
    pub(super) end: Duration,
}

impl ExchangeClock {
    pub(super) fn sleep(&self, pause: Duration) {
        if !pause.is_zero() {
            self.clock.sleep_through_halts(self.clock.now() + pause, self.end);
        }
    }
}
