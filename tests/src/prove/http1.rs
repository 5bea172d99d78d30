//! A keep-alive client of HTTP/1.1 on a thread and a blocking socket of its own.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::account::{Account, Failure, Kind, Outcome};
use super::crew::{Habits, Shift};
use crate::PATIENCE;
use crate::message::{Framing, Reader};

type Connection = Reader<TcpStream>;

pub(super) struct Client {
    port: u16,
    round_trip: Duration,
    habits: Habits,
    kept: Option<Connection>,
    account: Account,
}

impl Client {
    pub(super) fn new(kind: Kind, port: u16, round_trip: Duration, habits: Habits) -> Self {
        Self { port, round_trip, habits, kept: None, account: Account::new(kind) }
    }

    pub(super) fn work(mut self, shift: &Shift) -> Account {
        loop {
            sleep(self.habits.pause());
            if shift.is_over() {
                return self.account;
            }
            let outcome = self.exchange(shift);
            if outcome.is_err() {
                self.account.closed(shift.now());
            }
            shift.note(&mut self.account, outcome);
        }
    }

    /// One request and its response. Only after a good one is the connection kept.
    fn exchange(&mut self, shift: &Shift) -> Outcome {
        let path = self.habits.path();
        let request = format!("GET {path} HTTP/1.1\r\nhost: example.com\r\n\r\n");
        let begun = Instant::now();
        let (mut connection, looked) = self.connection(shift)?;
        // An emulated wait is nobody's latency.
        let begun = looked.map_or(begun, |_| Instant::now());
        connection.stream.write_all(request.as_bytes()).map_err(|_| Failure::NotWritten)?;
        if let Some(looked) = looked {
            self.account.note_gap(looked.elapsed());
        }
        let head = connection.head().ok().flatten().ok_or(Failure::NoResponse)?;
        let body = Framing::of(&head).and_then(|framing| connection.body(framing).ok());
        if !body.is_some_and(|body| body.complete) {
            return Err(Failure::Cut);
        }
        match head.start.split(' ').nth(1).and_then(|status| status.parse().ok()) {
            Some(200) => {}
            status => return Err(Failure::Status(status.unwrap_or(0))),
        }
        match head.header("connection") {
            Some("close") => self.account.closed(shift.now()),
            _ => self.kept = Some(connection),
        }
        Ok(begun.elapsed())
    }

    /// The kept connection, or a new one; and when it was looked at, if it was.
    fn connection(&mut self, shift: &Shift) -> Result<(Connection, Option<Instant>), Failure> {
        match self.kept.take() {
            Some(kept) if self.account.kind == Kind::Blind => return Ok((kept, None)),
            Some(kept) if !has_ended(&kept.stream) => {
                let looked = Instant::now();
                if !self.round_trip.is_zero() {
                    sleep(self.round_trip);
                }
                return Ok((kept, Some(looked)));
            }
            Some(_) => self.account.closed(shift.now()),
            None => {}
        }
        let stream = connect(self.port).map_err(|_| Failure::NoConnection)?;
        self.account.opened(shift.now());
        Ok((Reader::new(stream), None))
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Whether anything can be read. Between exchanges that is the close, or something nobody asked for.
fn has_ended(stream: &TcpStream) -> bool {
    let look = || {
        stream.set_nonblocking(true)?;
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        seen
    };
    !matches!(look(), Err(error) if error.kind() == ErrorKind::WouldBlock)
}
