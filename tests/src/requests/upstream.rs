//! The upstream: it replies to each request at once, and reports the timeout that Envoy's router
//! announced to it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use super::setup::BODY_BYTES;

/// The header in which the router announces the timeout of the request.
const EXPECTED_TIMEOUT: &str = "x-envoy-expected-rq-timeout-ms: ";

/// The header in which this upstream repeats it.
pub(super) const SEEN_TIMEOUT: &str = "x-seen-timeout: ";

/// Starts an upstream and returns its port. It runs until the process ends.
pub(super) fn start() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    thread::spawn(move || {
        for connection in listener.incoming().filter_map(Result::ok) {
            thread::spawn(move || serve(connection));
        }
    });
    port
}

fn serve(mut connection: TcpStream) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = connection.read(&mut buffer) {
        received.extend_from_slice(&buffer[..size]);
        if !received.ends_with(b"\r\n\r\n") {
            continue;
        }
        let request = String::from_utf8_lossy(&received);
        let timeout = request.split_once(EXPECTED_TIMEOUT).map_or("", |(_, rest)| rest);
        let timeout = timeout.split("\r\n").next().unwrap_or_default();
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{SEEN_TIMEOUT}{timeout}\r\n\
             content-length: {BODY_BYTES}\r\n\r\n{}",
            "x".repeat(BODY_BYTES)
        );
        if connection.write_all(response.as_bytes()).is_err() {
            return;
        }
        received.clear();
    }
}
