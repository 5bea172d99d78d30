//! The virtual machines of the process, one for each worker, as they report themselves in shared data: how many requests each has in flight, and
//! whether it can ask the control store.
//!
//! A gauge that every worker counts up and down stays too high for ever when a virtual machine dies with its streams. Here each answers for
//! itself under a lease that it has to renew, so what a dead one left behind goes away. The same leases elect the one that asks the
//! store: the eldest that renewed its lease in time.

use std::fmt::Write as _;

use crate::config::{Node, parse_json};

/// The key of the list in shared data.
pub const MEMBERS_KEY: &str = "sluice.members";

/// A virtual machine that has not reported itself for this long, in milliseconds, is gone and its requests with it. Long, because a worker that is
/// only busy must not look as if it had nothing in flight.
pub const GONE_MS: u64 = 10_000;

/// A virtual machine that has not renewed its lease for so many of its ticks asks the store no more: another one does.
const LEASE_TICKS: u64 = 3;

/// The largest list that is read, in bytes: some thousand workers.
const MAX_LIST: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    id: u64,
    renewed_ms: u64,
    in_flight: u64,
    polls: bool,
}

/// What one virtual machine reports of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Requests in flight.
    pub in_flight: u64,
    /// It has a control store that it could ask.
    pub polls: bool,
}

/// When a report is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since the Unix epoch.
    pub now_ns: u64,
    /// Milliseconds between two ticks.
    pub tick_ms: u64,
}

/// One virtual machine's place among the others.
#[derive(Debug, Default)]
pub struct Membership {
    /// Given at the first report: higher than those that were there.
    id: Option<u64>,
    /// When it reported last, in milliseconds since the Unix epoch, and whether that was later than its lease lasted.
    reported_ms: Option<u64>,
    is_late: bool,
}

/// What a report led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// What must stand in shared data instead; report again on a mismatch.
    pub write: Option<String>,
    /// Requests in flight in the whole process.
    pub in_flight: u64,
    /// It is this one's turn to ask the control store.
    pub leads: bool,
}

impl Membership {
    /// Reports to the others, whose list stands in shared data. What is no list is replaced.
    pub fn report(&mut self, shared: Option<&[u8]>, report: Report, at: Moment) -> Reported {
        let now_ms = at.now_ns / 1_000_000;
        let listed = shared.map(parse).unwrap_or_default();
        // Clocks jump: a lease from the future is as far off as one from the past.
        let age = |member: &Member| member.renewed_ms.abs_diff(now_ms);
        let highest = listed.iter().map(|member| member.id).max();
        let id =
            *self.id.get_or_insert(at.now_ns.max(highest.map_or(0, |id| id.saturating_add(1))));
        let known = listed.iter().find(|member| member.id == id).copied();
        let others: Vec<Member> = listed
            .iter()
            .filter(|member| member.id != id && age(member) <= GONE_MS)
            .copied()
            .collect();
        let lease_ms = at.tick_ms.saturating_mul(LEASE_TICKS);
        // A report that lost against another one is made again at the same moment, and is as late as it was.
        if self.reported_ms != Some(now_ms) {
            self.is_late = self.reported_ms.is_some_and(|last| last.abs_diff(now_ms) > lease_ms);
            self.reported_ms = Some(now_ms);
        }
        // Whoever is late itself calls nobody late: the whole process may have stood still.
        let holds = |member: &Member| self.is_late || age(member) <= lease_ms;
        let elder = |member: &Member| member.polls && member.id < id;
        let leads = report.polls && !others.iter().any(|member| elder(member) && holds(member));
        let own =
            Member { id, renewed_ms: now_ms, in_flight: report.in_flight, polls: report.polls };
        // Without a store to ask, an unchanged report is worth repeating only before it is taken for one of the dead.
        let renews = known.is_none_or(|known| {
            (known.in_flight, known.polls) != (own.in_flight, own.polls)
                || own.polls
                || age(&known) > GONE_MS / 4
        });
        let in_flight = others.iter().map(|member| member.in_flight).sum::<u64>() + own.in_flight;
        let write = renews.then(|| written(others.into_iter().chain([own])));
        Reported { write, in_flight, leads }
    }

    /// This one's number: its own in the whole process.
    pub fn id(&self) -> u64 {
        self.id.unwrap_or(0)
    }
}

fn parse(bytes: &[u8]) -> Vec<Member> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_LIST);
    let Some(Ok(Node::Array(items))) = text.map(parse_json) else { return Vec::new() };
    let member = |item: &Node| match item {
        Node::Array(fields) => match fields[..] {
            [
                Node::Unsigned(id),
                Node::Unsigned(renewed_ms),
                Node::Unsigned(in_flight @ ..=0xffff_ffff),
                Node::Bool(polls),
            ] => Some(Member { id, renewed_ms, in_flight, polls }),
            _ => None,
        },
        _ => None,
    };
    items.iter().filter_map(member).collect()
}

fn written(members: impl Iterator<Item = Member>) -> String {
    let mut json = String::from("[");
    for Member { id, renewed_ms, in_flight, polls } in members {
        let comma = if json.len() > 1 { "," } else { "" };
        let _ = write!(json, "{comma}[{id},{renewed_ms},{in_flight},{polls}]");
    }
    json.push(']');
    json
}
