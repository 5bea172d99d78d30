//! Runs a trace on the real proxy. Clients and upstreams run on threads of their own. For a
//! configuration push or a client's close, the trace's clock stops until all earlier exchanges are
//! in the state that the simulator predicts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_sim::trace::{Event, EventKind, Exchange, Trace};

use super::client::Connection;
use super::clock::{Clock, ExchangeClock};
use super::observation::{LATE, Observation};
use super::proxy::Proxy;
use super::simulation::Simulated;
use super::upstream::{self, Upstreams};
use crate::TEST_TIMEOUT;

/// The response header with Envoy's number of attempts.
pub(super) const ATTEMPT_COUNT: &str = "x-envoy-attempt-count";

/// The state that all clients of a run share.
pub(super) struct Playback {
    /// The proxy's port.
    pub(super) port: u16,
    /// The clock of the trace.
    pub(super) clock: Arc<Clock>,
    /// The longest wait of a client for a response.
    pub(super) timeout: Duration,
    /// The number that the proxy adds to the epochs of the trace.
    epoch_shift: u64,
    ended: Mutex<BTreeMap<String, Recorded>>,
}

struct Recorded {
    observed: Observation,
    attempt_count: Option<u32>,
}

impl Playback {
    /// Records the end of an exchange.
    pub(super) fn ended(&self, id: &str, mut observed: Observation, attempt_count: Option<&str>) {
        observed.shift_epoch(self.epoch_shift);
        let attempt_count = attempt_count.and_then(|attempt_count| attempt_count.parse().ok());
        self.lock().insert(id.to_owned(), Recorded { observed, attempt_count });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Recorded>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Releases the clock when dropped, so that the clients also end after a panic.
struct ReleaseOnDrop<'a>(&'a Clock);

impl Drop for ReleaseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Runs a trace after the simulator. Returns the observations of the clients, and a line for each
/// configuration that Envoy accepted or rejected against the trace's expectation.
///
/// # Panics
/// If a real Envoy cannot do what the trace describes.
pub(super) fn play(
    number: u32,
    trace: &Trace<'_>,
    simulated: &Simulated,
    proxy: &mut Proxy,
    upstreams: &Upstreams,
) -> (BTreeMap<String, Observation>, Vec<String>) {
    let halts: Vec<&Event<'_>> = trace.events.iter().filter(|event| halts(event)).collect();
    let mut stops: Vec<Duration> = halts.iter().map(|event| event.at).collect();
    stops.dedup();
    let playback = Playback {
        port: proxy.port(),
        clock: Arc::new(Clock::start(stops)),
        timeout: simulated.length() + TEST_TIMEOUT,
        epoch_shift: proxy.epoch_shift(),
        ended: Mutex::default(),
    };
    let exchange_clock =
        |line| ExchangeClock { clock: playback.clock.clone(), end: simulated.ends_at(line) };
    upstreams.load(number, trace, exchange_clock);
    let connections = Connection::of(trace, &event_times(trace), number, exchange_clock);
    let mut wrong_verdicts = Vec::new();
    std::thread::scope(|scope| {
        let _release = ReleaseOnDrop(&playback.clock);
        for connection in &connections {
            scope.spawn(|| connection.run(&playback));
        }
        for (index, event) in halts.iter().enumerate() {
            playback.clock.sleep_until(event.at);
            let ended = becomes_true(|| {
                let recorded = playback.lock();
                simulated.ended_before(event).all(|id| recorded.contains_key(id))
            });
            let active = becomes_true(|| {
                simulated.upstream_active_at(event).all(|line| upstreams.attempts(number, line) > 0)
            });
            if !ended || !active {
                wrong_verdicts
                    .push(format!("line {}: earlier exchanges take too long", event.line));
            }
            match &event.kind {
                EventKind::Configure { configuration, expect } => {
                    let accepted = proxy.push(configuration);
                    if accepted != expect.accepted().unwrap_or(true) {
                        wrong_verdicts
                            .push(format!("accepted: {accepted} in Envoy: {configuration}"));
                    }
                }
                EventKind::Close { connection, .. } => connections[connection.0].close(),
                _ => {}
            }
            if halts.get(index + 1).is_none_or(|next| next.at > event.at) {
                playback.clock.resume();
            }
        }
    });
    let ended = playback.ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    let attempts = |line| upstreams.attempts(number, line);
    (with_attempts(trace, ended, attempts), wrong_verdicts)
}

fn halts(event: &Event<'_>) -> bool {
    matches!(event.kind, EventKind::Configure { .. } | EventKind::Close { .. })
}

/// The time of each event. After a halt at the same time, an event is one nanosecond later.
fn event_times(trace: &Trace<'_>) -> Vec<Duration> {
    let mut halted = None;
    let time = |event: &Event<'_>| {
        if halts(event) {
            halted = Some(event.at);
        }
        match halted == Some(event.at) {
            true => event.at + Duration::from_nanos(1),
            false => event.at,
        }
    };
    trace.events.iter().map(time).collect()
}

/// Waits up to [`LATE`] for a condition.
fn becomes_true(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > LATE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Adds the number of attempts to the observations. The upstream counts them; if it refuses
/// connections, Envoy's response header has the number.
fn with_attempts(
    trace: &Trace<'_>,
    mut ended: BTreeMap<String, Recorded>,
    attempts: impl Fn(u32) -> u32,
) -> BTreeMap<String, Observation> {
    let exchanges = trace.events.iter().filter_map(|event| match &event.kind {
        EventKind::Exchange(exchange) => Some((event.line, &**exchange)),
        _ => None,
    });
    let observed = exchanges.filter_map(|(line, exchange): (u32, &Exchange<'_>)| {
        let Recorded { observed, attempt_count } = ended.remove(&*exchange.id)?;
        let count = match upstream::refusals(exchange) {
            0 => attempts(line),
            _ => attempt_count.unwrap_or(0),
        };
        Some((exchange.id.to_string(), Observation { attempts: Some(count), ..observed }))
    });
    observed.collect()
}
