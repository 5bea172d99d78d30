//! The events of a response, as timeouts count them.
//!
//! In an event stream, an event with data counts, unless the configuration ignores its name. Among
//! lines, a line that is not blank counts. Elsewhere every byte of the body counts.

use crate::boundary::Framing;
use crate::config::EventName;

/// Follows a response and finds its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventReader(Inner);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Inner {
    Events(EventStream),
    Lines { is_blank: bool },
    Bytes,
}

impl EventReader {
    /// A reader at the start of a response.
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Events => Inner::Events(EventStream::default()),
            Framing::Lines => Inner::Lines { is_blank: true },
            Framing::Grpc | Framing::WebSocket | Framing::Opaque => Inner::Bytes,
        })
    }

    /// Whether [`read`](Self::read) needs the bytes of a chunk. If not, every byte counts.
    pub fn needs_bytes(&self) -> bool {
        self.0 != Inner::Bytes
    }

    /// Reads a chunk and returns whether an event ended in it that counts. `is_ignored` decides
    /// about the name of an event.
    pub fn read(&mut self, chunk: &[u8], is_ignored: impl Fn(&[u8]) -> bool) -> bool {
        match &mut self.0 {
            Inner::Events(stream) => stream.read(chunk, is_ignored),
            Inner::Lines { is_blank } => read_lines(chunk, is_blank),
            Inner::Bytes => !chunk.is_empty(),
        }
    }
}

/// Control characters are blank: JSON text sequences (RFC 7464) begin each text with one.
fn read_lines(chunk: &[u8], is_blank: &mut bool) -> bool {
    let mut has_event = false;
    for byte in chunk {
        if *byte == b'\n' {
            has_event |= !std::mem::replace(is_blank, true);
        } else if *byte > b' ' {
            *is_blank = false;
        }
    }
    has_event
}

/// The bytes of a line that are kept: a field with the longest name, and one byte more, which shows
/// that a name is longer.
const KEPT_BYTES: usize = "event: ".len() + EventName::MAX_BYTES + 1;

/// The name of an event without one.
const UNNAMED: &[u8] = b"message";

/// An event stream (WHATWG HTML, 9.2.6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct EventStream {
    /// The start of the current line.
    line: Vec<u8>,
    /// Whether a line has ended, after which there is no byte order mark.
    has_line: bool,
    /// The last byte was CR. An LF after it belongs to the same line end.
    after_cr: bool,
    /// Whether the current event has data.
    has_data: bool,
    /// Whether the name of the current event is ignored, if it has one.
    is_ignored: Option<bool>,
}

impl EventStream {
    fn read(&mut self, chunk: &[u8], is_ignored: impl Fn(&[u8]) -> bool) -> bool {
        let mut has_event = false;
        let mut rest = chunk;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let text = &rest[..end.unwrap_or(rest.len())];
            let room = KEPT_BYTES - self.line.len();
            self.line.extend_from_slice(&text[..room.min(text.len())]);
            let Some(end) = end else { break };
            has_event |= self.end_line(&is_ignored);
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
        }
        has_event
    }

    /// Returns whether the line ends an event that counts.
    fn end_line(&mut self, is_ignored: impl Fn(&[u8]) -> bool) -> bool {
        let is_first = !std::mem::replace(&mut self.has_line, true);
        let mark: &[u8] = if is_first { "\u{feff}".as_bytes() } else { b"" };
        let line = self.line.strip_prefix(mark).unwrap_or(&self.line);
        let mut counts = false;
        if line.is_empty() {
            let is_ignored = self.is_ignored.take().unwrap_or_else(|| is_ignored(UNNAMED));
            counts = std::mem::take(&mut self.has_data) && !is_ignored;
        } else {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (field, value) = line.split_at(colon);
            let value = value.strip_prefix(b":").unwrap_or(value);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                b"data" => self.has_data = true,
                b"event" if value.is_empty() => self.is_ignored = None,
                b"event" => self.is_ignored = Some(is_ignored(value)),
                _ => {}
            }
        }
        self.line.clear();
        counts
    }
}
