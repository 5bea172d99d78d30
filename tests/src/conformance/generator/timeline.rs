//! Assigns times and connections to the exchanges of a trace.

use serde_json::{Value, json};

use super::change::Change;
use super::exchange::GeneratedExchange;
use super::{Phase, TracePlan, event};

/// Milliseconds from the change that begins a phase to its first exchange.
const FIRST: u64 = 10;

/// Milliseconds between the exchanges of a phase.
const STEP: u64 = 30;

/// Milliseconds between exchanges of an HTTP/2 connection that must not overlap.
const APART: u64 = 150;

/// How many milliseconds an exchange lasts into the next phase. A drain that begins with the phase
/// has reached every stream by then.
const BEYOND: u64 = 500;

/// Milliseconds until Envoy closes an HTTP/1.1 connection after a cut response.
const DELAYED_CLOSE: u64 = 1000;

/// The state of a connection.
struct Connection {
    http2: bool,
    name: String,
    opened: bool,
    /// How often the client has closed it.
    closes: usize,
    /// The latest end of its exchanges.
    free: u64,
}

/// The drain in force.
#[derive(Default)]
struct Drain {
    epoch: u64,
    closes: bool,
}

impl Drain {
    fn update(&mut self, change: &Change) {
        if let Change::Configure(configuration) = change
            && let Some(state) = configuration.pointer("/drain/state")
            && let Some(epoch) = state["epoch"].as_u64().filter(|epoch| *epoch > self.epoch)
        {
            *self = Self { epoch, closes: state["mode"] != "off" };
        }
    }
}

/// The properties of a phase that affect its exchanges.
#[derive(Clone, Copy)]
struct PhaseContext {
    number: usize,
    is_last: bool,
    draining: bool,
}

/// The lines of the trace.
pub(super) fn lines(plan: &TracePlan) -> String {
    let mut connections: Vec<Connection> = plan
        .connections
        .iter()
        .enumerate()
        .map(|(number, http2)| Connection {
            http2: *http2,
            name: format!("c{number}"),
            opened: false,
            closes: 0,
            free: 0,
        })
        .collect();
    let mut events = Vec::new();
    let mut now = 0;
    let mut drain = Drain::default();
    for (number, phase) in plan.phases.iter().enumerate() {
        events.extend(change(now, &phase.change, &mut connections));
        drain.update(&phase.change);
        let context = PhaseContext {
            number,
            is_last: number + 1 == plan.phases.len(),
            draining: drain.closes,
        };
        now = exchanges(now, phase, context, &mut connections, &mut events);
    }
    events.sort_by_key(|(at, _)| *at);
    let setup = json!({ "at": "0s", "proxy": { "upgrades": ["websocket"] } });
    let events = events.into_iter().map(|(_, event)| event);
    std::iter::once(setup).chain(events).map(|event| format!("{event}\n")).collect()
}

fn change(now: u64, change: &Change, connections: &mut [Connection]) -> Option<(u64, Value)> {
    let fields = match change {
        Change::Nothing => return None,
        Change::Configure(configuration) => json!({ "configure": configuration }),
        Change::Rejected(configuration) => {
            json!({ "configure": configuration, "expect": { "accepted": false } })
        }
        Change::ClientCloses(which) => {
            let number = which.index(connections.len());
            let connection = &mut connections[number];
            if !connection.opened {
                return None;
            }
            let name = connection.name.clone();
            connection.closes += 1;
            connection.name = format!("c{number}again{}", connection.closes);
            (connection.opened, connection.free) = (false, now);
            json!({ "connection": name, "close": "client" })
        }
    };
    Some((now, event(now, fields)))
}

/// Adds the events of a phase's exchanges; returns the start of the next phase.
fn exchanges(
    now: u64,
    phase: &Phase,
    context: PhaseContext,
    connections: &mut [Connection],
    events: &mut Vec<(u64, Value)>,
) -> u64 {
    let number = context.number;
    // Exchanges that last from the previous phase end within this one.
    let mut end = connections.iter().map(|connection| connection.free).fold(now + FIRST, u64::max);
    let mut lasting: Vec<(usize, u64, usize)> = Vec::new();
    for (index, (which, exchange)) in phase.exchanges.iter().enumerate() {
        let on = which.index(connections.len());
        if lasting.iter().any(|(other, ..)| *other == on)
            || (exchange.is_upgrade() && connections[on].http2)
        {
            continue;
        }
        let connection = &mut connections[on];
        connection.open(now + FIRST, events);
        let mut at = now + FIRST + STEP * index as u64;
        if connection.http2 && phase.apart {
            at = at.max(connection.free + APART);
        }
        if exchange.lasts(context.draining) && !context.is_last {
            lasting.push((on, at, index));
            end = end.max(connection.begins(at) + exchange.first_part() + STEP);
        } else {
            let mut exchange = exchange.clone();
            if context.draining {
                exchange.delay_first_chunk(BEYOND);
            }
            connection.free = connection.free.max(connection.ends(at, &exchange));
            end = end.max(connection.free);
            events
                .push((at, connection.exchange_event(at, &format!("{number}.{index}"), &exchange)));
        }
    }
    // The end of the phase is known now, so the exchanges that last into the next one can be
    // extended.
    for (on, at, index) in lasting {
        let connection = &mut connections[on];
        let mut exchange = phase.exchanges[index].1.clone();
        exchange.extend(end - at + BEYOND);
        connection.free = connection.ends(at, &exchange);
        events.push((at, connection.exchange_event(at, &format!("{number}.{index}"), &exchange)));
    }
    end + FIRST
}

impl Connection {
    /// The latest start of a request that is due at this time.
    fn begins(&self, at: u64) -> u64 {
        if self.http2 { at } else { at.max(self.free) }
    }

    /// The latest end of an exchange that is due at this time.
    fn ends(&self, at: u64, exchange: &GeneratedExchange) -> u64 {
        let delayed_close = if !self.http2 && exchange.may_be_cut() { DELAYED_CLOSE } else { 0 };
        self.begins(at) + exchange.longest() + delayed_close
    }

    fn open(&mut self, at: u64, events: &mut Vec<(u64, Value)>) {
        if !std::mem::replace(&mut self.opened, true) && self.http2 {
            let open = json!({ "connection": self.name, "open": { "protocol": "HTTP/2" } });
            events.push((at, event(at, open)));
        }
    }

    fn exchange_event(&self, at: u64, id: &str, exchange: &GeneratedExchange) -> Value {
        let mut fields = exchange.fields();
        fields["id"] = json!(format!("{} {id}", self.name));
        fields["connection"] = json!(self.name);
        event(at, fields)
    }
}
