//! A client of HTTP/1.1 on a plain socket: it sees interim responses, chunks, and how a connection
//! ends.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::message::{Body, Framing, Head, Reader};

/// One connection.
#[derive(Debug)]
pub struct Client {
    reader: Reader<TcpStream>,
    sent: Instant,
    method: String,
}

/// A final response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Status line and headers.
    pub head: Head,
    /// The body as far as it came.
    pub body: Body,
    /// The statuses of the interim responses before it.
    pub interim: Vec<u16>,
    /// From the request to the head.
    pub head_after: Duration,
    /// From the request to the last byte, or to the close that cut it.
    pub end_after: Duration,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// Whether it says that the connection closes.
    pub fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

impl Client {
    /// Connects to a port of this machine.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .unwrap_or_else(|error| panic!("nobody listens on port {port}: {error}"));
        stream.set_nodelay(true).expect("an open socket takes options");
        stream.set_read_timeout(Some(PATIENCE)).expect("an open socket takes options");
        Self { reader: Reader::new(stream), sent: Instant::now(), method: String::new() }
    }

    /// Waits this long for whatever comes next, instead of [`PATIENCE`].
    pub fn patient(self, patience: Duration) -> Self {
        self.reader.stream.set_read_timeout(Some(patience)).expect("an open socket takes options");
        self
    }

    /// What closes the connection from another thread.
    pub fn handle(&self) -> TcpStream {
        self.reader.stream.try_clone().expect("an open socket")
    }

    /// One request on a connection of its own.
    pub fn once(port: u16, path: &str) -> Response {
        Self::connect(port).get(path)
    }

    /// A whole exchange without a body.
    pub fn get(&mut self, path: &str) -> Response {
        self.send("GET", path, &[]);
        self.receive()
    }

    /// A whole exchange with a body of known length.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Response {
        self.send("POST", path, &[("content-length", &body.len().to_string())]);
        self.write(body);
        self.receive()
    }

    /// Sends the head of a request.
    ///
    /// # Panics
    /// If the connection was reset.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) {
        assert!(self.try_send(method, path, headers), "the connection is not open");
    }

    /// Sends the head of a request; whether the peer took it.
    pub fn try_send(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> bool {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push_str("host: example.com\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.sent = Instant::now();
        self.method = method.to_owned();
        self.try_write(head.as_bytes())
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If the connection was reset.
    pub fn write(&mut self, bytes: &[u8]) {
        self.reader.stream.write_all(bytes).expect("the connection is open");
    }

    /// Sends bytes as long as the peer takes them.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.reader.stream.write_all(bytes).is_ok()
    }

    /// The response to what was sent.
    ///
    /// # Panics
    /// If none comes.
    pub fn receive(&mut self) -> Response {
        self.try_receive().expect("a response before the connection closes")
    }

    /// The response to what was sent; `None` if the connection closes before one begins.
    ///
    /// # Panics
    /// If nothing comes within [`PATIENCE`], or half a head.
    pub fn try_receive(&mut self) -> Option<Response> {
        let mut interim = Vec::new();
        loop {
            let head = self.reader.head().expect("a whole response head in time")?;
            let status = status(&head);
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let head_after = self.sent.elapsed();
            let body = self.reader.body(self.framing(status, &head)).expect("a body in time");
            let end_after = self.sent.elapsed();
            return Some(Response { status, head, body, interim, head_after, end_after });
        }
    }

    /// Bytes as they come, at most `length`; none at the close.
    ///
    /// # Panics
    /// If nothing comes within [`PATIENCE`].
    pub fn raw(&mut self, length: usize) -> Vec<u8> {
        self.reader.raw(length).expect("bytes in time")
    }

    /// Everything until the connection ends, however it ends.
    pub fn rest(&mut self) -> Vec<u8> {
        self.reader.rest()
    }

    /// Whether the peer closes the connection within this time.
    ///
    /// # Panics
    /// If bytes come instead.
    pub fn closed_within(&mut self, time: Duration) -> bool {
        let stream = self.reader.stream.try_clone().expect("an open socket");
        stream.set_read_timeout(Some(time)).expect("an open socket takes options");
        let closed = self.reader.closed();
        stream.set_read_timeout(Some(PATIENCE)).expect("an open socket takes options");
        match closed {
            Ok(closed) => {
                assert!(closed, "bytes instead of a close");
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                false
            }
            Err(error) => panic!("the connection broke: {error}"),
        }
    }

    fn framing(&self, status: u16, head: &Head) -> Framing {
        if self.method == "HEAD" || matches!(status, 101 | 204 | 304) {
            return Framing::Empty;
        }
        Framing::of(head).unwrap_or(Framing::UntilClose)
    }
}

fn status(head: &Head) -> u16 {
    let status = head.start.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{:?} has no status", head.start))
}
