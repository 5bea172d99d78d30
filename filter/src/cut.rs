//! How a drain ends a stream: at a boundary, if one comes in time.

use crate::boundary::{BoundaryReader, Framing};
use crate::drain::bound::{Bound, Progress};
use crate::reason::Reason;

/// A stream that a drain may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    connection: u64,
    /// The time on the clock of the ticks at which it began, or a tick later.
    started_ms: u64,
    /// `None` before the response.
    reader: Option<BoundaryReader>,
    state: State,
    /// Whether broken framing was reported.
    is_broken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It may last.
    Open,
    /// It ends at the next boundary.
    Due,
    /// Everything up to a boundary was forwarded, and nothing follows. The next tick sets the time
    /// of the reset. The delay lets the last bytes reach the client: HTTP/2 discards unsent bytes
    /// when a stream is reset.
    Ending(Option<u64>),
}

/// The part of a chunk that is forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkPart {
    /// All of it.
    All,
    /// This number of bytes from its start, and then other bytes.
    First(usize, Vec<u8>),
}

/// The time of a tick, for cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutTime {
    /// The clock of the ticks, in milliseconds.
    pub now_ms: u64,
    /// How long the last bytes of a stream have to reach the client, in milliseconds.
    pub linger_ms: u64,
}

impl Cut {
    /// A stream on `connection` without a response. `started_ms` is a time on the clock of the ticks.
    pub fn new(connection: u64, started_ms: u64) -> Self {
        Self { connection, started_ms, reader: None, state: State::Open, is_broken: false }
    }

    /// The response has begun.
    pub fn response_started(&mut self, framing: Framing) {
        self.reader = Some(BoundaryReader::new(framing));
    }

    /// Whether the response has begun.
    pub fn has_response(&self) -> bool {
        self.reader.is_some()
    }

    /// The number of bytes at the end of a chunk of `size` bytes that [`chunk`](Self::chunk) has to
    /// read.
    pub fn needed_bytes(&self, size: usize) -> usize {
        match (&self.reader, self.state) {
            (None, _) | (_, State::Ending(_)) => 0,
            (Some(reader), State::Due) if reader.sees_boundaries() => size,
            (Some(reader), State::Open | State::Due) => reader.needed_bytes(size),
        }
    }

    /// Reads a chunk of `size` bytes and returns the part that is forwarded. `end` has the last
    /// [`needed_bytes`](Self::needed_bytes) of the chunk.
    pub fn chunk(&mut self, end: &[u8], size: usize, bound: &Bound) -> ChunkPart {
        let Some(reader) = &mut self.reader else { return ChunkPart::All };
        match self.state {
            State::Open => {
                reader.read(end, size);
                ChunkPart::All
            }
            State::Ending(_) => ChunkPart::First(0, Vec::new()),
            // Envoy begins the body of an upgrade with an empty chunk, to which nothing is added.
            State::Due if size == 0 => ChunkPart::All,
            State::Due => {
                let start = reader.is_at_boundary().then_some(0);
                let boundary = reader.read(end, size).or(start);
                let Some(boundary) = boundary.filter(|_| reader.sees_boundaries()) else {
                    return ChunkPart::All;
                };
                self.state = State::Ending(None);
                match bound.farewell(reader) {
                    None if boundary == size => ChunkPart::All,
                    farewell => {
                        ChunkPart::First(boundary, farewell.unwrap_or_default().into_owned())
                    }
                }
            }
        }
    }

    /// Whether the last chunk broke the framing. True once.
    pub fn has_broken(&mut self) -> bool {
        let is_broken = self.reader.is_some_and(|reader| reader.is_broken());
        is_broken && !std::mem::replace(&mut self.is_broken, true)
    }

    /// Whether nothing more is forwarded, not even the end of the body.
    pub fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending(_))
    }

    /// Whether the stream continues as without a drain.
    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Returns why to end the stream in this tick. `due_for_ms` returns for how long the connection
    /// has been due to close. After the end of a drain, a stream that is not yet ending continues.
    pub fn tick(
        &mut self,
        time: CutTime,
        bound: &Bound,
        due_for_ms: impl FnOnce(u64) -> Option<u64>,
    ) -> Option<Reason> {
        let end = State::Ending(Some(time.now_ms + time.linger_ms));
        match self.state {
            State::Ending(None) => self.state = end,
            State::Ending(Some(until)) => {
                return (until <= time.now_ms).then_some(Reason::DrainCut);
            }
            State::Open | State::Due => {
                // A stream that begins after its connection is due has its whole time, so that no
                // ordinary request fails.
                let age_ms = time.now_ms.saturating_sub(self.started_ms);
                let due_for_ms = due_for_ms(self.connection).map(|due| due.min(age_ms));
                let progress = bound.progress(due_for_ms);
                let is_overdue = progress == Progress::Overdue;
                self.state = match &self.reader {
                    _ if progress == Progress::Open => State::Open,
                    None => return Some(Reason::DrainDeadline),
                    // The filter can add bytes only to a chunk of the upstream, so it waits for one.
                    Some(reader) if reader.is_at_boundary() => {
                        let waits = bound.farewell(reader).is_some() && !is_overdue;
                        if waits { State::Due } else { end }
                    }
                    Some(_) if is_overdue && bound.is_firm() => {
                        return Some(Reason::DrainDeadline);
                    }
                    Some(_) => State::Due,
                };
            }
        }
        None
    }
}
