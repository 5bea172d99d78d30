//! The HTTP/1.1 clients, each with a thread and a blocking socket.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use fastrand::Rng;

use super::{CLOSED_BY, DETAILS, Kind, READ_TIMEOUT, Shared, between};
use crate::chaos::journal::{Close, ConnectionId, Failure, Journal, RequestId};
use crate::http1::Reader;
use crate::http1::message::Framing;

/// How often a waiting client checks whether the run is over.
const STEP: Duration = Duration::from_millis(100);

/// The requests in one write. If a third one begins while two responses wait to be written, Envoy
/// closes the connection without a response (the counter `http1.response_flood`).
const PIPELINED: usize = 2;

pub(super) struct Client {
    kind: Kind,
    proxy: usize,
    port: u16,
    rng: Rng,
    shared: Arc<Shared>,
    connection: Option<Connection>,
}

struct Connection {
    reader: Reader<TcpStream>,
    id: ConnectionId,
}

impl Client {
    pub(super) fn new(kind: Kind, proxy: usize, port: u16, rng: Rng, shared: &Arc<Shared>) -> Self {
        Self { kind, proxy, port, rng, shared: shared.clone(), connection: None }
    }

    pub(super) fn work(mut self) {
        // Clients that start together would send in step.
        self.pause(0, 1000);
        while !self.shared.is_over() {
            match self.kind {
                Kind::Calm => {
                    let path = self.path(3, 3000, 4000);
                    self.get(&[path]);
                    self.pause(800, 2500);
                }
                Kind::Busy => {
                    let path = self.path(60, 1500, 3500);
                    self.get(&[path]);
                    self.pause(0, 40);
                }
                Kind::Pipelining => {
                    let paths = [(); PIPELINED].map(|()| self.path(4, 20, 60));
                    self.get(&paths);
                    self.pause(0, 400);
                }
                Kind::Uploading => {
                    if self.shared.is_quick() {
                        self.get(&["/".to_owned()]);
                    } else {
                        self.upload();
                    }
                    self.pause(0, 500);
                }
            }
        }
    }

    fn pause(&mut self, from_ms: u64, to_ms: u64) {
        let mut left = between(&mut self.rng, from_ms, to_ms);
        while !left.is_zero() && !self.shared.is_over() {
            let step = left.min(STEP);
            sleep(step);
            left -= step;
        }
    }

    /// The path of a slow response for one in `of` requests.
    fn path(&mut self, of: u64, from_ms: u64, to_ms: u64) -> String {
        match self.rng.u64(..of) {
            0 if !self.shared.is_quick() => format!("/wait/{}", self.rng.u64(from_ms..=to_ms)),
            _ => "/".to_owned(),
        }
    }

    /// Sends all requests in one write and reads their responses.
    fn get(&mut self, paths: &[String]) {
        let Some(mut connection) = self.connection() else { return };
        let journal = &self.shared.journal;
        let text: String = paths
            .iter()
            .map(|path| format!("GET {path} HTTP/1.1\r\nhost: example.com\r\n\r\n"))
            .collect();
        let name = self.kind.name();
        // The proxy reads the next pipelined request only after its response to the one before, but
        // a request is open from its write on. Only the first one counts as sent then.
        let mut request = journal.request_sent(connection.id, false);
        let written = connection.reader.stream.write_all(text.as_bytes());
        for index in 0..paths.len() {
            let outcome = match &written {
                Ok(()) => connection.receive(),
                Err(_) => Err(Failure::NotWritten),
            };
            let unanswered = paths.len() - index - 1;
            match outcome {
                Ok(close) => {
                    journal.response_received(connection.id, request, close);
                    if close != Close::No {
                        for _ in 0..unanswered {
                            let request = journal.request_sent(connection.id, false);
                            journal.request_unanswered(request);
                        }
                        return connection.close(journal);
                    }
                }
                Err(failure) => {
                    journal.request_failed(name, request, failure.clone());
                    for _ in 0..unanswered {
                        let request = journal.request_sent(connection.id, false);
                        journal.request_failed(name, request, failure.clone());
                    }
                    return connection.close(journal);
                }
            }
            if unanswered > 0 {
                request = journal.request_sent(connection.id, false);
            }
        }
        self.connection = Some(connection);
    }

    /// Sends a body in parts and reads the response.
    fn upload(&mut self) {
        let Some(mut connection) = self.connection() else { return };
        let parts = self.rng.usize(4..=12);
        let pause = between(&mut self.rng, 600, 3800) / parts as u32;
        let is_chunked = self.rng.bool();
        let part = vec![b'x'; self.rng.usize(100..=8000)];
        let journal = &self.shared.journal;
        let request = journal.request_sent(connection.id, true);
        let outcome = match connection.write_parts(&part, parts, pause, is_chunked) {
            Ok(()) => connection.receive(),
            // The proxy may have replied before the end of the body.
            Err(_) => match connection.receive() {
                Err(status @ Failure::Status(..)) => Err(status),
                _ => Err(Failure::NotWritten),
            },
        };
        if self.finish(&connection, request, outcome) {
            self.connection = Some(connection);
        } else {
            connection.close(journal);
        }
    }

    /// Records the outcome; returns whether the connection stays open.
    fn finish(
        &self,
        connection: &Connection,
        request: RequestId,
        outcome: Result<Close, Failure>,
    ) -> bool {
        let journal = &self.shared.journal;
        match outcome {
            Ok(close) => {
                journal.response_received(connection.id, request, close);
                close == Close::No
            }
            Err(failure) => {
                journal.request_failed(self.kind.name(), request, failure);
                false
            }
        }
    }

    /// The open connection or a new one.
    fn connection(&mut self) -> Option<Connection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        let journal = &self.shared.journal;
        let sent = journal.now();
        match connect(self.port) {
            Ok(stream) => {
                let id = journal.connection_opened(self.proxy, self.kind.name());
                Some(Connection { reader: Reader::new(stream), id })
            }
            Err(_) => {
                let name = self.kind.name();
                journal.failed_without_record(name, self.proxy, sent, Failure::NoConnection);
                None
            }
        }
    }
}

impl Connection {
    fn write_parts(
        &mut self,
        part: &[u8],
        parts: usize,
        pause: Duration,
        is_chunked: bool,
    ) -> std::io::Result<()> {
        let stream = &mut self.reader.stream;
        let framing = match is_chunked {
            true => "transfer-encoding: chunked".to_owned(),
            false => format!("content-length: {}", part.len() * parts),
        };
        write!(stream, "POST /upload HTTP/1.1\r\nhost: example.com\r\n{framing}\r\n\r\n")?;
        for _ in 0..parts {
            sleep(pause);
            if is_chunked {
                let chunk = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
                stream.write_all(&chunk)?;
            } else {
                stream.write_all(part)?;
            }
        }
        if is_chunked {
            stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Close, Failure> {
        let headers = self.reader.headers().ok().flatten().ok_or(Failure::NoResponse)?;
        let framing = Framing::of(&headers).unwrap_or(Framing::UntilClose);
        let body = self.reader.body(framing).ok();
        if !body.is_some_and(|body| body.complete) {
            return Err(Failure::Cut);
        }
        match headers.status() {
            Some(200) => {}
            status => {
                let details = headers.get(DETAILS).unwrap_or_default().to_owned();
                return Err(Failure::Status(status.unwrap_or(0), details));
            }
        }
        match (headers.get("connection"), headers.get(CLOSED_BY)) {
            (Some("close"), Some(_)) => Ok(Close::ByFilter),
            (Some("close"), None) => Ok(Close::ByEnvoy),
            (_, Some(_)) => Ok(Close::ByFilter),
            _ => Ok(Close::No),
        }
    }

    fn close(self, journal: &Journal) {
        journal.connection_closed(self.id);
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    Ok(stream)
}
