//! Where a stream may end: between two events of an event stream, two lines, two gRPC messages or
//! two WebSocket frames. The client then has only complete messages.

mod frames;
mod text;

use frames::{FrameReader, Protocol};
use text::TextReader;

/// How a response is divided into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Events, each ended by an empty line (WHATWG HTML, 9.2.5: a line ends with CR, LF or both).
    Events,
    /// Lines, each ended by LF.
    Lines,
    /// gRPC messages, each with its length in front.
    Grpc,
    /// WebSocket frames (RFC 6455, 5.2).
    WebSocket,
    /// No boundaries that the filter can see.
    Opaque,
}

/// Follows a response and finds its boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundaryReader {
    framing: Framing,
    inner: Inner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inner {
    Text(TextReader),
    Frames(FrameReader),
    Opaque,
}

impl BoundaryReader {
    /// A reader at the start of a response.
    pub fn new(framing: Framing) -> Self {
        let inner = match framing {
            Framing::Events | Framing::Lines => {
                Inner::Text(TextReader::new(framing == Framing::Events))
            }
            Framing::Grpc => Inner::Frames(FrameReader::new(Protocol::Grpc)),
            Framing::WebSocket => Inner::Frames(FrameReader::new(Protocol::WebSocket)),
            Framing::Opaque => Inner::Opaque,
        };
        Self { framing, inner }
    }

    /// How the response is divided.
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// The number of bytes at the end of a chunk of `size` bytes that [`read`](Self::read) needs to
    /// follow the response.
    pub fn needed_bytes(&self, size: usize) -> usize {
        match &self.inner {
            Inner::Text(_) => TextReader::needed_bytes(size),
            Inner::Frames(reader) => reader.needed_bytes(size),
            Inner::Opaque => 0,
        }
    }

    /// Reads a chunk of `size` bytes, of which `tail` has the last ones. Returns the position in
    /// the chunk of the last boundary within `tail`.
    pub fn read(&mut self, tail: &[u8], size: usize) -> Option<usize> {
        match &mut self.inner {
            Inner::Text(reader) => reader.read(tail, size),
            Inner::Frames(reader) => reader.read(tail, size),
            Inner::Opaque => None,
        }
    }

    /// Whether the response may end here.
    pub fn is_at_boundary(&self) -> bool {
        match &self.inner {
            Inner::Text(reader) => reader.is_at_boundary(),
            Inner::Frames(reader) => reader.is_at_boundary(),
            Inner::Opaque => false,
        }
    }

    /// Whether the bytes do not follow the framing, so that no boundary can be found any more.
    pub fn is_broken(&self) -> bool {
        matches!(&self.inner, Inner::Frames(reader) if reader.is_broken())
    }

    /// Whether a boundary can still be found.
    pub fn sees_boundaries(&self) -> bool {
        self.inner != Inner::Opaque && !self.is_broken()
    }

    /// Whether the WebSocket has sent its Close frame, after which nothing may follow.
    pub fn has_closed(&self) -> bool {
        matches!(&self.inner, Inner::Frames(reader) if reader.has_closed())
    }
}
