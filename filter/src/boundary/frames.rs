//! Boundaries of messages with their length in front: gRPC messages and WebSocket frames.
//!
//! The reader needs the headers only, and skips payloads without reading them.

/// The longest header: a WebSocket frame with a length of eight bytes. Frames from a server have no
/// mask.
const MAX_HEADER: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    WebSocket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameReader {
    protocol: Protocol,
    /// The part of the next header that has been read.
    header: [u8; MAX_HEADER],
    header_bytes: usize,
    /// The bytes of the payload that are still to come.
    payload: u64,
    /// A WebSocket message has begun, and its last frame is still to come.
    is_in_message: bool,
    has_closed: bool,
    is_broken: bool,
}

/// A header, as far as it has been read.
enum Header {
    Incomplete,
    Complete { payload: u64 },
    Invalid,
}

impl FrameReader {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            header: [0; MAX_HEADER],
            header_bytes: 0,
            payload: 0,
            is_in_message: false,
            has_closed: false,
            is_broken: false,
        }
    }

    pub(super) fn needed_bytes(&self, size: usize) -> usize {
        match usize::try_from(self.payload) {
            _ if self.is_broken => 0,
            Ok(payload) => size.saturating_sub(payload),
            Err(_) => 0,
        }
    }

    pub(super) fn read(&mut self, tail: &[u8], size: usize) -> Option<usize> {
        let skipped = size.saturating_sub(tail.len());
        match self.payload.checked_sub(skipped as u64) {
            Some(payload) => self.payload = payload,
            // The host did not return the bytes that are needed.
            None => self.is_broken = true,
        }
        let mut boundary = (skipped > 0 && self.is_at_boundary()).then_some(skipped);
        let mut rest = tail;
        while !rest.is_empty() && !self.is_broken {
            rest = if self.payload > 0 { self.skip_payload(rest) } else { self.read_header(rest) };
            if self.is_at_boundary() {
                boundary = Some(size - rest.len());
            }
        }
        boundary
    }

    fn skip_payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
        self.payload -= skipped as u64;
        &bytes[skipped..]
    }

    fn read_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some((byte, rest)) = bytes.split_first() else { return bytes };
        self.header[self.header_bytes] = *byte;
        self.header_bytes += 1;
        let header = &self.header[..self.header_bytes];
        let parsed = match self.protocol {
            Protocol::Grpc => grpc_header(header),
            Protocol::WebSocket => websocket_header(header, self.is_in_message),
        };
        match parsed {
            Header::Incomplete => {}
            Header::Invalid => self.is_broken = true,
            Header::Complete { payload } => {
                self.complete_header();
                self.payload = payload;
                self.header_bytes = 0;
            }
        }
        rest
    }

    fn complete_header(&mut self) {
        if self.protocol == Protocol::WebSocket {
            let (is_last, opcode) = (self.header[0] & 0x80 != 0, self.header[0] & 0x0f);
            match opcode {
                CLOSE => self.has_closed = true,
                CONTINUATION..CLOSE => self.is_in_message = !is_last,
                _ => {}
            }
        }
    }

    pub(super) fn is_at_boundary(&self) -> bool {
        self.payload == 0 && self.header_bytes == 0 && !self.is_broken
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub(super) fn has_closed(&self) -> bool {
        self.has_closed
    }
}

/// A flag and four bytes of length. gRPC-Web sends the trailers as a message with the flag 128.
fn grpc_header(header: &[u8]) -> Header {
    match *header {
        [flag, ..] if flag & !0x81 != 0 => Header::Invalid,
        [_, a, b, c, d] => Header::Complete { payload: u32::from_be_bytes([a, b, c, d]).into() },
        _ => Header::Incomplete,
    }
}

const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PONG: u8 = 10;

/// RFC 6455, 5.2 to 5.5. Compression (RFC 7692) uses the first reserved bit; no other extension is
/// registered.
fn websocket_header(header: &[u8], is_in_message: bool) -> Header {
    let [first, second, length @ ..] = header else { return Header::Incomplete };
    let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
    let short = second & 0x7f;
    let is_control = opcode >= CLOSE;
    let is_valid = first & 0x30 == 0
        && matches!(opcode, 0..=2 | CLOSE..=PONG)
        && second & 0x80 == 0
        && match is_control {
            true => is_last && short <= 125,
            false => (opcode == CONTINUATION) == is_in_message,
        };
    if !is_valid {
        return Header::Invalid;
    }
    // The shortest form of a length is required.
    let (payload, min) = match (short, length) {
        (..=125, _) => (short.into(), 0),
        (126, [a, b]) => (u16::from_be_bytes([*a, *b]).into(), 126),
        (127, &[a, b, c, d, e, f, g, h]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 1 << 16),
        _ => return Header::Incomplete,
    };
    match (min..1 << 63).contains(&payload) {
        true => Header::Complete { payload },
        false => Header::Invalid,
    }
}
