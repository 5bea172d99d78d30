//! A client on one connection. It exposes interim responses, chunks, and how the connection ends.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::message::{Framing, Headers};
use super::reader::{Body, Reader};
use crate::{TEST_TIMEOUT, eventually};

/// A connection.
#[derive(Debug)]
pub struct Client {
    reader: Reader<TcpStream>,
    sent: Instant,
    method: String,
    version: &'static str,
}

/// A final response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The status line and the header fields.
    pub headers: Headers,
    /// The body, as far as it was received.
    pub body: Body,
    /// The statuses of the interim responses before it.
    pub interim: Vec<u16>,
    /// The time from the request to the headers.
    pub headers_after: Duration,
    /// The time from the request to the last byte, or to the close that cut the response.
    pub end_after: Duration,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Whether the response announces that the connection closes.
    pub fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

impl Client {
    /// Connects to a port of this machine.
    ///
    /// # Panics
    /// If no program listens on the port.
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port)
            .unwrap_or_else(|error| panic!("cannot connect to port {port}: {error}"))
    }

    /// [`connect`](Self::connect) to a program that may have ended.
    ///
    /// # Errors
    /// If no program listens on the port.
    pub fn try_connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true).expect("an open socket accepts options");
        stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("an open socket accepts options");
        Ok(Self {
            reader: Reader::new(stream),
            sent: Instant::now(),
            method: String::new(),
            version: "HTTP/1.1",
        })
    }

    /// Replaces [`TEST_TIMEOUT`] as the timeout of each read.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        self.reader.stream.set_read_timeout(Some(timeout)).expect("an open socket accepts options");
        self
    }

    /// Sends `version` instead of `HTTP/1.1` in requests.
    pub fn with_version(self, version: &'static str) -> Self {
        Self { version, ..self }
    }

    /// A second handle of the socket, with which another thread can write or close.
    pub fn handle(&self) -> TcpStream {
        self.reader.stream.try_clone().expect("an open socket")
    }

    /// Sends a GET request on a new connection and reads the response.
    pub fn get_once(port: u16, path: &str) -> Response {
        Self::connect(port).get(path)
    }

    /// Waits until every worker of a proxy responds to `path` with `status`. The kernel gives each new
    /// connection to any of them, so that fewer connections would often miss one.
    ///
    /// # Panics
    /// If a worker responds with another status for too long.
    pub fn await_status(port: u16, path: &str, status: u16) {
        eventually(&format!("every worker to respond to {path} with {status}"), || {
            (0..64).all(|_| Self::get_once(port, path).status == status).then_some(())
        });
    }

    /// Sends a GET request and reads the response.
    pub fn get(&mut self, path: &str) -> Response {
        self.send("GET", path, &[]);
        self.receive()
    }

    /// Sends a POST request with a body of known length and reads the response.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Response {
        self.send("POST", path, &[("content-length", &body.len().to_string())]);
        self.write(body);
        self.receive()
    }

    /// Sends the headers of a request.
    ///
    /// # Panics
    /// If the connection was reset.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) {
        assert!(self.try_send(method, path, headers), "the connection is not open");
    }

    /// Sends the headers of a request; returns whether the socket accepted them.
    pub fn try_send(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> bool {
        let mut text = format!("{method} {path} {}\r\n", self.version);
        if !headers.iter().any(|(name, _)| *name == "host") {
            text.push_str("host: example.com\r\n");
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        self.sent = Instant::now();
        self.method = method.to_owned();
        self.try_write(text.as_bytes())
    }

    /// Writes bytes unchanged.
    ///
    /// # Panics
    /// If the connection was reset.
    pub fn write(&mut self, bytes: &[u8]) {
        self.reader.stream.write_all(bytes).expect("the connection is open");
    }

    /// Writes bytes unchanged; returns whether the socket accepted them.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.reader.stream.write_all(bytes).is_ok()
    }

    /// Reads the response to the last request.
    ///
    /// # Panics
    /// If the connection closes before a response begins.
    pub fn receive(&mut self) -> Response {
        self.try_receive().expect("a response before the connection closes")
    }

    /// Reads the response to the last request; `None` if the connection closes before one begins.
    ///
    /// # Panics
    /// If a read times out, or the connection closes within the headers.
    pub fn try_receive(&mut self) -> Option<Response> {
        let mut interim = Vec::new();
        loop {
            let headers = self.reader.headers().expect("complete response headers")?;
            let status = headers.status();
            let status = status.unwrap_or_else(|| panic!("no status in {:?}", headers.start_line));
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let headers_after = self.sent.elapsed();
            let body = self.reader.body(self.framing(status, &headers)).expect("a response body");
            let end_after = self.sent.elapsed();
            return Some(Response { status, headers, body, interim, headers_after, end_after });
        }
    }

    /// Reads bytes as they arrive, at most `most`; none at the close.
    ///
    /// # Panics
    /// If the read times out.
    pub fn read_some(&mut self, most: usize) -> Vec<u8> {
        self.reader.read_some(most).expect("bytes before the timeout")
    }

    /// Reads all bytes until the connection ends, by a close, an error or a timeout.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        self.reader.read_to_end()
    }

    /// Whether the peer closes the connection within this time.
    ///
    /// # Panics
    /// If bytes arrive instead.
    pub fn closed_within(&mut self, time: Duration) -> bool {
        let stream = self.reader.stream.try_clone().expect("an open socket");
        stream.set_read_timeout(Some(time)).expect("an open socket accepts options");
        let closed = self.reader.is_closed();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("an open socket accepts options");
        match closed {
            Ok(closed) => {
                assert!(closed, "received bytes instead of a close");
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                false
            }
            Err(error) => panic!("cannot read the connection: {error}"),
        }
    }

    fn framing(&self, status: u16, headers: &Headers) -> Framing {
        if self.method == "HEAD" || matches!(status, 101 | 204 | 304) {
            return Framing::Empty;
        }
        Framing::of(headers).unwrap_or(Framing::UntilClose)
    }
}
