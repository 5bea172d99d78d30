//! The idle timeouts of streams, the timeouts of their events, and the streams that a drain may end: everything that a tick has
//! to check.
//!
//! A VM may have 100,000 such streams, so a chunk must cost next to nothing. A chunk is one
//! assignment of the time at which the stream will have been idle for too long. That time is based
//! on the clock of the ticks, which needs no host call. A tick compares one number for each stream,
//! in one array from front to back. A timing wheel would check fewer streams, but it has to unlink
//! and link each of them. If the streams started together, the wheel checks most of them in one
//! tick, too. `cargo bench` compares both.

use std::cmp::Ordering;

use slab::Slab;

use crate::config::Span;
use crate::cut::{Cut, CutTime};
use crate::policy::{EventTimeouts, IdleTimeouts};
use crate::reason::Reason;
use crate::rules::TICKS_PER_REFRESH;

/// The due time of a timer that does not run.
const NEVER: u64 = u64::MAX;

/// The event that a stream waits for after its request headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// The response: the request is complete.
    Response,
    /// The next chunk of an upload that is streamed.
    Upload,
    /// The end of an upload that the filter buffers. No timer runs.
    Buffering,
}

/// The kind of a response, as far as it matters for idle timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseKind {
    /// The response has no declared length, or the filter buffers it.
    Unbounded,
    /// The response has a declared length and is streamed. Only this number of bytes from its start
    /// is watched. A proxy whose client reads slowly stops reading from the upstream, and no filter
    /// can see that. Beyond the proxy's buffers, the client may be the cause of a pause.
    Sized(u64),
    /// Both directions stay open until one side closes.
    Tunnel,
}

/// A stream among those that a tick checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerId(usize);

/// A stream that a tick ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired<T> {
    /// The context of the stream.
    pub context: u32,
    /// Why it ends.
    pub reason: Reason,
    /// Whether its response headers have been forwarded, so that it can only be reset.
    pub has_response: bool,
    /// The value that was stored with the stream when it started.
    pub owner: T,
}

/// The streams of one plugin in one VM.
#[derive(Debug)]
pub struct IdleTimers<T> {
    clock: Clock,
    /// When the first of a stream's timers expires. Apart from the entries, because every tick
    /// reads all of it.
    due: Vec<u64>,
    entries: Slab<Entry<T>>,
    /// The number of streams that a drain may end.
    cuttable: usize,
    /// Whether a drain has begun to end some of them.
    has_pending_cuts: bool,
}

#[derive(Debug)]
struct Entry<T> {
    context: u32,
    timeouts: IdleTimeouts,
    read_due: u64,
    send_due: u64,
    event_due: u64,
    phase: Phase,
    /// The filter buffers the upload, so the upstream is not late.
    is_buffering: bool,
    /// How much more of a response with a declared length is watched, in bytes.
    watched: Option<u64>,
    /// Why the filter ended the stream, if it did.
    end_reason: Option<Reason>,
    events: Option<Box<EventTimer>>,
    cut: Option<Box<Cut>>,
    owner: T,
}

/// The timeouts of a response's events.
#[derive(Debug)]
struct EventTimer {
    timeouts: EventTimeouts,
    is_request_complete: bool,
    has_event: bool,
    /// The filter holds the response headers, so that it can still reply.
    holds_headers: bool,
}

impl<T> Entry<T> {
    /// The reason of the timer that expires first. If both idle timers expire at once, a chunk of the
    /// upload was the last one to arrive, and the next one is late.
    fn first_due(&self) -> Reason {
        if let Some(events) = &self.events
            && self.event_due == self.due()
        {
            return if events.has_event {
                Reason::EventGapTimeout
            } else {
                Reason::FirstEventTimeout
            };
        }
        match self.send_due.cmp(&self.read_due) {
            Ordering::Less => Reason::SendTimeout,
            Ordering::Equal if self.phase != Phase::Tunnel => Reason::SendTimeout,
            Ordering::Equal | Ordering::Greater => Reason::ReadTimeout,
        }
    }

    /// When the upstream will have been idle for too long.
    fn next_read_due(&self, clock: &Clock) -> u64 {
        let is_watched = !self.is_buffering && self.watched != Some(0);
        clock.due(self.timeouts.read.filter(|_| is_watched))
    }

    /// When the next event will be late.
    fn next_event_due(&self, clock: &Clock) -> u64 {
        let Some(events) = &self.events else { return NEVER };
        let timeout = match events.has_event {
            true => events.timeouts.gap,
            false => events.timeouts.first.filter(|_| events.is_request_complete),
        };
        clock.due(timeout.filter(|_| self.watched != Some(0)))
    }

    fn holds_headers(&self) -> bool {
        self.events.as_ref().is_some_and(|events| events.holds_headers)
    }

    fn due(&self) -> u64 {
        self.read_due.min(self.send_due).min(self.event_due)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The response has not begun.
    Request,
    Response,
    /// Bytes in one direction restart the timers of both.
    Tunnel,
}

/// The time of the ticks, in milliseconds.
///
/// Between two ticks, at most two periods count. A suspended worker reads nothing, so none of its
/// streams was idle. A system clock that is set must not end every stream.
#[derive(Debug, Default)]
struct Clock {
    now_ms: u64,
    wall_ms: Option<u64>,
    /// Twice a period: the longest time to the next tick.
    reach_ms: u64,
}

impl Clock {
    fn tick(&mut self, wall_ms: Option<u64>) {
        let passed =
            self.wall_ms.zip(wall_ms).map_or(0, |(before, now)| now.saturating_sub(before));
        self.now_ms += passed.min(self.reach_ms);
        self.wall_ms = wall_ms;
    }

    const fn refresh_ms(&self) -> u64 {
        self.reach_ms / 2 * TICKS_PER_REFRESH
    }

    /// When a timeout expires that starts before the next tick. It is never early.
    fn due(&self, timeout: Option<Span>) -> u64 {
        timeout.map_or(NEVER, |timeout| self.now_ms + self.reach_ms + timeout.as_millis())
    }
}

impl<T> Default for IdleTimers<T> {
    fn default() -> Self {
        Self {
            clock: Clock::default(),
            due: Vec::new(),
            entries: Slab::new(),
            cuttable: 0,
            has_pending_cuts: false,
        }
    }
}

impl<T: Clone> IdleTimers<T> {
    /// Sets the period of the ticks. `wall_ms` is the host's clock, in milliseconds from any start.
    pub fn set_tick_period(&mut self, period: Span, wall_ms: Option<u64>) {
        self.clock.tick(wall_ms);
        self.clock.reach_ms = 2 * period.as_millis();
    }

    /// Adds a stream whose request headers have passed.
    pub fn start(
        &mut self,
        context: u32,
        timeouts: IdleTimeouts,
        waits_for: WaitsFor,
        owner: T,
    ) -> TimerId {
        let index = self.entries.insert(Entry {
            context,
            timeouts,
            read_due: NEVER,
            send_due: NEVER,
            event_due: NEVER,
            phase: Phase::Request,
            is_buffering: waits_for == WaitsFor::Buffering,
            watched: None,
            end_reason: None,
            events: None,
            cut: None,
            owner,
        });
        if index == self.due.len() {
            self.due.push(NEVER);
        }
        let id = TimerId(index);
        match waits_for {
            WaitsFor::Response => {
                self.update(id, |entry, clock| entry.read_due = entry.next_read_due(clock));
            }
            WaitsFor::Upload => self.upload_chunk(id),
            WaitsFor::Buffering => {}
        }
        id
    }

    /// Limits the time without events of a stream that has just started.
    pub fn watch_events(&mut self, id: TimerId, timeouts: EventTimeouts, waits_for: WaitsFor) {
        let is_request_complete = waits_for == WaitsFor::Response;
        let timer =
            EventTimer { timeouts, is_request_complete, has_event: false, holds_headers: false };
        self.update(id, |entry, clock| {
            entry.events = Some(Box::new(timer));
            entry.event_due = entry.next_event_due(clock);
        });
    }

    /// An event of the response arrived.
    pub fn event_arrived(&mut self, id: TimerId) {
        self.update(id, |entry, clock| {
            if let Some(events) = &mut entry.events {
                events.has_event = true;
            }
            entry.event_due = entry.next_event_due(clock);
        });
    }

    /// The filter begins or ends to hold the response headers. While it holds them, it can still
    /// reply.
    pub fn hold_headers(&mut self, id: TimerId, holds_headers: bool) {
        if let Some(events) = &mut self.entries[id.0].events {
            events.holds_headers = holds_headers;
        }
    }

    /// Whether the filter holds the response headers.
    pub fn holds_headers(&self, id: TimerId) -> bool {
        self.entries[id.0].holds_headers()
    }

    /// A chunk of the upload passed. A response that has begun may have waited for it.
    pub fn upload_chunk(&mut self, id: TimerId) {
        self.update(id, |entry, clock| {
            entry.is_buffering = false;
            entry.send_due = clock.due(entry.timeouts.send);
            if entry.phase != Phase::Request {
                entry.read_due = entry.next_read_due(clock);
            }
            if entry.events.as_ref().is_some_and(|events| events.has_event) {
                entry.event_due = entry.next_event_due(clock);
            }
        });
    }

    /// The end of the upload passed. Now the stream waits for the upstream.
    pub fn upload_complete(&mut self, id: TimerId) {
        self.update(id, |entry, clock| {
            entry.is_buffering = false;
            entry.timeouts.send = None;
            entry.send_due = NEVER;
            entry.read_due = entry.next_read_due(clock);
            if let Some(events) = &mut entry.events {
                events.is_request_complete = true;
                entry.event_due = entry.next_event_due(clock);
            }
        });
    }

    /// The response headers arrived.
    pub fn response_started(&mut self, id: TimerId, kind: ResponseKind) {
        let entry = &mut self.entries[id.0];
        entry.phase = match kind {
            ResponseKind::Tunnel => Phase::Tunnel,
            ResponseKind::Unbounded | ResponseKind::Sized(_) => Phase::Response,
        };
        entry.watched = match kind {
            ResponseKind::Sized(bytes) => Some(bytes),
            ResponseKind::Unbounded | ResponseKind::Tunnel => None,
        };
        if kind == ResponseKind::Tunnel {
            (entry.events, entry.event_due) = (None, NEVER);
        }
        self.response_chunk(id, 0);
    }

    /// A chunk of the response arrived, with `bytes` bytes.
    pub fn response_chunk(&mut self, id: TimerId, bytes: usize) {
        self.update(id, |entry, clock| {
            entry.watched = entry.watched.map(|left| left.saturating_sub(bytes as u64));
            entry.read_due = entry.next_read_due(clock);
            if entry.phase == Phase::Tunnel {
                entry.send_due = clock.due(entry.timeouts.send);
            }
            if entry.watched == Some(0) {
                entry.event_due = NEVER;
            }
        });
    }

    /// The response is complete. No timer runs any more.
    pub fn response_complete(&mut self, id: TimerId) {
        self.update(id, |entry, _| {
            entry.timeouts = IdleTimeouts::default();
            (entry.read_due, entry.send_due, entry.event_due) = (NEVER, NEVER, NEVER);
            entry.events = None;
        });
        self.forbid_cut(id);
    }

    /// The time of the next tick, if it is not late, on the clock of the ticks.
    pub fn next_tick_ms(&self) -> u64 {
        self.clock.now_ms + self.clock.reach_ms / 2
    }

    /// Lets a drain end the stream.
    pub fn allow_cut(&mut self, id: TimerId, cut: Cut) {
        if self.entries[id.0].cut.replace(Box::new(cut)).is_none() {
            self.cuttable += 1;
        }
    }

    /// The cut of a stream that a drain may end.
    pub fn cut_mut(&mut self, id: TimerId) -> Option<&mut Cut> {
        self.entries[id.0].cut.as_deref_mut()
    }

    fn forbid_cut(&mut self, id: TimerId) {
        if self.entries[id.0].cut.take().is_some() {
            self.cuttable -= 1;
        }
    }

    /// Why the filter ended the stream, if it did.
    pub fn end_reason(&self, id: TimerId) -> Option<Reason> {
        self.entries[id.0].end_reason
    }

    /// Removes a stream that has ended.
    pub fn remove(&mut self, id: TimerId) {
        self.forbid_cut(id);
        self.due[id.0] = NEVER;
        self.entries.remove(id.0);
    }

    /// A tick: returns the streams that were idle for too long, at most `limit` of them. Each
    /// stream is returned once, by this tick or a later one.
    pub fn expire(&mut self, wall_ms: Option<u64>, limit: usize) -> Vec<Expired<T>> {
        self.clock.tick(wall_ms);
        let now = self.clock.now_ms;
        let idle = self.due.iter().enumerate().filter(|(_, due)| **due <= now);
        let idle: Vec<usize> = idle.map(|(index, _)| index).take(limit).collect();
        let expired = idle.into_iter().map(|index| {
            let reason = self.entries[index].first_due();
            self.end(index, reason)
        });
        expired.collect()
    }

    /// Returns the streams that a tick ends for a drain, at most `limit` of them. `tick` ticks the
    /// cut of a stream, with the time and the time that last bytes have to reach the client. If no
    /// drain is in force, only cuts that have begun are finished or canceled.
    pub fn cut(
        &mut self,
        is_draining: bool,
        limit: usize,
        tick: impl Fn(&mut Cut, &T, CutTime) -> Option<Reason>,
    ) -> Vec<Expired<T>> {
        if self.cuttable == 0 || (!is_draining && !self.has_pending_cuts) {
            return Vec::new();
        }
        let time = CutTime { now_ms: self.clock.now_ms, linger_ms: self.clock.refresh_ms() };
        let mut ready = Vec::new();
        self.has_pending_cuts = false;
        for (index, entry) in &mut self.entries {
            let Some(cut) = &mut entry.cut else { continue };
            let reason = tick(cut, &entry.owner, time);
            ready.extend(reason.filter(|_| ready.len() < limit).map(|reason| (index, reason)));
            self.has_pending_cuts |= !cut.is_open();
        }
        ready.into_iter().map(|(index, reason)| self.end(index, reason)).collect()
    }

    fn end(&mut self, index: usize, reason: Reason) -> Expired<T> {
        let entry = &mut self.entries[index];
        entry.end_reason = Some(reason);
        (entry.read_due, entry.send_due, entry.event_due) = (NEVER, NEVER, NEVER);
        self.due[index] = NEVER;
        let (context, owner) = (entry.context, entry.owner.clone());
        let has_response = entry.phase != Phase::Request && !entry.holds_headers();
        self.forbid_cut(TimerId(index));
        Expired { context, reason, has_response, owner }
    }

    fn update(&mut self, id: TimerId, update: impl FnOnce(&mut Entry<T>, &Clock)) {
        let entry = &mut self.entries[id.0];
        if entry.end_reason.is_none() {
            update(entry, &self.clock);
            self.due[id.0] = entry.due();
        }
    }
}
