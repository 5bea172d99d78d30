//! An upstream that follows a script: a function that is handed each request and writes bytes as it
//! likes, a thread for each connection.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::message::{Framing, Head, Reader};

/// A running upstream.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub port: u16,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Requests>,
    connections: AtomicUsize,
}

/// The requests that are remembered, by their number.
#[derive(Debug, Default)]
struct Requests {
    next: usize,
    known: BTreeMap<usize, Request>,
}

/// A request as the upstream saw it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Request line and headers.
    pub head: Head,
    /// The body, without chunk heads.
    pub body: Vec<u8>,
    /// The how-manieth connection brought it, from 1.
    pub connection: usize,
    /// When its head was there.
    pub head_at: Instant,
    /// When each read brought how many bytes of the body.
    pub pieces: Vec<(Instant, usize)>,
    /// Whether all of it is there.
    pub complete: bool,
}

impl Request {
    fn new(head: Head, connection: usize) -> Self {
        let (body, pieces) = (Vec::new(), Vec::new());
        Self { head, body, connection, head_at: Instant::now(), pieces, complete: false }
    }

    /// The path with the query.
    pub fn path(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }
}

/// The way back to the proxy.
#[derive(Debug)]
pub struct Reply {
    stream: TcpStream,
    open: bool,
    /// How many requests with this path came before.
    pub before: usize,
}

impl Reply {
    /// A whole response with a body of known length.
    pub fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        all.push(("content-length", &length));
        self.head(status, &all);
        self.write(body);
    }

    /// The head of a response.
    pub fn head(&mut self, status: u16, headers: &[(&str, &str)]) {
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!("HTTP/1.1 {status} Status\r\n{}\r\n", lines.collect::<String>());
        self.write(head.as_bytes());
    }

    /// One chunk of a chunked body; an empty one ends it.
    pub fn chunk(&mut self, bytes: &[u8]) {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk);
    }

    /// Bytes as they are. What a proxy no longer wants to hear is lost without a word.
    pub fn write(&mut self, bytes: &[u8]) {
        self.open &= self.stream.write_all(bytes).is_ok();
    }

    /// Bytes from the proxy, for protocols that follow an upgrade; none at the close.
    pub fn read(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 1024];
        let read = self.stream.read(&mut bytes).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    /// Whether the proxy still takes what is written.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Waits.
    pub fn pause(&self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    /// Says no more, and listens until the proxy has closed the connection.
    pub fn hang_up(&mut self) {
        // It fails where the proxy was first.
        drop(self.stream.shutdown(Shutdown::Write));
        while !self.read().is_empty() {}
        self.close();
    }

    /// Closes the connection after this request.
    pub fn close(&mut self) {
        self.open = false;
    }
}

impl Upstream {
    /// Starts an upstream that answers each request with `script`.
    ///
    /// # Panics
    /// If this machine has no port left.
    pub fn start(script: impl Fn(&Request, &mut Reply) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let seen = Arc::new(Seen::default());
        let (script, shared) = (Arc::new(script), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, seen) = (script.clone(), shared.clone());
                std::thread::spawn(move || seen.serve(stream, script.as_ref()));
            }
        });
        Self { port, seen }
    }

    /// An upstream that answers everything with 200 and `ok`.
    pub fn ok() -> Self {
        Self::start(|_, reply| reply.respond(200, &[], b"ok"))
    }

    /// A port of this machine where nobody listens.
    ///
    /// # Panics
    /// If this machine has no port left.
    pub fn nobody() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.local_addr().expect("a bound socket has an address").port()
    }

    /// The requests with this path, in the order of their heads, each from the moment its head was
    /// there; the body follows when it has ended.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        self.seen.all().known.values().filter(|request| request.path() == path).cloned().collect()
    }

    /// Forgets all requests so far, for a test that runs for long.
    pub fn forget(&self) {
        self.seen.all().known.clear();
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }
}

impl Seen {
    fn all(&self) -> std::sync::MutexGuard<'_, Requests> {
        self.requests.lock().expect("nobody panics with the requests in hand")
    }

    fn serve(&self, stream: TcpStream, script: &(impl Fn(&Request, &mut Reply) + ?Sized)) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let _ = stream.set_nodelay(true);
        let Ok(writer) = stream.try_clone() else { return };
        let mut reply = Reply { stream: writer, open: true, before: 0 };
        let mut reader = Reader::new(stream);
        while let Ok(Some(head)) = reader.head() {
            let framing = Framing::of(&head).unwrap_or(Framing::Empty);
            let mut request = Request::new(head, connection);
            let number = self.note(&request, &mut reply);
            let Ok(body) = reader.body(framing) else { break };
            request.body = body.bytes;
            request.pieces = body.pieces;
            request.complete = body.complete;
            self.all().known.entry(number).and_modify(|known| known.clone_from(&request));
            if !request.complete {
                break;
            }
            script(&request, &mut reply);
            if !reply.open {
                break;
            }
        }
        let _ = reader.stream.shutdown(Shutdown::Both);
    }

    fn note(&self, request: &Request, reply: &mut Reply) -> usize {
        let mut all = self.all();
        let earlier = all.known.values().filter(|earlier| earlier.path() == request.path());
        reply.before = earlier.count();
        let number = all.next;
        all.next += 1;
        all.known.insert(number, request.clone());
        number
    }
}
