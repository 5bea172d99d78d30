//! An HTTP/1.1 client with a persistent connection, a thread and a blocking socket.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::client_pool::{Run, ThinkTime};
use super::client_stats::{ClientKind, ClientStats, Failure, RequestResult};
use crate::TEST_TIMEOUT;
use crate::http1::Reader;
use crate::http1::message::Framing;

type Connection = Reader<TcpStream>;

pub(super) struct Client {
    port: u16,
    round_trip: Duration,
    think_time: ThinkTime,
    idle: Option<Connection>,
    stats: ClientStats,
}

impl Client {
    pub(super) fn new(
        kind: ClientKind,
        port: u16,
        round_trip: Duration,
        think_time: ThinkTime,
    ) -> Self {
        Self { port, round_trip, think_time, idle: None, stats: ClientStats::new(kind) }
    }

    pub(super) fn work(mut self, run: &Run) -> ClientStats {
        loop {
            sleep(self.think_time.pause());
            if run.is_over() {
                return self.stats;
            }
            let result = self.exchange(run);
            if result.is_err() {
                self.stats.connection_closed(run.now());
            }
            run.record(&mut self.stats, result);
        }
    }

    /// Sends one request and reads its response. The connection is reused only after success.
    fn exchange(&mut self, run: &Run) -> RequestResult {
        let path = self.think_time.path();
        let request = format!("GET {path} HTTP/1.1\r\nhost: example.com\r\n\r\n");
        let start = Instant::now();
        let (mut connection, checked) = self.connection(run)?;
        // The simulated round trip does not count as latency.
        let start = checked.map_or(start, |_| Instant::now());
        connection.stream.write_all(request.as_bytes()).map_err(|_| Failure::NotWritten)?;
        if let Some(checked) = checked {
            self.stats.record_check_to_write(checked.elapsed());
        }
        let headers = connection.headers().ok().flatten().ok_or(Failure::NoResponse)?;
        let body = Framing::of(&headers).and_then(|framing| connection.body(framing).ok());
        if !body.is_some_and(|body| body.complete) {
            return Err(Failure::Cut);
        }
        match headers.status() {
            Some(200) => {}
            status => return Err(Failure::Status(status.unwrap_or(0))),
        }
        match headers.get("connection") {
            Some("close") => self.stats.connection_closed(run.now()),
            _ => self.idle = Some(connection),
        }
        Ok(start.elapsed())
    }

    /// The idle connection or a new one, and when the connection was checked, if it was.
    fn connection(&mut self, run: &Run) -> Result<(Connection, Option<Instant>), Failure> {
        match self.idle.take() {
            Some(idle) if self.stats.kind == ClientKind::Blind => return Ok((idle, None)),
            Some(idle) if !is_readable(&idle.stream) => {
                let checked = Instant::now();
                if !self.round_trip.is_zero() {
                    sleep(self.round_trip);
                }
                return Ok((idle, Some(checked)));
            }
            Some(_) => self.stats.connection_closed(run.now()),
            None => {}
        }
        let stream = connect(self.port).map_err(|_| Failure::NoConnection)?;
        self.stats.connection_opened(run.now());
        Ok((Reader::new(stream), None))
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TEST_TIMEOUT))?;
    Ok(stream)
}

/// Whether a read would not block. Between exchanges this means that the server has closed the
/// connection.
fn is_readable(stream: &TcpStream) -> bool {
    let peek = || {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    };
    !matches!(peek(), Err(error) if error.kind() == ErrorKind::WouldBlock)
}
