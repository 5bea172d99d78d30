//! Checks the response of an event stream as its bytes arrive. Thousands of clients share a thread,
//! so nothing here waits.

use super::event::Event;
use crate::http1::message::{BodyDecoder, Decoder, Framing, Headers, Malformed};

/// The response on one connection, as far as it was read.
#[derive(Debug, Default)]
pub struct EventReader {
    decoder: Decoder,
    body: Option<BodyDecoder>,
    text: Vec<u8>,
    next: u64,
}

/// How a stream differs from what the upstream sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The headers or a chunk cannot be parsed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The status is not 200.
    #[error("expected status 200, found {0}")]
    Status(u16),
    /// The body does not have the chunked transfer coding.
    #[error("expected a body in chunks, found {0:?}")]
    NotChunked(String),
    /// A trailer follows the last chunk.
    #[error("expected no trailers, found {0:?}")]
    Trailer(String),
    /// A part of the body is not one of the sent events.
    #[error("expected an event, found {0:?}")]
    NotAnEvent(String),
    /// An event is missing, duplicated or reordered.
    #[error("expected event {expected}, found event {found}")]
    Order {
        /// The number of the next event.
        expected: u64,
        /// The number that was received.
        found: u64,
    },
    /// Bytes follow the end.
    #[error("expected nothing after the end, found {0} bytes")]
    Surplus(usize),
    /// The connection closed before the end.
    #[error("expected event {expected} or the end, found a close")]
    Cut {
        /// The number of the next event.
        expected: u64,
    },
    /// The connection failed.
    #[error("expected a connection, found: {0}")]
    Io(std::io::ErrorKind),
}

impl EventReader {
    /// Whether the headers have been received.
    pub fn has_begun(&self) -> bool {
        self.body.is_some()
    }

    /// Whether the end of the body has been received.
    pub fn has_ended(&self) -> bool {
        self.body.as_ref().is_some_and(BodyDecoder::is_complete)
    }

    /// The number of the next event.
    pub fn next_event(&self) -> u64 {
        self.next
    }

    /// Reads more bytes; passes each event that they complete to `each`.
    ///
    /// # Errors
    /// If the stream differs from what the upstream sends.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Event)) -> Result<(), StreamError> {
        self.decoder.push(bytes);
        if self.body.is_none()
            && let Some(headers) = self.decoder.headers()?
        {
            self.body = Some(body(&headers)?);
        }
        let Some(body) = &mut self.body else { return Ok(()) };
        let decoded = self.decoder.body(body, &mut self.text);
        self.take_events(&mut each)?;
        decoded?;
        self.check_end()
    }

    fn take_events(&mut self, each: &mut impl FnMut(Event)) -> Result<(), StreamError> {
        while let Some(end) = self.text.windows(2).position(|window| window == b"\n\n") {
            let text = String::from_utf8_lossy(&self.text[..end]);
            let event = Event::parse(&text);
            let event = event.ok_or_else(|| StreamError::NotAnEvent(text.into_owned()))?;
            if event.number != self.next {
                return Err(StreamError::Order { expected: self.next, found: event.number });
            }
            self.next += 1;
            self.text.drain(..end + 2);
            each(event);
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), StreamError> {
        let Some(body) = self.body.as_ref().filter(|body| body.is_complete()) else {
            return Ok(());
        };
        if let Some(trailer) = body.trailers.first() {
            return Err(StreamError::Trailer(trailer.clone()));
        }
        match (self.decoder.unread().len(), self.text.is_empty()) {
            (0, true) => Ok(()),
            (0, false) => {
                Err(StreamError::NotAnEvent(String::from_utf8_lossy(&self.text).into_owned()))
            }
            (surplus, _) => Err(StreamError::Surplus(surplus)),
        }
    }
}

/// The body that follows the headers.
fn body(headers: &Headers) -> Result<BodyDecoder, StreamError> {
    match headers.status() {
        Some(200) => {}
        status => return Err(StreamError::Status(status.unwrap_or_default())),
    }
    match headers.get("transfer-encoding") {
        Some("chunked") => Ok(BodyDecoder::new(Framing::Chunked)),
        _ => Err(StreamError::NotChunked(format!("{:?}", headers.fields))),
    }
}
