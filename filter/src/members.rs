//! The VMs of the process, one for each worker, as they report themselves in shared data: their
//! in-flight requests, and whether they can poll the control store.
//!
//! A gauge that workers increment and decrement stays too high when a VM crashes with its streams.
//! Here each VM renews a lease on its own number, so the number of a crashed VM expires. The same
//! leases elect the leader, which polls the store: the VM with the lowest id whose lease is valid.
//!
//! A VM keeps an id only after it has written it. Otherwise, two VMs that start at the same moment
//! would report under the same id, and each would overwrite the number of the other.

use serde::Serialize;

use crate::config::{Node, parse_json};

/// The key of the list in shared data.
pub const MEMBERS_KEY: &str = "sluice.members";

/// The time in milliseconds after which a VM that does not report counts as crashed. Its requests
/// are then no longer counted. The time is long, so that those of a busy worker stay in the sum.
pub const GONE_MS: u64 = 10_000;

/// A VM whose last report is older than this many ticks is no longer the leader.
const LEASE_TICKS: u64 = 3;

/// The largest list that is read, in bytes: some thousand workers.
const MAX_LIST: usize = 64 * 1024;

/// The largest number of requests that a list may claim for one VM.
const MAX_IN_FLIGHT: u64 = u32::MAX as u64;

/// One VM in the list, an array of four in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    id: u64,
    renewed_ms: u64,
    in_flight: u64,
    can_poll: bool,
}

impl Serialize for Member {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.id, self.renewed_ms, self.in_flight, self.can_poll).serialize(serializer)
    }
}

/// The report of a VM about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Its in-flight requests.
    pub in_flight: u64,
    /// Whether it has a control store to poll.
    pub can_poll: bool,
}

/// The time of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportTime {
    /// Nanoseconds since the Unix epoch.
    pub now_ns: u64,
    /// Milliseconds between two reports.
    pub tick_ms: u64,
}

/// One VM among the others.
#[derive(Debug, Default)]
pub struct Membership {
    /// The entry of this VM as it last wrote it; `None` before its first write.
    written: Option<Member>,
    /// The entry of the last report, which may not have been written.
    reported: Option<Member>,
    /// The time of the last report, in milliseconds since the Unix epoch, and whether the lease had
    /// expired then.
    reported_ms: Option<u64>,
    is_late: bool,
    /// The time from which on this VM sees the reports of the others, in milliseconds since the
    /// Unix epoch: its first report, or its first one after the process was suspended.
    awake_since_ms: u64,
    is_leader: bool,
}

/// The result of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The value to write to shared data. If the write succeeds, the caller calls
    /// [`Membership::confirm_write`]; after a mismatch, it reports again.
    pub write: Option<String>,
    /// The in-flight requests of the process.
    pub in_flight: u64,
}

impl Membership {
    /// Merges a report into the list in shared data. Replaces a value that is not a list.
    pub fn report(&mut self, shared: Option<&[u8]>, report: Report, at: ReportTime) -> Reported {
        let now_ms = at.now_ns / 1_000_000;
        let listed = shared.map(parse).unwrap_or_default();
        let lease_ms = at.tick_ms.saturating_mul(LEASE_TICKS);
        self.observe_time(now_ms, lease_ms);
        // Clocks jump, so the age of a lease from the future counts like that of one from the past.
        let age = |member: &Member| member.renewed_ms.abs_diff(now_ms);
        let unseen_ms = |member: &Member| age(member).min(now_ms.abs_diff(self.awake_since_ms));
        let id = self.own_id(&listed, at.now_ns);
        let known = listed.iter().find(|member| member.id == id).copied();
        let others: Vec<Member> = listed
            .iter()
            .filter(|member| member.id != id && unseen_ms(member) <= GONE_MS)
            .copied()
            .collect();
        // If this VM is late, all other leases count as valid: the whole process may have been
        // suspended.
        let is_valid = |member: &Member| self.is_late || age(member) <= lease_ms;
        let precedes = |member: &Member| member.can_poll && member.id < id && is_valid(member);
        self.is_leader = report.can_poll && !others.iter().any(precedes);
        let Report { in_flight, can_poll } = report;
        let own = Member { id, renewed_ms: now_ms, in_flight, can_poll };
        self.reported = Some(own);
        // Without a store, an unchanged report is written only once in a quarter of `GONE_MS`.
        let renews = known.is_none_or(|known| {
            (known.in_flight, known.can_poll) != (in_flight, can_poll)
                || can_poll
                || age(&known) > GONE_MS / 4
        });
        let in_flight = others.iter().map(|member| member.in_flight).sum::<u64>() + in_flight;
        Reported { write: renews.then(|| to_json(others, own)), in_flight }
    }

    /// The value of the last report was written.
    pub fn confirm_write(&mut self) {
        self.written = self.reported;
    }

    /// The id of this VM, unique in the process; 0 before the first write.
    pub fn id(&self) -> u64 {
        self.written.map_or(0, |member| member.id)
    }

    /// Whether this VM is the leader, which polls the control store.
    pub fn is_leader(&self) -> bool {
        self.is_leader
    }

    fn observe_time(&mut self, now_ms: u64, lease_ms: u64) {
        // A report after a mismatch has the time of the first attempt, and is equally late.
        if self.reported_ms == Some(now_ms) {
            return;
        }
        let pause_ms = self.reported_ms.map(|last| last.abs_diff(now_ms));
        self.is_late = pause_ms.is_some_and(|pause| pause > lease_ms);
        // After a suspension, the reports of all VMs are old, although no VM has crashed.
        if pause_ms.is_none_or(|pause| pause > GONE_MS / 2) {
            self.awake_since_ms = now_ms;
        }
        self.reported_ms = Some(now_ms);
    }

    /// The id under which this VM reports. Chooses an unused one before the first write. Chooses
    /// another one if the entry under its id is not the one that it wrote, because another VM then
    /// has the same id.
    fn own_id(&self, listed: &[Member], now_ns: u64) -> u64 {
        let is_own = |written: &Member| {
            listed.iter().filter(|member| member.id == written.id).all(|member| member == written)
        };
        if let Some(written) = self.written.filter(is_own) {
            return written.id;
        }
        let is_free = |id: &u64| !listed.iter().any(|member| member.id == *id);
        // A list has fewer entries than there are numbers, so one of them is free.
        (now_ns.max(1)..=u64::MAX).chain(1..now_ns).find(is_free).unwrap_or(now_ns)
    }
}

/// The members in a list. Skips items that are not members.
fn parse(bytes: &[u8]) -> Vec<Member> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_LIST);
    let Some(Ok(Node::Array(items))) = text.map(parse_json) else { return Vec::new() };
    let member = |item: &Node| match item {
        Node::Array(fields) => match fields[..] {
            [
                Node::Unsigned(id),
                Node::Unsigned(renewed_ms),
                Node::Unsigned(in_flight @ ..=MAX_IN_FLIGHT),
                Node::Bool(can_poll),
            ] => Some(Member { id, renewed_ms, in_flight, can_poll }),
            _ => None,
        },
        _ => None,
    };
    items.iter().filter_map(member).collect()
}

fn to_json(mut members: Vec<Member>, own: Member) -> String {
    members.push(own);
    serde_json::to_string(&members).unwrap_or_default()
}
