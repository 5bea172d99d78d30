//! Where a drain cuts a stream that has no end: between two events of an event stream, or between
//! two lines of newline-delimited JSON. The client then has only complete messages and can resume
//! after the last one.

/// How a stream is divided into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Events, each ended by an empty line (WHATWG HTML, 9.2.5: a line ends with CR, LF or both).
    Events,
    /// Lines, each ended by LF.
    Lines,
}

/// The number of bytes at the end of a chunk that show whether it ends at a boundary: CR LF CR LF.
const TAIL: usize = 4;

/// Finds the boundaries of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reader {
    framing: Framing,
    position: Position,
    /// The last byte was CR. An LF after it belongs to the same line end.
    after_cr: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Between two messages.
    Boundary,
    /// At the start of a line within a message.
    LineStart,
    /// Within a line.
    Text,
}

impl Reader {
    fn read(&mut self, byte: u8) {
        match (self.framing, byte) {
            (Framing::Events, b'\n') if self.after_cr => self.after_cr = false,
            (Framing::Events, b'\n' | b'\r') => {
                self.position = if self.position == Position::Text {
                    Position::LineStart
                } else {
                    Position::Boundary
                };
                self.after_cr = byte == b'\r';
            }
            (Framing::Lines, b'\n') => self.position = Position::Boundary,
            _ => (self.position, self.after_cr) = (Position::Text, false),
        }
    }

    /// Reads the tail of a chunk of `size` bytes. Earlier bytes do not affect the result.
    fn read_tail(&mut self, tail: &[u8], size: usize) {
        if size > tail.len() {
            (self.position, self.after_cr) = (Position::Text, false);
        }
        tail.iter().for_each(|byte| self.read(*byte));
    }
}

/// A stream that a drain may cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    connection: u64,
    reader: Reader,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its connection is not due.
    Open,
    /// It ends at the next boundary.
    Due,
    /// Everything up to a boundary was forwarded, and nothing follows. The next tick sets the time
    /// of the reset. The delay lets the last bytes reach the client: HTTP/2 discards unsent bytes
    /// when a stream is reset.
    Ending(Option<u64>),
}

/// The part of a chunk that is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkPart {
    /// All of it.
    All,
    /// This number of bytes from its start.
    First(usize),
}

impl Cut {
    /// A stream on `connection` at its start.
    pub fn new(connection: u64, framing: Framing) -> Self {
        let reader = Reader { framing, position: Position::Boundary, after_cr: false };
        Self { connection, reader, state: State::Open }
    }

    /// The number of bytes at the end of a chunk of `size` bytes that [`chunk`](Self::chunk) has to
    /// read.
    pub fn needed_bytes(&self, size: usize) -> usize {
        match self.state {
            State::Open => size.min(TAIL),
            State::Due => size,
            State::Ending(_) => 0,
        }
    }

    /// Reads a chunk of `size` bytes and returns the part that is forwarded. `end` has the last
    /// [`needed_bytes`](Self::needed_bytes) of the chunk.
    pub fn chunk(&mut self, end: &[u8], size: usize) -> ChunkPart {
        match self.state {
            State::Open => {
                self.reader.read_tail(end, size);
                ChunkPart::All
            }
            State::Ending(_) => ChunkPart::First(0),
            State::Due => {
                let mut boundary = None;
                for (index, byte) in end.iter().enumerate() {
                    self.reader.read(*byte);
                    if self.reader.position == Position::Boundary {
                        boundary = Some(index + 1);
                    }
                }
                let Some(boundary) = boundary else { return ChunkPart::All };
                self.state = State::Ending(None);
                if boundary == size { ChunkPart::All } else { ChunkPart::First(boundary) }
            }
        }
    }

    /// Whether nothing more is forwarded, not even the end of the body.
    pub fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending(_))
    }

    /// Whether the stream continues as without a drain.
    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Returns whether to reset the stream in this tick, at `now`. The last bytes have `linger` to
    /// reach the client. `is_due` decides whether the connection is due to close. After the end of
    /// a drain, a stream that is not yet ending continues.
    pub(crate) fn tick(&mut self, now: u64, linger: u64, is_due: impl FnOnce(u64) -> bool) -> bool {
        self.state = match self.state {
            State::Open | State::Due => match (is_due(self.connection), self.reader.position) {
                (false, _) => State::Open,
                (true, Position::Boundary) => State::Ending(Some(now + linger)),
                (true, Position::LineStart | Position::Text) => State::Due,
            },
            State::Ending(None) => State::Ending(Some(now + linger)),
            State::Ending(Some(until)) if until <= now => return true,
            ending => ending,
        };
        false
    }
}
