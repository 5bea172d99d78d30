//! The clients: each has a connection of its own and one stream, and notes the delay of each event.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use super::event::Event;
use super::feed::{Broken, Feed};
use super::way::PATH;
use crate::eventually;

/// Precision of a delay, in decimal digits.
const DIGITS: u8 = 3;

/// So many connections are made at a time: a listener's queue is short.
const AT_A_TIME: usize = 64;

/// All clients, on one thread.
pub(super) struct Audience {
    runtime: Runtime,
    door: Arc<Semaphore>,
    seen: Arc<Mutex<Seen>>,
}

/// What all clients saw.
struct Seen {
    begun: u32,
    ended: u32,
    broken: Option<Broken>,
    /// Delays in nanoseconds, by slice.
    delays: Vec<Histogram<u64>>,
    /// Into which each read goes: a buffer for each stream would be most of the memory.
    buffer: Vec<u8>,
}

impl Audience {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_io().build();
        let runtime = runtime.expect("a thread can be started");
        let (delays, buffer) = (Vec::new(), vec![0; 64 * 1024]);
        let seen = Seen { begun: 0, ended: 0, broken: None, delays, buffer };
        Self {
            runtime,
            door: Arc::new(Semaphore::new(AT_A_TIME)),
            seen: Arc::new(Mutex::new(seen)),
        }
    }

    /// Opens so many streams at a port, and waits until they have begun.
    pub(super) fn tune_in(&self, port: u16, streams: u32) {
        let all = self.look(|seen| Some(seen.begun)).unwrap_or_default() + streams;
        for _ in 0..streams {
            let (door, seen) = (self.door.clone(), self.seen.clone());
            self.runtime.spawn(async move {
                if let Err(broken) = listen(port, &door, &seen).await {
                    lock(&seen).broken.get_or_insert(broken);
                }
            });
        }
        let what = format!("{streams} streams to begin");
        eventually(&what, || self.look(|seen| (seen.begun == all).then_some(())));
    }

    /// Waits for all events of a slice; their delays in nanoseconds.
    pub(super) fn await_delays(&self, slice: u32, events: u64) -> Histogram<u64> {
        let what = format!("all {events} events of a turn");
        eventually(&what, || {
            self.look(|seen| {
                let delays = seen.delays.get(slice as usize).filter(|all| all.len() >= events);
                delays.cloned()
            })
        })
    }

    /// Waits until so many streams have ended.
    pub(super) fn await_end(&self, streams: u32) {
        let what = format!("{streams} streams to end");
        eventually(&what, || self.look(|seen| (seen.ended == streams).then_some(())));
    }

    fn look<T>(&self, look: impl FnOnce(&Seen) -> Option<T>) -> Option<T> {
        let seen = lock(&self.seen);
        if let Some(broken) = &seen.broken {
            panic!("a stream broke: {broken}");
        }
        look(&seen)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One client, from its connection to the end of its stream.
async fn listen(port: u16, door: &Semaphore, seen: &Mutex<Seen>) -> Result<(), Broken> {
    let lost = |error: std::io::Error| Broken::Lost(error.kind());
    let mut turn = door.acquire().await.ok();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(lost)?;
    stream.set_nodelay(true).map_err(lost)?;
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nhost: www.example.com\r\naccept: text/event-stream\r\n\r\n"
    );
    stream.writable().await.map_err(lost)?;
    // A new connection takes a hundred bytes.
    stream.try_write(request.as_bytes()).map_err(lost)?;
    let mut feed = Feed::default();
    while !feed.has_ended() {
        stream.readable().await.map_err(lost)?;
        let mut seen = lock(seen);
        seen.read(&stream, &mut feed)?;
        if feed.has_begun() && turn.take().is_some() {
            seen.begun += 1;
        }
    }
    lock(seen).ended += 1;
    Ok(())
}

impl Seen {
    fn read(&mut self, stream: &TcpStream, feed: &mut Feed) -> Result<(), Broken> {
        let Self { delays, buffer, .. } = self;
        let read = match stream.try_read(buffer) {
            Ok(0) => return Err(Broken::Cut { expected: feed.next() }),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Broken::Lost(error.kind())),
        };
        let now = Event::now();
        feed.take(&buffer[..read], |event| {
            while delays.len() <= event.slice as usize {
                delays.push(Histogram::new(DIGITS).expect("a precision"));
            }
            delays[event.slice as usize] += now.saturating_sub(event.sent);
        })
    }
}
