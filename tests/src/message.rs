//! An HTTP/1.1 message as it stands on the wire, read with when each of its bytes came.
//!
//! Both ends of the harness read with this, a library would hide what the tests are about: where
//! chunks begin, whether a body ended or was cut, what came before the final response.

use std::io::{self, Read};
use std::time::Instant;

/// Start line and header lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The first line, without its line end.
    pub start: String,
    /// Names in lower case, in the order of the wire.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { start, headers }
    }
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(usize),
    /// In chunks, the last one empty.
    Chunked,
    /// When the connection closes.
    UntilClose,
}

impl Framing {
    /// What the headers say, if they say anything.
    pub fn of(head: &Head) -> Option<Self> {
        if head.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            return Some(Self::Chunked);
        }
        head.header("content-length").and_then(|length| length.parse().ok()).map(Self::Length)
    }
}

/// A body as far as it came.
#[derive(Debug, Clone)]
pub struct Body {
    /// Its bytes, without chunk heads.
    pub bytes: Vec<u8>,
    /// Whether its end came too; else the connection was closed within it.
    pub complete: bool,
    /// When each read brought how many bytes of it.
    pub pieces: Vec<(Instant, usize)>,
    /// The sizes of the chunks, if it came in chunks.
    pub chunks: Vec<usize>,
}

/// Reads messages from a connection, one after the other.
#[derive(Debug)]
pub struct Reader<S> {
    /// The connection.
    pub stream: S,
    unread: Vec<u8>,
}

impl<S: Read> Reader<S> {
    /// A reader that has read nothing yet.
    pub fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// The next head; `None` if the connection closes before it begins.
    ///
    /// # Errors
    /// What reading meets; `UnexpectedEof` for a close within the head.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                let head = Head::parse(&self.unread[..end]);
                self.unread.drain(..end + 4);
                return Ok(Some(head));
            }
            if self.more()? == 0 {
                return match self.unread.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// The body that follows a head.
    ///
    /// # Errors
    /// What reading meets; a close is no error, it makes the body incomplete.
    ///
    /// # Panics
    /// On a chunk that has no size.
    pub fn body(&mut self, framing: Framing) -> io::Result<Body> {
        let mut body =
            Body { bytes: Vec::new(), complete: true, pieces: Vec::new(), chunks: Vec::new() };
        match framing {
            Framing::Empty => {}
            Framing::Length(length) => body.complete = self.take(length, &mut body)?,
            Framing::UntilClose => while self.take(1, &mut body)? {},
            Framing::Chunked => body.complete = self.chunks(&mut body)?,
        }
        Ok(body)
    }

    /// Whether nothing but the close of the connection follows.
    ///
    /// # Errors
    /// What reading meets, a timeout included.
    pub fn closed(&mut self) -> io::Result<bool> {
        Ok(self.unread.is_empty() && self.more()? == 0)
    }

    /// The next bytes as they come, at most `length`; none at the close.
    ///
    /// # Errors
    /// What reading meets.
    pub fn raw(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if self.unread.is_empty() {
            self.more()?;
        }
        let length = length.min(self.unread.len());
        Ok(self.unread.drain(..length).collect())
    }

    /// Everything until the connection ends, however it ends.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more().is_ok_and(|size| size > 0) {}
        self.unread.drain(..).collect()
    }

    fn chunks(&mut self, body: &mut Body) -> io::Result<bool> {
        loop {
            let Some(line) = self.line()? else { return Ok(false) };
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .unwrap_or_else(|_| panic!("{line:?} is no chunk size"));
            if size == 0 {
                while let Some(line) = self.line()? {
                    if line.is_empty() {
                        return Ok(true);
                    }
                }
                return Ok(false);
            }
            body.chunks.push(size);
            if !self.take(size, body)? || self.line()?.is_none() {
                return Ok(false);
            }
        }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                let line = String::from_utf8_lossy(&self.unread[..end]).into_owned();
                self.unread.drain(..end + 2);
                return Ok(Some(line));
            }
            if self.more()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Moves so many bytes into the body; false if the connection closes before.
    fn take(&mut self, mut length: usize, body: &mut Body) -> io::Result<bool> {
        while length > 0 {
            if self.unread.is_empty() && self.more()? == 0 {
                return Ok(false);
            }
            let piece = length.min(self.unread.len());
            body.bytes.extend(self.unread.drain(..piece));
            body.pieces.push((Instant::now(), piece));
            length -= piece;
        }
        Ok(true)
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut piece = vec![0; 64 * 1024];
        let read = match self.stream.read(&mut piece) {
            // A peer that closes with unread bytes resets the connection; it is closed all the same.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            other => other?,
        };
        self.unread.extend_from_slice(&piece[..read]);
        Ok(read)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
