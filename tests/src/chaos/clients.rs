//! The clients of a run. None of them retries a request, and none checks a connection before it
//! uses it again.

mod http1;
mod http2;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;

use super::journal::Journal;
use super::plan::PROXIES;

/// The timeout of each read. A proxy may be suspended for more than ten seconds.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The header with which the drain bridge of a run marks the responses that close a connection for
/// the filter.
pub(super) const CLOSED_BY: &str = "x-closed-by";

/// The header in which Envoy states why it replied itself.
pub(super) const DETAILS: &str = "x-details";

/// The number of clients of each kind at each proxy.
#[derive(Debug, Clone, Copy)]
struct Load {
    kind: Kind,
    clients: usize,
}

const LOADS: [Load; 4] = [
    Load { kind: Kind::Calm, clients: 8 },
    Load { kind: Kind::Busy, clients: 5 },
    Load { kind: Kind::Pipelining, clients: 3 },
    Load { kind: Kind::Uploading, clients: 3 },
];

/// HTTP/2 clients at each proxy.
const HTTP2_CLIENTS: usize = 3;

/// How a client uses HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Waits for seconds between requests.
    Calm,
    /// Sends the next request soon after a response.
    Busy,
    /// Writes several requests before it reads the first response.
    Pipelining,
    /// Sends bodies in parts.
    Uploading,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Busy => "busy",
            Self::Pipelining => "pipelining",
            Self::Uploading => "uploading",
        }
    }
}

/// The state that all clients share.
#[derive(Debug)]
struct Shared {
    journal: Arc<Journal>,
    is_over: AtomicBool,
    is_quick: AtomicBool,
}

impl Shared {
    fn is_quick(&self) -> bool {
        self.is_quick.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// The running clients.
#[derive(Debug)]
pub(super) struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts the clients of each proxy.
    pub(super) fn start(ports: [u16; PROXIES], seed: u64, journal: &Arc<Journal>) -> Self {
        let shared = Arc::new(Shared {
            journal: journal.clone(),
            is_over: false.into(),
            is_quick: false.into(),
        });
        let mut rng = Rng::with_seed(seed);
        let mut threads = Vec::new();
        let mut http2_clients = Vec::new();
        for (proxy, port) in ports.into_iter().enumerate() {
            for Load { kind, clients } in LOADS {
                for _ in 0..clients {
                    let client = http1::Client::new(kind, proxy, port, rng.fork(), &shared);
                    threads.push(thread::spawn(move || client.work()));
                }
            }
            http2_clients.extend((0..HTTP2_CLIENTS).map(|_| (proxy, port, rng.fork())));
        }
        let for_http2 = shared.clone();
        threads.push(thread::spawn(move || http2::work(http2_clients, &for_http2)));
        Self { shared, threads }
    }

    /// Makes the clients send only short requests, or all kinds.
    pub(super) fn set_quick(&self, is_quick: bool) {
        self.shared.is_quick.store(is_quick, Ordering::Relaxed);
    }

    /// Stops each client after its current exchange.
    ///
    /// # Panics
    /// If a client has panicked.
    pub(super) fn finish(mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().expect("a client does not panic");
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// A random time between two numbers of milliseconds.
fn between(rng: &mut Rng, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(rng.u64(from_ms..=to_ms))
}
