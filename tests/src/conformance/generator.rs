//! Random small traces: what clients, upstreams and operators do in them is ordinary, how it comes together is
//! not.
//!
//! A trace is a few phases. Each begins with a change, of the configuration or of a client's mind, and then
//! has its exchanges; some of them last into the next phase. Pauses are short, because a real clock passes
//! while a trace runs; limits are far from the pauses on either side, because a loaded machine must not decide
//! which of two comes first.

mod attempt;
mod change;
mod configuration;
mod exchange;
mod layout;
mod piece;

use proptest::prelude::*;
use serde_json::{Value, json};

use change::Change;
use exchange::Generated;

pub use configuration::{configurations, start};

/// A trace before its times are known.
#[derive(Debug, Clone)]
struct Story {
    /// The protocols of its connections: whether each is HTTP/2.
    connections: Vec<bool>,
    phases: Vec<Phase>,
}

#[derive(Debug, Clone)]
struct Phase {
    change: Change,
    /// Whether exchanges on one HTTP/2 connection keep clear of each other.
    apart: bool,
    /// The exchanges, each with the connection that it is for.
    exchanges: Vec<(prop::sample::Index, Generated)>,
}

/// A trace of a few connections with a few exchanges each, and what changes around them. It brings its first
/// configuration along, so that it can be kept as it is.
pub fn traces() -> impl Strategy<Value = String> {
    let first = phase(change::configuration());
    let more = prop::collection::vec(phase(change::changes()), 0..3);
    let connections = prop::collection::vec(any::<bool>(), 1..4);
    (connections, first, more).prop_map(|(connections, first, more)| {
        let phases = std::iter::once(first).chain(more).collect();
        layout::lines(&Story { connections, phases })
    })
}

fn phase(change: impl Strategy<Value = Change>) -> impl Strategy<Value = Phase> {
    let exchange = (any::<prop::sample::Index>(), exchange::exchanges());
    (change, any::<bool>(), prop::collection::vec(exchange, 0..5))
        .prop_map(|(change, apart, exchanges)| Phase { change, apart, exchanges })
}

/// An event of a trace.
fn event(at: u64, fields: Value) -> Value {
    let mut event = json!({ "at": format!("{at}ms") });
    for (name, value) in fields.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    event
}
