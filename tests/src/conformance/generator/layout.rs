//! When everything of a story happens.

use serde_json::{Value, json};

use super::change::Change;
use super::exchange::Generated;
use super::{Phase, Story, event};

/// Milliseconds from the change that begins a phase to its first exchange.
const FIRST: u64 = 10;

/// Milliseconds between the exchanges of a phase.
const STEP: u64 = 30;

/// Milliseconds between exchanges of an HTTP/2 connection that keep clear of each other.
const APART: u64 = 150;

/// How far an exchange lasts into the next phase: so far that a drain that began with it has found every stream.
const BEYOND: u64 = 500;

/// Milliseconds until Envoy tells a client of HTTP/1.1 that its response was cut.
const DELAYED_CLOSE: u64 = 1000;

/// A connection so far.
struct Connection {
    http2: bool,
    name: String,
    opened: bool,
    /// How often its client has left.
    left: usize,
    /// When its last exchange is over at the latest.
    free: u64,
}

/// The drain in force.
#[derive(Default)]
struct Drain {
    epoch: u64,
    closes: bool,
}

impl Drain {
    fn follow(&mut self, change: &Change) {
        if let Change::Configure(configuration) = change
            && let Some(state) = configuration.pointer("/drain/state")
            && let Some(epoch) = state["epoch"].as_u64().filter(|epoch| *epoch > self.epoch)
        {
            *self = Self { epoch, closes: state["mode"] != "off" };
        }
    }
}

/// What an exchange has to know of its phase.
#[derive(Clone, Copy)]
struct Around {
    number: usize,
    another_follows: bool,
    /// A drain is in force.
    draining: bool,
}

/// The lines of the trace.
pub(super) fn lines(story: &Story) -> String {
    let mut connections: Vec<Connection> = story
        .connections
        .iter()
        .enumerate()
        .map(|(number, http2)| Connection {
            http2: *http2,
            name: format!("c{number}"),
            opened: false,
            left: 0,
            free: 0,
        })
        .collect();
    let mut events = Vec::new();
    let mut now = 0;
    let mut drain = Drain::default();
    for (number, phase) in story.phases.iter().enumerate() {
        events.extend(change(now, &phase.change, &mut connections));
        drain.follow(&phase.change);
        let around = Around {
            number,
            another_follows: number + 1 < story.phases.len(),
            draining: drain.closes,
        };
        now = exchanges(now, phase, around, &mut connections, &mut events);
    }
    events.sort_by_key(|(at, _)| *at);
    events.into_iter().map(|(_, event)| format!("{event}\n")).collect()
}

fn change(now: u64, change: &Change, connections: &mut [Connection]) -> Option<(u64, Value)> {
    let fields = match change {
        Change::Nothing => return None,
        Change::Configure(configuration) => json!({ "configure": configuration }),
        Change::Refused(configuration) => {
            json!({ "configure": configuration, "expect": { "accepted": false } })
        }
        Change::Leave(which) => {
            let number = which.index(connections.len());
            let connection = &mut connections[number];
            if !connection.opened {
                return None;
            }
            let name = connection.name.clone();
            connection.left += 1;
            connection.name = format!("c{number}again{}", connection.left);
            (connection.opened, connection.free) = (false, now);
            json!({ "connection": name, "close": "client" })
        }
    };
    Some((now, event(now, fields)))
}

/// Places the exchanges of a phase; when the next one may begin.
fn exchanges(
    now: u64,
    phase: &Phase,
    around: Around,
    connections: &mut [Connection],
    events: &mut Vec<(u64, Value)>,
) -> u64 {
    let number = around.number;
    // What lasts from the phase before is over within this one.
    let mut end = connections.iter().map(|connection| connection.free).fold(now + FIRST, u64::max);
    let mut lasting: Vec<(usize, u64, usize)> = Vec::new();
    for (index, (which, exchange)) in phase.exchanges.iter().enumerate() {
        let on = which.index(connections.len());
        if lasting.iter().any(|(other, ..)| *other == on)
            || (exchange.leaves_http() && connections[on].http2)
        {
            continue;
        }
        let connection = &mut connections[on];
        connection.open(now + FIRST, events);
        let mut at = now + FIRST + STEP * index as u64;
        if connection.http2 && phase.apart {
            at = at.max(connection.free + APART);
        }
        if exchange.lasts(around.draining) && around.another_follows {
            lasting.push((on, at, index));
            end = end.max(connection.begins(at) + exchange.begins() + STEP);
        } else {
            let mut exchange = exchange.clone();
            if around.draining {
                exchange.hesitate(BEYOND);
            }
            connection.free = connection.free.max(connection.over(at, &exchange));
            end = end.max(connection.free);
            events.push((at, connection.carry(at, &format!("{number}.{index}"), &exchange)));
        }
    }
    // What lasts goes on in the next phase, wherever this one ends.
    for (on, at, index) in lasting {
        let connection = &mut connections[on];
        let mut exchange = phase.exchanges[index].1.clone();
        exchange.last(end - at + BEYOND);
        connection.free = connection.over(at, &exchange);
        events.push((at, connection.carry(at, &format!("{number}.{index}"), &exchange)));
    }
    end + FIRST
}

impl Connection {
    /// When a request of this moment begins at the latest.
    fn begins(&self, at: u64) -> u64 {
        if self.http2 { at } else { at.max(self.free) }
    }

    /// When an exchange of this moment is over for its client at the latest.
    fn over(&self, at: u64, exchange: &Generated) -> u64 {
        let tells = if !self.http2 && exchange.may_be_cut() { DELAYED_CLOSE } else { 0 };
        self.begins(at) + exchange.longest() + tells
    }

    fn open(&mut self, at: u64, events: &mut Vec<(u64, Value)>) {
        if !std::mem::replace(&mut self.opened, true) && self.http2 {
            let open = json!({ "connection": self.name, "open": { "protocol": "HTTP/2" } });
            events.push((at, event(at, open)));
        }
    }

    fn carry(&self, at: u64, id: &str, exchange: &Generated) -> Value {
        let mut fields = exchange.fields();
        fields["id"] = json!(format!("{} {id}", self.name));
        fields["connection"] = json!(self.name);
        event(at, fields)
    }
}
