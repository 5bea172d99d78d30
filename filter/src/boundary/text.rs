//! Boundaries of text: event streams and lines.

/// The number of bytes at the end of a chunk that show whether it ends at a boundary: CR LF CR LF.
const TAIL: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextReader {
    has_events: bool,
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

impl TextReader {
    /// A reader of events or, if not, of lines.
    pub(super) fn new(has_events: bool) -> Self {
        Self { has_events, position: Position::Boundary, after_cr: false }
    }

    pub(super) fn needed_bytes(size: usize) -> usize {
        size.min(TAIL)
    }

    /// Earlier bytes of the chunk than the last four do not affect the position at its end.
    pub(super) fn read(&mut self, tail: &[u8], size: usize) -> Option<usize> {
        let skipped = size.saturating_sub(tail.len());
        if skipped > 0 {
            (self.position, self.after_cr) = (Position::Text, false);
        }
        let mut boundary = None;
        for (index, byte) in tail.iter().enumerate() {
            self.read_byte(*byte);
            if self.is_at_boundary() {
                boundary = Some(skipped + index + 1);
            }
        }
        boundary
    }

    fn read_byte(&mut self, byte: u8) {
        match (self.has_events, byte) {
            (true, b'\n') if self.after_cr => self.after_cr = false,
            (true, b'\n' | b'\r') => {
                self.position = if self.position == Position::Text {
                    Position::LineStart
                } else {
                    Position::Boundary
                };
                self.after_cr = byte == b'\r';
            }
            (false, b'\n') => self.position = Position::Boundary,
            _ => (self.position, self.after_cr) = (Position::Text, false),
        }
    }

    pub(super) fn is_at_boundary(&self) -> bool {
        self.position == Position::Boundary
    }
}
