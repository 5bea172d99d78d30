//! An incremental decoder of HTTP/1.1 messages. The caller pushes bytes in parts of any size and
//! takes headers and body bytes as they become complete; nothing here performs I/O or waits.

use httparse::{EMPTY_HEADER, Header, Request, Response, Status};

/// The most header fields that a message may have.
const MAX_FIELDS: usize = 128;

/// The most bytes that an error quotes.
const QUOTED: usize = 40;

/// The start line and the header fields of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// The first line, without its line end.
    pub start_line: String,
    /// Names in lower case, in the order of the wire.
    pub fields: Vec<(String, String)>,
}

impl Headers {
    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start_line.split(' ').nth(1)?.parse().ok()
    }

    fn new(bytes: &[u8], parsed: &[Header<'_>]) -> Self {
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).find(|line| !line.is_empty());
        let fields = parsed.iter().map(|field| {
            (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value).into_owned())
        });
        let start_line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
        Self { start_line, fields: fields.collect() }
    }
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The message has no body.
    Empty,
    /// The body has this many bytes.
    Length(usize),
    /// The body has the chunked transfer coding.
    Chunked,
    /// The body ends when the connection closes.
    UntilClose,
}

impl Framing {
    /// The framing that the headers declare; `None` if they declare none.
    pub fn of(headers: &Headers) -> Option<Self> {
        if headers.get("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            return Some(Self::Chunked);
        }
        headers.get("content-length").and_then(|length| length.parse().ok()).map(Self::Length)
    }
}

/// Bytes that are not HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The start line or a header field cannot be parsed.
    #[error("expected HTTP/1.1 headers, found {found:?}: {cause}")]
    Headers {
        /// The first bytes.
        found: String,
        /// The parser's reason.
        cause: httparse::Error,
    },
    /// A chunk size, or the line end after a chunk, cannot be parsed.
    #[error("expected a body in chunks, found {0:?}")]
    Chunk(String),
}

/// The bytes of one direction of a connection.
#[derive(Debug, Default)]
pub struct Decoder {
    unread: Vec<u8>,
}

impl Decoder {
    /// Appends bytes that were read from the connection.
    pub fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The bytes that no message has taken yet.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Removes at most `most` bytes without decoding them.
    pub fn take(&mut self, most: usize) -> Vec<u8> {
        let length = most.min(self.unread.len());
        self.unread.drain(..length).collect()
    }

    /// Removes the headers of the next message; `None` until all of them have been pushed.
    ///
    /// # Errors
    /// If the bytes are not the start of a message.
    pub fn headers(&mut self) -> Result<Option<Headers>, Malformed> {
        let mut fields = [EMPTY_HEADER; MAX_FIELDS];
        let bytes = &self.unread[..];
        let parsed = if bytes.starts_with(b"HTTP/") {
            let mut response = Response::new(&mut fields);
            let status = response.parse(bytes);
            status.map(|status| (status, &*response.headers))
        } else {
            let mut request = Request::new(&mut fields);
            let status = request.parse(bytes);
            status.map(|status| (status, &*request.headers))
        };
        match parsed {
            Ok((Status::Complete(length), fields)) => {
                let headers = Headers::new(&bytes[..length], fields);
                self.unread.drain(..length);
                Ok(Some(headers))
            }
            Ok((Status::Partial, _)) => Ok(None),
            Err(cause) => Err(Malformed::Headers { found: quoted(bytes), cause }),
        }
    }

    /// Moves body bytes to `data`, as many as have been pushed and belong to this body.
    ///
    /// # Errors
    /// If the chunked transfer coding is violated.
    pub fn body(&mut self, body: &mut BodyDecoder, data: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut used = 0;
        while let Some(step) = body.step(&self.unread[used..], data)? {
            used += step;
        }
        self.unread.drain(..used);
        Ok(())
    }
}

/// The progress within one body.
#[derive(Debug)]
pub struct BodyDecoder {
    next: Next,
    /// The sizes of the chunks, in the order of the wire.
    pub chunks: Vec<usize>,
    /// The trailer lines after the last chunk.
    pub trailers: Vec<String>,
}

/// The part of a body that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Bytes(usize),
    BytesUntilClose,
    ChunkSize,
    ChunkBytes(usize),
    ChunkEnd,
    Trailer,
    Nothing,
}

impl BodyDecoder {
    /// Starts at the first byte of a body.
    pub fn new(framing: Framing) -> Self {
        let next = match framing {
            Framing::Empty | Framing::Length(0) => Next::Nothing,
            Framing::Length(length) => Next::Bytes(length),
            Framing::Chunked => Next::ChunkSize,
            Framing::UntilClose => Next::BytesUntilClose,
        };
        Self { next, chunks: Vec::new(), trailers: Vec::new() }
    }

    /// Whether the last byte has been decoded.
    pub fn is_complete(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Whether the body is complete if the connection closes now.
    pub fn may_close(&self) -> bool {
        matches!(self.next, Next::Nothing | Next::BytesUntilClose)
    }

    /// Decodes one part; returns its length, or `None` if more bytes are needed or the body is
    /// complete.
    fn step(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<Option<usize>, Malformed> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let (used, next) = match self.next {
            Next::Nothing => return Ok(None),
            Next::Bytes(missing) => {
                let used = copy(bytes, missing, data);
                (used, if used == missing { Next::Nothing } else { Next::Bytes(missing - used) })
            }
            Next::BytesUntilClose => (copy(bytes, usize::MAX, data), Next::BytesUntilClose),
            Next::ChunkSize => match httparse::parse_chunk_size(bytes) {
                Ok(Status::Complete((line, 0))) => (line, Next::Trailer),
                Ok(Status::Complete((line, size))) => {
                    let size = size as usize;
                    self.chunks.push(size);
                    (line, Next::ChunkBytes(size))
                }
                Ok(Status::Partial) => return Ok(None),
                Err(_) => return Err(Malformed::Chunk(quoted(bytes))),
            },
            Next::ChunkBytes(missing) => {
                let used = copy(bytes, missing, data);
                let rest = missing - used;
                (used, if rest == 0 { Next::ChunkEnd } else { Next::ChunkBytes(rest) })
            }
            Next::ChunkEnd => match bytes.get(..2) {
                Some(b"\r\n") => (2, Next::ChunkSize),
                Some(_) => return Err(Malformed::Chunk(quoted(bytes))),
                None => return Ok(None),
            },
            Next::Trailer => match bytes.windows(2).position(|two| two == b"\r\n") {
                Some(0) => (2, Next::Nothing),
                Some(end) => {
                    self.trailers.push(String::from_utf8_lossy(&bytes[..end]).into_owned());
                    (end + 2, Next::Trailer)
                }
                None => return Ok(None),
            },
        };
        self.next = next;
        Ok(Some(used))
    }
}

fn copy(bytes: &[u8], most: usize, data: &mut Vec<u8>) -> usize {
    let length = most.min(bytes.len());
    data.extend_from_slice(&bytes[..length]);
    length
}

/// The text of the first bytes.
fn quoted(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTED)]).into_owned()
}
