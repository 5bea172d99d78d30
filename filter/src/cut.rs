//! Where a stream that never ends may be cut: between two events of an event stream, between two lines of newline-delimited JSON. A client
//! that is cut there has seen everything up to a point that it can name when it comes back.

/// How a stream is divided into parts that make sense alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Events, each ended by an empty line (WHATWG HTML, 9.2.5: a line ends with CR, LF or both).
    Events,
    /// Lines, each ended by LF.
    Lines,
}

/// How many bytes at the end of a piece tell where it stands: CR LF CR LF.
const TAIL: usize = 4;

/// A reader of a stream that knows whether it stands between two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reader {
    framing: Framing,
    at: At,
    /// The last byte was CR: an LF after it belongs to it.
    cr: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Between two parts.
    Boundary,
    /// At the begin of a line within a part.
    Line,
    /// Within a line.
    Text,
}

impl Reader {
    fn read(&mut self, byte: u8) {
        match (self.framing, byte) {
            (Framing::Events, b'\n') if self.cr => self.cr = false,
            (Framing::Events, b'\n' | b'\r') => {
                self.at = if self.at == At::Text { At::Line } else { At::Boundary };
                self.cr = byte == b'\r';
            }
            (Framing::Lines, b'\n') => self.at = At::Boundary,
            _ => (self.at, self.cr) = (At::Text, false),
        }
    }

    /// Reads the end of a piece of `size` bytes; what stands before its tail cannot matter.
    fn read_tail(&mut self, tail: &[u8], size: usize) {
        if size > tail.len() {
            (self.at, self.cr) = (At::Text, false);
        }
        tail.iter().for_each(|byte| self.read(*byte));
    }
}

/// How a drain stands to a stream that it may cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    connection: u64,
    reader: Reader,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The moment of its connection has not come.
    Open,
    /// It ends at the next boundary.
    Due,
    /// What came up to a boundary was passed, and nothing follows. It gets until this time, once a tick has set one, to reach the client: what
    /// HTTP/2 has not sent when its stream is cut is lost.
    Ending(Option<u64>),
}

/// What happens to a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// It passes as a whole.
    Pass,
    /// Only so many bytes of it pass.
    Keep(usize),
}

impl Cut {
    /// A stream that begins on `connection`.
    pub fn new(connection: u64, framing: Framing) -> Self {
        let reader = Reader { framing, at: At::Boundary, cr: false };
        Self { connection, reader, state: State::Open }
    }

    /// How much of the end of a piece of `size` bytes has to be seen.
    pub fn needs(&self, size: usize) -> usize {
        match self.state {
            State::Open => size.min(TAIL),
            State::Due => size,
            State::Ending(_) => 0,
        }
    }

    /// A piece of `size` bytes has come, and `end` is as much of its end as [`needs`](Self::needs) says.
    pub fn piece(&mut self, end: &[u8], size: usize) -> Piece {
        match self.state {
            State::Open => {
                self.reader.read_tail(end, size);
                Piece::Pass
            }
            State::Ending(_) => Piece::Keep(0),
            State::Due => {
                let mut boundary = None;
                for (index, byte) in end.iter().enumerate() {
                    self.reader.read(*byte);
                    if self.reader.at == At::Boundary {
                        boundary = Some(index + 1);
                    }
                }
                let Some(boundary) = boundary else { return Piece::Pass };
                self.state = State::Ending(None);
                if boundary == size { Piece::Pass } else { Piece::Keep(boundary) }
            }
        }
    }

    /// Whether nothing more may pass, not even the end.
    pub fn is_ending(&self) -> bool {
        matches!(self.state, State::Ending(_))
    }

    /// Whether it goes on as if there were no drain.
    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// A tick at `now`: whether the stream is to be cut. `linger` is how long what was passed has to reach the client, and `is_due` says whether
    /// the moment of its connection has come; a drain that was taken back leaves alone what still passes as a whole.
    pub(crate) fn tick(&mut self, now: u64, linger: u64, is_due: impl FnOnce(u64) -> bool) -> bool {
        self.state = match self.state {
            State::Open | State::Due => match (is_due(self.connection), self.reader.at) {
                (false, _) => State::Open,
                (true, At::Boundary) => State::Ending(Some(now + linger)),
                (true, At::Line | At::Text) => State::Due,
            },
            State::Ending(None) => State::Ending(Some(now + linger)),
            State::Ending(Some(until)) if until <= now => return true,
            ending => ending,
        };
        false
    }
}
