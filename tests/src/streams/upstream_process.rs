//! The upstream of the streams, a separate process. It accepts any number of clients, and on
//! command sends numbered events to the clients of one setup, evenly over time and over the
//! streams.
//!
//! A command is a line on standard input: `SETUP TURN EVENTS NANOSECONDS`, or `end`. The reply is a
//! line on standard output: first the ports, then for each command the nanoseconds that it took.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::thread::set_current_timer_slack;

use super::event::Event;
use super::setup::Setup;
use crate::http1::Reader;

/// The argument that makes the program an upstream.
const ROLE: &str = "upstream";

const RESPONSE_HEADERS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n";

/// The process, seen from the measuring process. It is killed when dropped.
pub(super) struct UpstreamProcess {
    /// The ports on which it listens, indexed by setup.
    pub(super) ports: Vec<u16>,
    process: Child,
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl UpstreamProcess {
    /// Starts the program as an upstream.
    pub(super) fn start(program: &Path) -> Self {
        let mut process = Command::new(program)
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the running program can be started again");
        let commands = process.stdin.take().expect("standard input is piped");
        let replies = BufReader::new(process.stdout.take().expect("standard output is piped"));
        let mut upstream = Self { ports: Vec::new(), process, commands, replies };
        upstream.ports = upstream.reply();
        upstream
    }

    /// Sends events to the clients of a setup within this time; returns how long it took.
    pub(super) fn send(
        &mut self,
        setup: Setup,
        turn: u32,
        events: u64,
        within: Duration,
    ) -> Duration {
        self.command(&format!("{} {turn} {events} {}", setup as usize, within.as_nanos()));
        Duration::from_nanos(self.reply()[0])
    }

    /// Ends all streams.
    pub(super) fn end_streams(&mut self) {
        self.command("end");
    }

    fn command(&mut self, command: &str) {
        writeln!(self.commands, "{command}").expect("the upstream reads commands");
    }

    fn reply<N: std::str::FromStr>(&mut self) -> Vec<N> {
        let mut line = String::new();
        self.replies.read_line(&mut line).expect("the upstream replies");
        let numbers = line.split_whitespace().map(|word| word.parse().ok());
        let numbers: Option<Vec<N>> = numbers.collect();
        numbers
            .filter(|all| !all.is_empty())
            .unwrap_or_else(|| panic!("expected numbers from the upstream, found {line:?}"))
    }
}

impl Drop for UpstreamProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The clients of one setup.
#[derive(Default)]
struct Clients {
    all: Vec<Client>,
    next: usize,
}

struct Client {
    stream: TcpStream,
    sent: u64,
}

/// Runs the upstream until standard input closes.
///
/// # Errors
/// If a client has closed its connection, or a command is malformed.
pub fn serve() -> io::Result<()> {
    // With the default slack, each sleep is 50 µs longer and events are sent in pairs.
    set_current_timer_slack(NonZeroU64::new(1))?;
    let setups = Setup::ALL.map(|_| Arc::new(Mutex::new(Clients::default())));
    let mut ports = String::new();
    for clients in &setups {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let _ = write!(ports, "{} ", listener.local_addr()?.port());
        let clients = clients.clone();
        thread::spawn(move || accept(&listener, &clients));
    }
    println!("{ports}");
    for command in io::stdin().lines() {
        let command = command?;
        let numbers: Result<Vec<u64>, _> = command.split(' ').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[setup, turn, events, nanoseconds]) => {
                let mut clients = lock(&setups[setup as usize]);
                println!("{}", clients.send(turn as u32, events, nanoseconds)?);
            }
            _ if command == "end" => {
                for clients in &setups {
                    lock(clients).end_streams()?;
                }
            }
            _ => return Err(io::Error::other(format!("expected a command, found {command:?}"))),
        }
    }
    Ok(())
}

fn accept(listener: &TcpListener, clients: &Mutex<Clients>) {
    for stream in listener.incoming().map_while(Result::ok) {
        // A connection that closes before its request is not a client.
        let _ = accept_client(stream, clients);
    }
}

fn accept_client(stream: TcpStream, clients: &Mutex<Clients>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(stream);
    reader.headers()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    // The lock is acquired before the headers are sent: a client that has received them gets the
    // next events.
    let mut clients = lock(clients);
    reader.stream.write_all(RESPONSE_HEADERS)?;
    clients.all.push(Client { stream: reader.stream, sent: 0 });
    Ok(())
}

fn lock(clients: &Mutex<Clients>) -> std::sync::MutexGuard<'_, Clients> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clients {
    /// Sends events to one client after the other, each at its due time; returns the nanoseconds
    /// that it took. A late event is sent at once. The due times do not depend on how fast earlier
    /// events were read.
    fn send(&mut self, turn: u32, events: u64, nanoseconds: u64) -> io::Result<u64> {
        let start = Event::now();
        let (mut event, mut chunk) = (String::new(), String::new());
        for index in 0..events {
            let due = start + nanoseconds * index / events;
            let early = due.saturating_sub(Event::now());
            if early > 0 {
                thread::sleep(Duration::from_nanos(early));
            }
            let position = self.next % self.all.len();
            self.next = position + 1;
            let client = &mut self.all[position];
            event.clear();
            chunk.clear();
            let _ = write!(event, "{}", Event { number: client.sent, turn, sent: Event::now() });
            let _ = write!(chunk, "{:x}\r\n{event}\r\n", event.len());
            client.stream.write_all(chunk.as_bytes())?;
            client.sent += 1;
        }
        Ok(Event::now() - start)
    }

    fn end_streams(&mut self) -> io::Result<()> {
        self.all.iter_mut().try_for_each(|client| client.stream.write_all(b"0\r\n\r\n"))
    }
}
