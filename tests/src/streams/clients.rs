//! The clients. Each has one connection with one stream and records the delay of each event.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use super::event::Event;
use super::event_reader::{EventReader, StreamError};
use super::setup::PATH;
use crate::eventually;

/// The precision of a delay, in decimal digits.
const DIGITS: u8 = 3;

/// The number of connections that are opened concurrently; the accept queue of a listener is short.
const CONCURRENT_CONNECTS: usize = 64;

/// All clients, on one thread.
pub(super) struct StreamClients {
    runtime: Runtime,
    connects: Arc<Semaphore>,
    shared: Arc<Mutex<Shared>>,
}

/// The state of all clients.
struct Shared {
    begun: u32,
    ended: u32,
    error: Option<StreamError>,
    /// Delays in nanoseconds, indexed by the id of the turn.
    delays: Vec<Histogram<u64>>,
    /// The read buffer of all clients. One buffer for each stream would be most of the memory.
    buffer: Vec<u8>,
}

impl StreamClients {
    pub(super) fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_io().build();
        let (delays, buffer) = (Vec::new(), vec![0; 64 * 1024]);
        let shared = Shared { begun: 0, ended: 0, error: None, delays, buffer };
        Self {
            runtime: runtime.expect("a runtime"),
            connects: Arc::new(Semaphore::new(CONCURRENT_CONNECTS)),
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    /// Opens streams at a port, and waits until their responses have begun.
    pub(super) fn open_streams(&self, port: u16, streams: u32) {
        let all = self.check(|shared| Some(shared.begun)).unwrap_or_default() + streams;
        for _ in 0..streams {
            let (connects, shared) = (self.connects.clone(), self.shared.clone());
            self.runtime.spawn(async move {
                if let Err(error) = follow_stream(port, &connects, &shared).await {
                    lock(&shared).error.get_or_insert(error);
                }
            });
        }
        let awaited = format!("{streams} streams to begin");
        eventually(&awaited, || self.check(|shared| (shared.begun == all).then_some(())));
    }

    /// Waits for all events of a turn; returns their delays in nanoseconds.
    pub(super) fn wait_for_delays(&self, turn: u32, events: u64) -> Histogram<u64> {
        let awaited = format!("all {events} events of a turn");
        eventually(&awaited, || {
            self.check(|shared| {
                let delays = shared.delays.get(turn as usize).filter(|all| all.len() >= events);
                delays.cloned()
            })
        })
    }

    /// Waits until this many streams have ended.
    pub(super) fn wait_for_end(&self, streams: u32) {
        let awaited = format!("{streams} streams to end");
        eventually(&awaited, || self.check(|shared| (shared.ended == streams).then_some(())));
    }

    fn check<T>(&self, check: impl FnOnce(&Shared) -> Option<T>) -> Option<T> {
        let shared = lock(&self.shared);
        if let Some(error) = &shared.error {
            panic!("invalid stream: {error}");
        }
        check(&shared)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one client, from its connection to the end of its stream.
async fn follow_stream(
    port: u16,
    connects: &Semaphore,
    shared: &Mutex<Shared>,
) -> Result<(), StreamError> {
    let failed = |error: std::io::Error| StreamError::Io(error.kind());
    let mut permit = connects.acquire().await.ok();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nhost: www.example.com\r\naccept: text/event-stream\r\n\r\n"
    );
    stream.writable().await.map_err(failed)?;
    // The send buffer of a new connection has room for the whole request.
    stream.try_write(request.as_bytes()).map_err(failed)?;
    let mut reader = EventReader::default();
    while !reader.has_ended() {
        stream.readable().await.map_err(failed)?;
        let mut shared = lock(shared);
        shared.read(&stream, &mut reader)?;
        if reader.has_begun() && permit.take().is_some() {
            shared.begun += 1;
        }
    }
    lock(shared).ended += 1;
    Ok(())
}

impl Shared {
    fn read(&mut self, stream: &TcpStream, reader: &mut EventReader) -> Result<(), StreamError> {
        let Self { delays, buffer, .. } = self;
        let read = match stream.try_read(buffer) {
            Ok(0) => return Err(StreamError::Cut { expected: reader.next_event() }),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(StreamError::Io(error.kind())),
        };
        let now = Event::now();
        reader.push(&buffer[..read], |event| {
            while delays.len() <= event.turn as usize {
                delays.push(Histogram::new(DIGITS).expect("a valid precision"));
            }
            delays[event.turn as usize] += now.saturating_sub(event.sent);
        })
    }
}
