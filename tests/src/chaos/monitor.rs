//! Reads the number of in-flight requests of each proxy all the time, in every place where the
//! filter reports it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use super::journal::{Failure, Journal};
use super::probe::{self, Connection};
use super::proxy::Proxy;
use super::timeline::{Place, Sample, Timeline};

/// The pause between two reads at a proxy.
const PAUSE: Duration = Duration::from_millis(100);

const GAUGE: &str = "wasmcustom.sluice.in_flight";

/// The name of these clients in reports.
const NAME: &str = "monitor";

/// The connections to each proxy, which most likely belong to several workers.
const CONNECTIONS: usize = 3;

/// The running threads.
#[derive(Debug)]
pub(super) struct Monitor {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Monitor {
    pub(super) fn start(
        proxies: &[Arc<Proxy>],
        journal: &Arc<Journal>,
        timeline: &Arc<Timeline>,
    ) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = |proxy: &Arc<Proxy>| {
            let mut observer = Observer {
                proxy: proxy.clone(),
                journal: journal.clone(),
                timeline: timeline.clone(),
                connection: None,
            };
            let is_over = is_over.clone();
            thread::spawn(move || {
                for place in Place::ALL.into_iter().cycle() {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    observer.sample(place);
                    sleep(PAUSE);
                }
            })
        };
        let threads = proxies.iter().flat_map(|proxy| [proxy; CONNECTIONS]).map(thread).collect();
        Self { is_over, threads }
    }

    /// Stops after the current reads.
    ///
    /// # Panics
    /// If a thread has panicked.
    pub(super) fn finish(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().expect("the monitor does not panic");
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Reads the counts of one proxy. It keeps its connection: each new one would show the filter a new
/// connection id, which could hide that a VM does not know the ids of the clients' connections.
struct Observer {
    proxy: Arc<Proxy>,
    journal: Arc<Journal>,
    timeline: Arc<Timeline>,
    connection: Option<(Connection, Duration)>,
}

impl Observer {
    fn sample(&mut self, place: Place) {
        let asked = self.journal.now();
        let proxy = self.proxy.index;
        let read = match place {
            Place::Metric => match probe::metric(self.proxy.admin(), GAUGE) {
                Some(in_flight) => Ok((in_flight, asked)),
                // Envoy has no admin port for a moment of a hot restart.
                None => return,
            },
            Place::Health | Place::Admin => self.read(place),
        };
        match read {
            Ok((in_flight, opened)) => {
                let answered = self.journal.now();
                let sample = Sample { proxy, place, opened, asked, answered, in_flight };
                self.timeline.record_sample(sample);
            }
            Err(failure) => self.journal.failed_without_record(NAME, proxy, asked, failure),
        }
    }

    /// The count, and when the connection was opened. A reply of Envoy itself is a failed request.
    fn read(&mut self, place: Place) -> Result<(u64, Duration), Failure> {
        let (mut connection, opened) = match self.connection.take() {
            Some(open) => open,
            None => {
                let connection = Connection::open(self.proxy.port);
                (connection.map_err(|_| Failure::NoConnection)?, self.journal.now())
            }
        };
        let reply = match place {
            Place::Admin => connection.admin_state(),
            Place::Health | Place::Metric => connection.health(),
        };
        let reply = reply.map_err(|_| Failure::NoResponse)?;
        let state = reply.state().ok_or(Failure::Status(reply.status, reply.details))?;
        if !reply.closes {
            self.connection = Some((connection, opened));
        }
        Ok((state.in_flight, opened))
    }
}
