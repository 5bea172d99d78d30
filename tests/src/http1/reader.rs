//! Reads messages from a blocking connection and records when each read returned bytes.

use std::io::{self, Read};
use std::time::Instant;

use super::message::{BodyDecoder, Decoder, Framing, Headers, Malformed};

/// A body, as far as it was received.
#[derive(Debug, Clone)]
pub struct Body {
    /// The bytes, without chunk sizes.
    pub bytes: Vec<u8>,
    /// Whether the end was received; otherwise the connection closed within the body.
    pub complete: bool,
    /// The time of each read that returned bytes of the body, and how many.
    pub arrivals: Vec<(Instant, usize)>,
    /// The sizes of the chunks, if the transfer coding is chunked.
    pub chunks: Vec<usize>,
}

/// Reads messages from a connection, one after the other.
#[derive(Debug)]
pub struct Reader<S> {
    /// The connection.
    pub stream: S,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl<S: Read> Reader<S> {
    /// Reads from the first byte of a connection.
    pub fn new(stream: S) -> Self {
        Self { stream, decoder: Decoder::default(), buffer: vec![0; 64 * 1024] }
    }

    /// The headers of the next message; `None` if the connection closes before they begin.
    ///
    /// # Errors
    /// If the connection cannot be read or closes within the headers, or if they are malformed.
    pub fn headers(&mut self) -> io::Result<Option<Headers>> {
        loop {
            if let Some(headers) = self.decoder.headers().map_err(invalid)? {
                return Ok(Some(headers));
            }
            if self.fill()? == 0 {
                return match self.decoder.unread().is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// The body that follows the headers. A close within the body makes it incomplete.
    ///
    /// # Errors
    /// If the connection cannot be read, or the body is malformed.
    pub fn body(&mut self, framing: Framing) -> io::Result<Body> {
        let mut decoder = BodyDecoder::new(framing);
        let (mut bytes, mut arrivals) = (Vec::new(), Vec::new());
        loop {
            let before = bytes.len();
            self.decoder.body(&mut decoder, &mut bytes).map_err(invalid)?;
            if bytes.len() > before {
                arrivals.push((Instant::now(), bytes.len() - before));
            }
            if decoder.is_complete() || self.fill()? == 0 {
                let complete = decoder.may_close();
                return Ok(Body { bytes, complete, arrivals, chunks: decoder.chunks });
            }
        }
    }

    /// Whether the connection closes without another byte.
    ///
    /// # Errors
    /// If the connection cannot be read, for example because the read times out.
    pub fn is_closed(&mut self) -> io::Result<bool> {
        Ok(self.decoder.unread().is_empty() && self.fill()? == 0)
    }

    /// The next bytes as they arrive, at most `most`; none at the close.
    ///
    /// # Errors
    /// If the connection cannot be read.
    pub fn read_some(&mut self, most: usize) -> io::Result<Vec<u8>> {
        if self.decoder.unread().is_empty() {
            self.fill()?;
        }
        Ok(self.decoder.take(most))
    }

    /// All bytes until the connection ends, by a close, an error or a timeout.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill().is_ok_and(|size| size > 0) {}
        self.decoder.take(usize::MAX)
    }

    /// Reads once; returns how many bytes arrived, 0 at the close.
    fn fill(&mut self) -> io::Result<usize> {
        let read = match self.stream.read(&mut self.buffer) {
            // A peer that closes with unread bytes resets the connection; the connection is closed
            // in either case.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            other => other?,
        };
        self.decoder.push(&self.buffer[..read]);
        Ok(read)
    }
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
