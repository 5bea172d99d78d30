//! What a client makes of the bytes of an event stream, as they come: thousands of clients share a thread, so nothing here waits.

use httparse::{EMPTY_HEADER, Response, Status};

use super::event::Event;

const HEADERS: usize = 32;

/// The response on one connection, and how far it was read.
#[derive(Debug, Default)]
pub struct Feed {
    unread: Vec<u8>,
    text: Vec<u8>,
    place: Place,
    next: u64,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Head,
    Size,
    Chunk(usize),
    LastLine,
    End,
}

/// Why a stream is not what was sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The head or a chunk's size is not HTTP/1.1.
    #[error("expected HTTP/1.1, found something else: {0}")]
    NotHttp(String),
    /// Another status than 200.
    #[error("expected status 200, found {0}")]
    Status(u16),
    /// The body does not come in chunks, or a chunk is longer than it says.
    #[error("expected a body in chunks, found {0:?}")]
    NotChunked(String),
    /// A piece of the stream is no event of ours.
    #[error("expected an event, found {0:?}")]
    NotAnEvent(String),
    /// An event is missing, came twice or out of order.
    #[error("expected event {expected}, found event {found}")]
    Order {
        /// The one that comes next.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// Bytes follow the end.
    #[error("expected nothing after the end, found {0} bytes")]
    Surplus(usize),
    /// The connection closed before the end.
    #[error("expected event {expected} or the end, found a close")]
    Cut {
        /// The one that would have come next.
        expected: u64,
    },
    /// The connection could not be used.
    #[error("expected a connection, found: {0}")]
    Lost(std::io::ErrorKind),
}

impl Feed {
    /// Whether the head has come, which has status 200.
    pub fn has_begun(&self) -> bool {
        self.place != Place::Head
    }

    /// Whether the end has come.
    pub fn has_ended(&self) -> bool {
        self.place == Place::End
    }

    /// The number of the event that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes the bytes of a read; hands over each event that they complete.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Event)) -> Result<(), Broken> {
        self.unread.extend_from_slice(bytes);
        while let Some(used) = self.step()? {
            self.unread.drain(..used);
        }
        while let Some(end) = self.text.windows(2).position(|window| window == b"\n\n") {
            let text = String::from_utf8_lossy(&self.text[..end]);
            let event = Event::parse(&text).ok_or_else(|| Broken::NotAnEvent(text.into_owned()))?;
            if event.number != self.next {
                return Err(Broken::Order { expected: self.next, found: event.number });
            }
            self.next += 1;
            self.text.drain(..end + 2);
            each(event);
        }
        match self.has_ended() && !self.text.is_empty() {
            true => Err(Broken::NotAnEvent(String::from_utf8_lossy(&self.text).into_owned())),
            false => Ok(()),
        }
    }

    /// Reads on by one place; how many bytes that took, or nothing if more must come.
    fn step(&mut self) -> Result<Option<usize>, Broken> {
        let (used, place) = match self.place {
            Place::Head => match head(&self.unread)? {
                Some(length) => (length, Place::Size),
                None => return Ok(None),
            },
            Place::Size => match httparse::parse_chunk_size(&self.unread) {
                Ok(Status::Complete((line, 0))) => (line, Place::LastLine),
                Ok(Status::Complete((line, size))) => (line, Place::Chunk(size as usize)),
                Ok(Status::Partial) => return Ok(None),
                Err(_) => return Err(self.not_chunked()),
            },
            Place::Chunk(size) => match self.unread.get(size..size + 2) {
                Some(b"\r\n") => {
                    self.text.extend_from_slice(&self.unread[..size]);
                    (size + 2, Place::Size)
                }
                Some(_) => return Err(self.not_chunked()),
                None => return Ok(None),
            },
            Place::LastLine => match self.unread.get(..2) {
                Some(b"\r\n") => (2, Place::End),
                Some(_) => return Err(self.not_chunked()),
                None => return Ok(None),
            },
            Place::End if self.unread.is_empty() => return Ok(None),
            Place::End => return Err(Broken::Surplus(self.unread.len())),
        };
        self.place = place;
        Ok(Some(used))
    }

    fn not_chunked(&self) -> Broken {
        let shown = &self.unread[..self.unread.len().min(40)];
        Broken::NotChunked(String::from_utf8_lossy(shown).into_owned())
    }
}

/// How long the head is, once all of it is there.
fn head(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut response = Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(Broken::NotHttp(error.to_string())),
    };
    let status = response.code.unwrap_or_default();
    if status != 200 {
        return Err(Broken::Status(status));
    }
    let coding = response.headers.iter().find(|header| header.name == "transfer-encoding");
    match coding {
        Some(coding) if coding.value == b"chunked" => Ok(Some(length)),
        _ => Err(Broken::NotChunked(String::from_utf8_lossy(&bytes[..length]).into_owned())),
    }
}
