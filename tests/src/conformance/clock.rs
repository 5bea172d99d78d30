//! The clock of one run on a real proxy: it stands still where the trace changes the proxy itself, so that
//! how long a push takes on this machine decides nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time of a trace on a real machine.
#[derive(Debug)]
pub(super) struct Clock {
    state: Mutex<State>,
    resumed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The moment that counts as the trace's start, put off by each halt.
    zero: Instant,
    /// Where time stops next, in their order.
    halts: VecDeque<Duration>,
}

impl State {
    fn now(&self) -> Duration {
        let now = self.zero.elapsed();
        self.halts.front().map_or(now, |halt| now.min(*halt))
    }
}

impl Clock {
    /// Starts now; time stops at each of `halts`, which are in order, until [`resume`](Self::resume).
    pub(super) fn start(halts: impl IntoIterator<Item = Duration>) -> Self {
        let halts = halts.into_iter().collect();
        let state = State { zero: Instant::now(), halts };
        Self { state: Mutex::new(state), resumed: Condvar::new() }
    }

    /// The time of the trace.
    pub(super) fn now(&self) -> Duration {
        self.lock().now()
    }

    /// Sleeps until `moment`, not at all if it has passed.
    pub(super) fn sleep_until(&self, moment: Duration) {
        self.sleep_but_through(moment, Duration::MAX);
    }

    /// The same, but halts from `last` on are slept through.
    fn sleep_but_through(&self, moment: Duration, last: Duration) {
        let mut state = self.lock();
        loop {
            let now = state.now();
            if now >= moment {
                return;
            }
            state = match state.halts.front() {
                Some(halt) if *halt == now && now >= last => {
                    drop(state);
                    return std::thread::sleep(moment - now);
                }
                Some(halt) if *halt == now => {
                    self.resumed.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
                _ => {
                    drop(state);
                    std::thread::sleep(moment - now);
                    self.lock()
                }
            };
        }
    }

    /// Lets time go on behind the halt where it stands.
    pub(super) fn resume(&self) {
        let mut state = self.lock();
        if let Some(halt) = state.halts.pop_front() {
            state.zero = Instant::now() - halt;
        }
        self.resumed.notify_all();
    }

    /// Lets time go on for good.
    pub(super) fn release(&self) {
        while !self.lock().halts.is_empty() {
            self.resume();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the pauses of one exchange pass: with the trace's time, but for the halts before which the exchange
/// should be over. There the machine has made it late, and those who wait for its end must not wait for ever.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// The trace's time.
    pub(super) clock: Arc<Clock>,
    /// When the exchange should be over.
    pub(super) over: Duration,
}

impl Pace {
    /// Pauses.
    pub(super) fn sleep(&self, span: Duration) {
        if !span.is_zero() {
            self.clock.sleep_but_through(self.clock.now() + span, self.over);
        }
    }
}
