//! The upstream of the streams: a process of its own that takes any number of clients, and sends numbered events to those of one way
//! when it is told to, evenly over time and over the streams.

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
use super::way::Way;
use crate::message::Reader;

/// The argument by which the program becomes an upstream.
const ROLE: &str = "upstream";

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\ntransfer-encoding: chunked\r\n\r\n";

/// The process, as seen by the one who measures. It ends when this is dropped.
pub(super) struct Source {
    /// Where it listens, by way.
    pub(super) ports: Vec<u16>,
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Source {
    /// Starts the program as an upstream.
    pub(super) fn start(program: &Path) -> Self {
        let mut process = Command::new(program)
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a program that runs can be started again");
        let orders = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut source = Self { ports: Vec::new(), process, orders, answers };
        source.ports = source.answer();
        source
    }

    /// Lets it send so many events to a way within this time; how long it took.
    pub(super) fn send(&mut self, way: Way, slice: u32, events: u64, within: Duration) -> Duration {
        self.order(&format!("{} {slice} {events} {}", way as usize, within.as_nanos()));
        Duration::from_nanos(self.answer()[0])
    }

    /// Lets it end all streams.
    pub(super) fn end(&mut self) {
        self.order("end");
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the upstream listens");
    }

    fn answer<N: std::str::FromStr>(&mut self) -> Vec<N> {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the upstream answers");
        let numbers = line.split_whitespace().map(|word| word.parse().ok());
        let numbers: Option<Vec<N>> = numbers.collect();
        numbers
            .filter(|all| !all.is_empty())
            .unwrap_or_else(|| panic!("the upstream says {line:?}"))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The clients of one way.
#[derive(Default)]
struct Circle {
    all: Vec<Client>,
    next: usize,
}

struct Client {
    stream: TcpStream,
    sent: u64,
}

/// The upstream's side: takes orders from standard input until that closes.
///
/// # Errors
/// If a client is gone, or an order is not understood.
pub fn serve() -> io::Result<()> {
    // Else each sleep is 50 µs longer, and events go out in pairs.
    set_current_timer_slack(NonZeroU64::new(1))?;
    let circles = Way::ALL.map(|_| Arc::new(Mutex::new(Circle::default())));
    let mut ports = String::new();
    for circle in &circles {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let _ = write!(ports, "{} ", listener.local_addr()?.port());
        let circle = circle.clone();
        thread::spawn(move || accept(&listener, &circle));
    }
    println!("{ports}");
    for order in io::stdin().lines() {
        let order = order?;
        let numbers: Result<Vec<u64>, _> = order.split(' ').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[way, slice, events, nanoseconds]) => {
                let mut circle = lock(&circles[way as usize]);
                println!("{}", circle.send(slice as u32, events, nanoseconds)?);
            }
            _ if order == "end" => {
                for circle in &circles {
                    lock(circle).end()?;
                }
            }
            _ => return Err(io::Error::other(format!("expected an order, found {order:?}"))),
        }
    }
    Ok(())
}

fn accept(listener: &TcpListener, circle: &Mutex<Circle>) {
    for stream in listener.incoming().map_while(Result::ok) {
        // One that goes before it asked for anything is no client.
        let _ = welcome(stream, circle);
    }
}

fn welcome(stream: TcpStream, circle: &Mutex<Circle>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(stream);
    reader.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    // Whoever sees the head is in the circle as soon as anybody can send to it.
    let mut circle = lock(circle);
    reader.stream.write_all(HEAD)?;
    circle.all.push(Client { stream: reader.stream, sent: 0 });
    Ok(())
}

fn lock(circle: &Mutex<Circle>) -> std::sync::MutexGuard<'_, Circle> {
    circle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Circle {
    /// Sends so many events, each at its moment, to one client after the other; how long it took. What is late is sent at once: the
    /// moment of a write does not depend on how fast earlier events were read.
    fn send(&mut self, slice: u32, events: u64, nanoseconds: u64) -> io::Result<u64> {
        let begun = Event::now();
        let (mut event, mut chunk) = (String::new(), String::new());
        for index in 0..events {
            let due = begun + nanoseconds * index / events;
            let early = due.saturating_sub(Event::now());
            if early > 0 {
                thread::sleep(Duration::from_nanos(early));
            }
            let place = self.next % self.all.len();
            self.next = place + 1;
            let client = &mut self.all[place];
            event.clear();
            chunk.clear();
            let _ = write!(event, "{}", Event { number: client.sent, slice, sent: Event::now() });
            let _ = write!(chunk, "{:x}\r\n{event}\r\n", event.len());
            client.stream.write_all(chunk.as_bytes())?;
            client.sent += 1;
        }
        Ok(Event::now() - begun)
    }

    fn end(&mut self) -> io::Result<()> {
        self.all.iter_mut().try_for_each(|client| client.stream.write_all(b"0\r\n\r\n"))
    }
}
