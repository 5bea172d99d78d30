//! The clients of a run. They start together, never retry, and hand in their accounts at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;
use indicatif::ProgressBar;

use super::account::{Account, Accounts, Kind, Outcome};
use super::{http1, http2};

/// A client waits up to this long before each request.
const THINKS: Duration = Duration::from_millis(200);

/// How often a client asks for what takes long.
const SLOW_OF: u64 = 200;

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// HTTP/1.1 clients that look.
    pub looking: usize,
    /// HTTP/1.1 clients that do not.
    pub blind: usize,
    /// HTTP/2 clients.
    pub http2: usize,
    /// Those who look wait this long before they write, as if what they saw had been a round trip old.
    pub round_trip: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self { looking: 100, blind: 100, http2: 20, round_trip: Duration::ZERO }
    }
}

/// What the clients of a run share.
#[derive(Debug)]
pub(super) struct Shift {
    begin: Instant,
    over: AtomicBool,
    requests: AtomicU64,
    failed: AtomicU64,
    bar: ProgressBar,
}

impl Shift {
    pub(super) fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, account: &mut Account, outcome: Outcome) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if outcome.is_err() {
            let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
            self.bar.set_message(format!("{failed} failed"));
        }
        self.bar.inc(1);
        account.note(outcome);
    }
}

/// What a client does next: its own chance, the same in each run.
#[derive(Debug)]
pub(super) struct Habits(Rng);

impl Habits {
    pub(super) fn pause(&mut self) -> Duration {
        THINKS.mul_f64(self.0.f64())
    }

    pub(super) fn path(&mut self) -> &'static str {
        if self.0.u64(..SLOW_OF) == 0 { "/slow" } else { "/" }
    }
}

/// The clients at work.
#[derive(Debug)]
pub struct Crew {
    shift: Arc<Shift>,
    threads: Vec<JoinHandle<Vec<Account>>>,
}

impl Crew {
    /// Starts the clients: HTTP/1.1 to one port, HTTP/2 to the other. The bar shows what they do.
    pub fn start(plan: Plan, (http1, http2): (u16, u16), bar: &ProgressBar) -> Self {
        let shift = Arc::new(Shift {
            begin: Instant::now(),
            over: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            bar: bar.clone(),
        });
        let kinds = [(Kind::Looking, plan.looking), (Kind::Blind, plan.blind)];
        let kinds = kinds.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, count));
        let mut seeds = 0..;
        let mut habits = || Habits(Rng::with_seed(seeds.next().unwrap_or_default()));
        // A thread for each: its timer and its socket then block nobody else's.
        let mut threads: Vec<_> = kinds
            .map(|kind| {
                let (shift, habits) = (shift.clone(), habits());
                let round_trip = plan.round_trip;
                thread::spawn(move || {
                    vec![http1::Client::new(kind, http1, round_trip, habits).work(&shift)]
                })
            })
            .collect();
        let habits = (0..plan.http2).map(|_| habits()).collect();
        let shared = shift.clone();
        threads.push(thread::spawn(move || http2::work(http2, habits, &shared)));
        Self { shift, threads }
    }

    /// How many requests were made so far.
    pub fn requests(&self) -> u64 {
        self.shift.requests.load(Ordering::Relaxed)
    }

    /// The time since the begin.
    pub fn now(&self) -> Duration {
        self.shift.now()
    }

    /// Lets each client end its exchange; their accounts.
    ///
    /// # Panics
    /// If a client did.
    pub fn finish(mut self) -> Accounts {
        self.shift.over.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads).into_iter();
        let accounts = threads.flat_map(|thread| thread.join().expect("a client does not panic"));
        Accounts(accounts.collect())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shift.over.store(true, Ordering::Relaxed);
    }
}
