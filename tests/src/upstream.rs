//! An upstream whose replies a script writes. The script is a function that receives each request
//! and writes any bytes; it runs on the connection's thread.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::http1::Reader;
use crate::http1::message::{Framing, Headers};
use crate::net;

/// A running upstream.
#[derive(Debug)]
pub struct Upstream {
    /// The port on which it listens.
    pub port: u16,
    received: Arc<Received>,
}

#[derive(Debug, Default)]
struct Received {
    requests: Mutex<Requests>,
    connections: AtomicUsize,
}

/// The requests in the order of their headers. The key is the number of the request.
#[derive(Debug, Default)]
struct Requests {
    next: usize,
    by_number: BTreeMap<usize, Request>,
}

/// A request, as far as the upstream has received it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request line and the header fields.
    pub headers: Headers,
    /// The body, without chunk sizes.
    pub body: Vec<u8>,
    /// The number of the connection, from 1.
    pub connection: usize,
    /// When the headers were complete.
    pub headers_at: Instant,
    /// The time of each read that returned bytes of the body, and how many.
    pub arrivals: Vec<(Instant, usize)>,
    /// Whether the whole body was received.
    pub complete: bool,
}

impl Request {
    fn new(headers: Headers, connection: usize) -> Self {
        let (body, arrivals) = (Vec::new(), Vec::new());
        Self { headers, body, connection, headers_at: Instant::now(), arrivals, complete: false }
    }

    /// The path with the query.
    pub fn path(&self) -> &str {
        self.headers.start_line.split(' ').nth(1).unwrap_or_default()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }
}

/// Writes the reply to one request.
#[derive(Debug)]
pub struct Reply {
    stream: TcpStream,
    open: bool,
    /// The number of earlier requests with the same path.
    pub earlier_requests: usize,
}

impl Reply {
    /// Writes a complete response with a content length.
    pub fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        all.push(("content-length", &length));
        self.send_headers(status, &all);
        self.write(body);
    }

    /// Writes a status line and header fields.
    pub fn send_headers(&mut self, status: u16, headers: &[(&str, &str)]) {
        let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let text = format!("HTTP/1.1 {status} Status\r\n{}\r\n", lines.collect::<String>());
        self.write(text.as_bytes());
    }

    /// Writes one chunk of a chunked body; an empty chunk ends the body.
    pub fn send_chunk(&mut self, bytes: &[u8]) {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk);
    }

    /// Writes bytes unchanged. If the proxy has closed the connection, they are dropped.
    pub fn write(&mut self, bytes: &[u8]) {
        self.open &= self.stream.write_all(bytes).is_ok();
    }

    /// Reads bytes from the proxy after an upgrade; none at the close.
    pub fn read(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 1024];
        let read = self.stream.read(&mut bytes).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    /// Whether all writes so far have succeeded and the connection stays open.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Waits.
    pub fn pause(&self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    /// Ends the writing direction, and reads until the proxy has closed the connection.
    pub fn shutdown_and_wait(&mut self) {
        // This fails if the proxy has closed the connection already.
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
    /// Starts an upstream that replies to each request with `script`.
    ///
    /// # Panics
    /// If no port is free.
    pub fn start(script: impl Fn(&Request, &mut Reply) + Send + Sync + 'static) -> Self {
        let received = Arc::new(Received::default());
        let shared = received.clone();
        let port = net::listen(move |stream| shared.serve(stream, &script));
        Self { port, received }
    }

    /// Starts an upstream that replies to each request with status 200 and the body `ok`.
    pub fn ok() -> Self {
        Self::start(|_, reply| reply.respond(200, &[], b"ok"))
    }

    /// The requests with this path, in the order of their headers. A request is listed as soon as
    /// its headers are complete; its body is set when the body has ended.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        let all = self.received.requests();
        all.by_number.values().filter(|request| request.path() == path).cloned().collect()
    }

    /// Drops all requests so far, to bound the memory of a long test.
    pub fn forget_requests(&self) {
        self.received.requests().by_number.clear();
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.received.connections.load(Ordering::Relaxed)
    }
}

impl Received {
    fn requests(&self) -> std::sync::MutexGuard<'_, Requests> {
        self.requests.lock().expect("no thread panics while it holds the lock")
    }

    fn serve(&self, stream: TcpStream, script: impl Fn(&Request, &mut Reply)) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let _ = stream.set_nodelay(true);
        let Ok(writer) = stream.try_clone() else { return };
        let mut reply = Reply { stream: writer, open: true, earlier_requests: 0 };
        let mut reader = Reader::new(stream);
        while let Ok(Some(headers)) = reader.headers() {
            let framing = Framing::of(&headers).unwrap_or(Framing::Empty);
            let mut request = Request::new(headers, connection);
            let number = self.record(&request, &mut reply);
            let Ok(body) = reader.body(framing) else { break };
            request.body = body.bytes;
            request.arrivals = body.arrivals;
            request.complete = body.complete;
            let mut all = self.requests();
            all.by_number.entry(number).and_modify(|known| known.clone_from(&request));
            drop(all);
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

    fn record(&self, request: &Request, reply: &mut Reply) -> usize {
        let mut all = self.requests();
        let earlier = all.by_number.values().filter(|earlier| earlier.path() == request.path());
        reply.earlier_requests = earlier.count();
        let number = all.next;
        all.next += 1;
        all.by_number.insert(number, request.clone());
        number
    }
}
