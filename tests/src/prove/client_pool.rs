//! Starts the clients of a run, stops them, and collects their statistics. No client retries a
//! request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;
use indicatif::ProgressBar;

use super::client_stats::{AllClients, ClientKind, ClientStats, RequestResult};
use super::{http1_client, http2_client};

/// The longest pause of a client before a request.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// One of this many requests is for the slow path.
const SLOW_OF: u64 = 200;

/// The number of clients of each kind, and how they behave.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// HTTP/1.1 clients that check their connection before they write.
    pub checking: usize,
    /// HTTP/1.1 clients that do not.
    pub blind: usize,
    /// HTTP/2 clients.
    pub http2: usize,
    /// How long a client waits between the check and the write. It simulates a check whose result
    /// is one round trip old.
    pub round_trip: Duration,
}

impl Load {
    /// The number of clients.
    pub(super) fn clients(&self) -> usize {
        self.checking + self.blind + self.http2
    }
}

impl Default for Load {
    fn default() -> Self {
        Self { checking: 100, blind: 100, http2: 20, round_trip: Duration::ZERO }
    }
}

/// The state that the clients of a run share.
#[derive(Debug)]
pub(super) struct Run {
    start: Instant,
    over: AtomicBool,
    requests: AtomicU64,
    failed: AtomicU64,
    bar: ProgressBar,
}

impl Run {
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn record(&self, stats: &mut ClientStats, result: RequestResult) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if result.is_err() {
            let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
            self.bar.set_message(format!("{failed} failed"));
        }
        self.bar.inc(1);
        stats.record(result);
    }
}

/// Chooses the pauses and paths of one client. Each client has its own seed, the same in each run.
#[derive(Debug)]
pub(super) struct ThinkTime(Rng);

impl ThinkTime {
    pub(super) fn pause(&mut self) -> Duration {
        LONGEST_PAUSE.mul_f64(self.0.f64())
    }

    pub(super) fn path(&mut self) -> &'static str {
        if self.0.u64(..SLOW_OF) == 0 { "/slow" } else { "/" }
    }
}

/// The running clients.
#[derive(Debug)]
pub struct ClientPool {
    run: Arc<Run>,
    threads: Vec<JoinHandle<Vec<ClientStats>>>,
}

impl ClientPool {
    /// Starts the clients: HTTP/1.1 to the first port, HTTP/2 to the second. The bar counts
    /// requests.
    pub fn start(load: Load, (http1, http2): (u16, u16), bar: &ProgressBar) -> Self {
        let run = Arc::new(Run {
            start: Instant::now(),
            over: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            bar: bar.clone(),
        });
        let kinds = [(ClientKind::Checking, load.checking), (ClientKind::Blind, load.blind)];
        let kinds = kinds.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, count));
        let mut seeds = 0..;
        let mut think_time = || ThinkTime(Rng::with_seed(seeds.next().unwrap_or_default()));
        // One thread for each HTTP/1.1 client: its sleeps and reads do not delay other clients.
        let mut threads: Vec<_> = kinds
            .map(|kind| {
                let (run, think_time) = (run.clone(), think_time());
                let round_trip = load.round_trip;
                thread::spawn(move || {
                    vec![http1_client::Client::new(kind, http1, round_trip, think_time).work(&run)]
                })
            })
            .collect();
        let think_times = (0..load.http2).map(|_| think_time()).collect();
        let shared = run.clone();
        threads.push(thread::spawn(move || http2_client::work(http2, think_times, &shared)));
        Self { run, threads }
    }

    /// The number of requests so far.
    pub fn requests(&self) -> u64 {
        self.run.requests.load(Ordering::Relaxed)
    }

    /// The time since the start.
    pub fn now(&self) -> Duration {
        self.run.now()
    }

    /// Stops each client after its current exchange and collects the statistics.
    ///
    /// # Panics
    /// If a client has panicked.
    pub fn finish(mut self) -> AllClients {
        self.run.over.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads).into_iter();
        let stats = threads.flat_map(|thread| thread.join().expect("a client does not panic"));
        AllClients(stats.collect())
    }
}

impl Drop for ClientPool {
    fn drop(&mut self) {
        self.run.over.store(true, Ordering::Relaxed);
    }
}
