//! Generates small random traces: ordinary actions of clients, upstreams and operators, in unusual
//! combinations.
//!
//! A trace has a few phases. Each phase begins with a change (a configuration push, or a client
//! that closes its connection) and continues with exchanges, some of which last into the next
//! phase. Pauses are short, because a trace runs in real time. Timeouts differ from all pauses by a
//! wide margin, so that the load of the machine does not decide which of two expires first.

mod attempt;
mod change;
mod chunk;
mod configuration;
mod exchange;
mod timeline;

use proptest::prelude::*;
use serde_json::{Value, json};

use change::Change;
use exchange::GeneratedExchange;

pub use configuration::{configurations, start};

/// A trace without times.
#[derive(Debug, Clone)]
struct TracePlan {
    /// For each connection, whether it uses HTTP/2.
    connections: Vec<bool>,
    phases: Vec<Phase>,
}

#[derive(Debug, Clone)]
struct Phase {
    change: Change,
    /// Whether exchanges on one HTTP/2 connection do not overlap.
    apart: bool,
    /// The exchanges, each with its connection.
    exchanges: Vec<(prop::sample::Index, GeneratedExchange)>,
}

/// Traces with a few connections, a few exchanges on each, and changes in between. A trace contains
/// its first configuration, so that a file with the trace is complete.
pub fn traces() -> impl Strategy<Value = String> {
    let first = phase(change::configuration());
    let more = prop::collection::vec(phase(change::changes()), 0..3);
    let connections = prop::collection::vec(any::<bool>(), 1..4);
    (connections, first, more).prop_map(|(connections, first, more)| {
        let phases = std::iter::once(first).chain(more).collect();
        timeline::lines(&TracePlan { connections, phases })
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
