//! A trace on the real proxy: clients and upstreams run by themselves; what changes the proxy, or takes a
//! client away, happens while the trace's clock stands still and everything that comes before it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_sim::trace::{Event, EventKind, Exchange, Trace};

use super::client::Connection;
use super::clock::{Clock, Pace};
use super::proxy::Proxy;
use super::seen::{LATE, Seen};
use super::simulation::Simulated;
use super::upstream::{self, Upstreams};
use crate::PATIENCE;

/// The response header in which the proxy says how often it tried.
pub(super) const TRIES: &str = "x-envoy-attempt-count";

/// One run of a trace, as its clients know it.
pub(super) struct Run {
    /// Where the proxy listens.
    pub(super) port: u16,
    /// The trace's time.
    pub(super) clock: Arc<Clock>,
    /// How long a client waits before it takes the proxy for broken.
    pub(super) patience: Duration,
    /// How far the epochs of the trace are shifted in the proxy.
    epochs: u64,
    ended: Mutex<BTreeMap<String, Ended>>,
}

struct Ended {
    seen: Seen,
    tries: Option<u32>,
}

impl Run {
    /// An exchange is over for its client.
    pub(super) fn ended(&self, id: &str, mut seen: Seen, tries: Option<&str>) {
        seen.shift_epoch(self.epochs);
        let tries = tries.and_then(|tries| tries.parse().ok());
        self.lock().insert(id.to_owned(), Ended { seen, tries });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the clients go, also when the one who plays the trace fails.
struct LetGo<'a>(&'a Clock);

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Plays a trace that the simulator has played before; what the real clients saw, and which
/// configurations were judged otherwise than the trace says.
///
/// # Panics
/// If the trace does what no client of a real Envoy can do here.
pub(super) fn perform(
    number: u32,
    trace: &Trace<'_>,
    simulated: &Simulated,
    proxy: &mut Proxy,
    upstreams: &Upstreams,
) -> (BTreeMap<String, Seen>, Vec<String>) {
    let halts: Vec<&Event<'_>> = trace.events.iter().filter(|event| halts(event)).collect();
    let mut stops: Vec<Duration> = halts.iter().map(|event| event.at).collect();
    stops.dedup();
    let run = Run {
        port: proxy.port(),
        clock: Arc::new(Clock::start(stops)),
        patience: simulated.length() + PATIENCE,
        epochs: proxy.epochs(),
        ended: Mutex::default(),
    };
    let pace = |line| Pace { clock: run.clock.clone(), over: simulated.over_at(line) };
    upstreams.load(number, trace, pace);
    let connections = Connection::of(trace, &moments(trace), number, pace);
    let mut misjudged = Vec::new();
    std::thread::scope(|scope| {
        let _let_go = LetGo(&run.clock);
        for connection in &connections {
            scope.spawn(|| connection.play(&run));
        }
        for (index, event) in halts.iter().enumerate() {
            run.clock.sleep_until(event.at);
            let over = comes_true(|| {
                let ended = run.lock();
                simulated.over_before(event).all(|id| ended.contains_key(id))
            });
            let asked = comes_true(|| {
                simulated.asking_at(event).all(|line| upstreams.attempts(number, line) > 0)
            });
            if !over || !asked {
                misjudged.push(format!("line {}: what comes before takes too long", event.line));
            }
            match &event.kind {
                EventKind::Configure { configuration, expect } => {
                    let accepted = proxy.push(configuration);
                    if accepted != expect.accepted {
                        misjudged.push(format!("accepted: {accepted} in Envoy: {configuration}"));
                    }
                }
                EventKind::Close { connection, .. } => connections[connection.0].close(),
                _ => {}
            }
            if halts.get(index + 1).is_none_or(|next| next.at > event.at) {
                run.clock.resume();
            }
        }
    });
    let ended = run.ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    let asked = |line| upstreams.attempts(number, line);
    (with_attempts(trace, ended, asked), misjudged)
}

fn halts(event: &Event<'_>) -> bool {
    matches!(event.kind, EventKind::Configure { .. } | EventKind::Close { .. })
}

/// When each event happens: behind a halt of the same time, a trifle later.
fn moments(trace: &Trace<'_>) -> Vec<Duration> {
    let mut halted = None;
    let moment = |event: &Event<'_>| {
        if halts(event) {
            halted = Some(event.at);
        }
        match halted == Some(event.at) {
            true => event.at + Duration::from_nanos(1),
            false => event.at,
        }
    };
    trace.events.iter().map(moment).collect()
}

/// Waits for a condition, but not much longer than it should take.
fn comes_true(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > LATE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// What was seen, with how often the upstream was asked: an upstream that refuses connections does not
/// know, there the proxy tells.
fn with_attempts(
    trace: &Trace<'_>,
    mut ended: BTreeMap<String, Ended>,
    asked: impl Fn(u32) -> u32,
) -> BTreeMap<String, Seen> {
    let exchanges = trace.events.iter().filter_map(|event| match &event.kind {
        EventKind::Exchange(exchange) => Some((event.line, &**exchange)),
        _ => None,
    });
    let seen = exchanges.filter_map(|(line, exchange): (u32, &Exchange<'_>)| {
        let Ended { seen, tries } = ended.remove(&*exchange.id)?;
        let attempts = match upstream::refusals(exchange) {
            0 => asked(line),
            _ => tries.unwrap_or(0),
        };
        Some((exchange.id.to_string(), Seen { attempts: Some(attempts), ..seen }))
    });
    seen.collect()
}
