//! The streams that a tick has to look at: those that may not stay idle for long, and those that a drain may cut.
//!
//! A limit between two pieces must cost a piece next to nothing, and there may be 100,000 such streams. So a piece is an
//! assignment: the time when the stream will have been idle for too long, from the tick's clock and not from the host's. And a tick
//! compares one number for each stream, in one array from front to back. A timing wheel would look at fewer streams, but has to unlink
//! and link them one by one, and looks at most of them in one tick when they began together; `cargo bench` compares both.

use std::cmp::Ordering;

use crate::config::Span;
use crate::cut::Cut;
use crate::policy::IdleTimeouts;
use crate::reason::Reason;
use crate::rules::TICKS_PER_REFRESH;

/// A clock of a limit that does not run.
const NEVER: u64 = u64::MAX;

/// What a request waits for when its head was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// Its upstream has to answer.
    ForUpstream,
    /// More of it comes, and is passed on as it comes.
    ForUpload,
    /// More of it comes, and is held: no clock runs.
    ForUs,
}

/// What a response is to its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It ends when it ends.
    Endless,
    /// It passes, and its length is known: so many bytes of it are watched. A proxy whose client reads slowly stops reading from the upstream, and no
    /// filter sees that: beyond what fits into the proxy's buffers, silence may be the client's.
    Sized(u64),
    /// Both directions stay open until somebody closes.
    Tunnel,
}

/// A stream among those that a tick looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u32);

/// A stream whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over<T> {
    /// The host's number for it.
    pub context: u32,
    /// Why.
    pub reason: Reason,
    /// Its response has begun: it can only be cut.
    pub begun: bool,
    /// What was said of it when it began.
    pub owner: T,
}

/// The streams of one plugin in one VM.
#[derive(Debug)]
pub struct Live<T> {
    clock: Clock,
    /// When the earlier of a stream's limits is over; beside the streams, because every tick reads all of it.
    due: Vec<u64>,
    streams: Vec<Stream<T>>,
    free: Vec<u32>,
    /// How many streams a drain may cut.
    cuttable: usize,
    /// Some of them are about to be cut.
    unsettled: bool,
}

#[derive(Debug)]
struct Stream<T> {
    context: u32,
    limits: IdleTimeouts,
    read: u64,
    send: u64,
    phase: Phase,
    /// We hold the upload: whatever the upstream waits for, it is not its turn.
    held: bool,
    /// How much more of a response of known length is watched, in bytes; `None` without a length.
    watched: Option<u64>,
    /// The filter ended it.
    over: Option<Reason>,
    cut: Option<Box<Cut>>,
    owner: Option<T>,
}

impl<T> Stream<T> {
    /// Which limit is over first. Where a piece of the upload was the last that moved, its next one is missed.
    fn idle(&self) -> Reason {
        match self.send.cmp(&self.read) {
            Ordering::Less => Reason::SendTimeout,
            Ordering::Equal if self.phase != Phase::Tunnel => Reason::SendTimeout,
            Ordering::Equal | Ordering::Greater => Reason::ReadTimeout,
        }
    }

    /// When the upstream will have been silent for too long.
    fn silent(&self, clock: &Clock) -> u64 {
        let counts = !self.held && self.watched != Some(0);
        clock.over(self.limits.read.filter(|_| counts))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The response has not begun.
    Asked,
    Answered,
    /// Bytes of either direction count for both.
    Tunnel,
}

/// Time as the ticks tell it, in milliseconds.
///
/// Of a pause between two ticks at most twice a period counts: while a worker stands still it reads nothing, so no stream was idle; and a
/// clock that somebody sets must not end every stream.
#[derive(Debug, Default)]
struct Clock {
    now_ms: u64,
    wall_ms: Option<u64>,
    /// Twice a period, which is the furthest that the next tick can be.
    reach_ms: u64,
}

impl Clock {
    fn tick(&mut self, wall_ms: Option<u64>) {
        let passed =
            self.wall_ms.zip(wall_ms).map_or(0, |(before, now)| now.saturating_sub(before));
        self.now_ms += passed.min(self.reach_ms);
        self.wall_ms = wall_ms;
    }

    /// How long a refresh is.
    const fn refresh_ms(&self) -> u64 {
        self.reach_ms / 2 * TICKS_PER_REFRESH
    }

    /// When `limit` is over for what happens before the next tick: never early, whenever that was.
    fn over(&self, limit: Option<Span>) -> u64 {
        limit.map_or(NEVER, |limit| self.now_ms + self.reach_ms + limit.as_millis())
    }
}

impl<T> Default for Live<T> {
    fn default() -> Self {
        let (due, streams, free) = (Vec::new(), Vec::new(), Vec::new());
        Self { clock: Clock::default(), due, streams, free, cuttable: 0, unsettled: false }
    }
}

impl<T: Clone> Live<T> {
    /// From now on ticks come every `period`. `wall_ms` is the host's clock, in milliseconds from whenever.
    pub fn ticks_every(&mut self, period: Span, wall_ms: Option<u64>) {
        self.clock.tick(wall_ms);
        self.clock.reach_ms = 2 * period.as_millis();
    }

    /// A request begins, and waits for something.
    pub fn begin(&mut self, context: u32, limits: IdleTimeouts, waits: Waits, owner: T) -> Slot {
        let stream = Stream {
            context,
            limits,
            read: NEVER,
            send: NEVER,
            phase: Phase::Asked,
            held: waits == Waits::ForUs,
            watched: None,
            over: None,
            cut: None,
            owner: Some(owner),
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.streams[index as usize] = stream;
                index
            }
            None => {
                self.streams.push(stream);
                self.due.push(NEVER);
                u32::try_from(self.streams.len() - 1).expect("streams are fewer than bytes")
            }
        };
        let slot = Slot(index);
        match waits {
            Waits::ForUpstream => {
                self.note(slot, |stream, clock| stream.read = stream.silent(clock))
            }
            Waits::ForUpload => self.sent(slot),
            Waits::ForUs => {}
        }
        slot
    }

    /// A piece of the upload was passed on. A response that has begun may have waited for it.
    pub fn sent(&mut self, slot: Slot) {
        self.note(slot, |stream, clock| {
            stream.held = false;
            stream.send = clock.over(stream.limits.send);
            if stream.phase != Phase::Asked {
                stream.read = stream.silent(clock);
            }
        });
    }

    /// The end of the upload was passed on: now the upstream has to answer.
    pub fn asked(&mut self, slot: Slot) {
        self.note(slot, |stream, clock| {
            stream.held = false;
            stream.limits.send = None;
            stream.send = NEVER;
            stream.read = stream.silent(clock);
        });
    }

    /// The response has begun.
    pub fn answered(&mut self, slot: Slot, kind: Kind) {
        let stream = &mut self.streams[slot.0 as usize];
        stream.phase = if kind == Kind::Tunnel { Phase::Tunnel } else { Phase::Answered };
        stream.watched = if let Kind::Sized(bytes) = kind { Some(bytes) } else { None };
        self.received(slot, 0);
    }

    /// A piece of so many bytes of the response came.
    pub fn received(&mut self, slot: Slot, bytes: usize) {
        self.note(slot, |stream, clock| {
            stream.watched = stream.watched.map(|left| left.saturating_sub(bytes as u64));
            stream.read = stream.silent(clock);
            if stream.phase == Phase::Tunnel {
                stream.send = clock.over(stream.limits.send);
            }
        });
    }

    /// The response is complete: nothing is waited for any more.
    pub fn completed(&mut self, slot: Slot) {
        self.note(slot, |stream, _| {
            stream.limits = IdleTimeouts::default();
            (stream.read, stream.send) = (NEVER, NEVER);
        });
        self.keep(slot);
    }

    /// A drain may cut this stream.
    pub fn may_cut(&mut self, slot: Slot, cut: Cut) {
        self.streams[slot.0 as usize].cut = Some(Box::new(cut));
        self.cuttable += 1;
    }

    /// How a drain stands to this stream, if it may cut it.
    pub fn cut(&mut self, slot: Slot) -> Option<&mut Cut> {
        self.streams[slot.0 as usize].cut.as_deref_mut()
    }

    /// No drain may cut this stream.
    fn keep(&mut self, slot: Slot) {
        if self.streams[slot.0 as usize].cut.take().is_some() {
            self.cuttable -= 1;
        }
    }

    /// Why the filter ended this stream, if it did.
    pub fn over(&self, slot: Slot) -> Option<Reason> {
        self.streams[slot.0 as usize].over
    }

    /// The stream is gone.
    pub fn end(&mut self, slot: Slot) {
        self.keep(slot);
        let index = slot.0 as usize;
        self.due[index] = NEVER;
        self.streams[index].owner = None;
        self.free.push(slot.0);
    }

    /// A tick: the streams that were idle for too long, at most `room` of them. Each is named once, in this tick or a later one.
    pub fn tick(&mut self, wall_ms: Option<u64>, room: usize) -> Vec<Over<T>> {
        self.clock.tick(wall_ms);
        let now = self.clock.now_ms;
        let idle = self.due.iter().enumerate().filter(|(_, due)| **due <= now);
        let idle: Vec<usize> = idle.map(|(index, _)| index).take(room).collect();
        let over = idle.into_iter().filter_map(|index| {
            let reason = self.streams[index].idle();
            self.finish(index, reason)
        });
        over.collect()
    }

    /// The streams that a drain cuts now, at most `room` of them. `is_due` says whether the moment of a connection has come for a stream; without a
    /// drain, `None`, what is about to be cut is settled.
    pub fn drain(&mut self, is_due: Option<impl Fn(u64, &T) -> bool>, room: usize) -> Vec<Over<T>> {
        if self.cuttable == 0 || (is_due.is_none() && !self.unsettled) {
            return Vec::new();
        }
        let (now, linger) = (self.clock.now_ms, self.clock.refresh_ms());
        let mut ready = Vec::new();
        self.unsettled = false;
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let (Some(cut), Some(owner)) = (&mut stream.cut, &stream.owner) else { continue };
            let is_due = |connection| is_due.as_ref().is_some_and(|due| due(connection, owner));
            if cut.tick(now, linger, is_due) && ready.len() < room {
                ready.push(index);
            }
            self.unsettled |= !cut.is_open();
        }
        ready.into_iter().filter_map(|index| self.finish(index, Reason::DrainCut)).collect()
    }

    fn finish(&mut self, index: usize, reason: Reason) -> Option<Over<T>> {
        let stream = &mut self.streams[index];
        stream.over = Some(reason);
        (stream.read, stream.send) = (NEVER, NEVER);
        self.due[index] = NEVER;
        let (context, begun) = (stream.context, stream.phase != Phase::Asked);
        let over = stream.owner.clone().map(|owner| Over { context, reason, begun, owner });
        // Its cut has done what it is for.
        self.keep(Slot(index as u32));
        over
    }

    fn note(&mut self, slot: Slot, note: impl FnOnce(&mut Stream<T>, &Clock)) {
        let index = slot.0 as usize;
        let stream = &mut self.streams[index];
        if stream.over.is_none() {
            note(stream, &self.clock);
            self.due[index] = stream.read.min(stream.send);
        }
    }
}
