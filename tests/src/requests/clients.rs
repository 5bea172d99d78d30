//! The clients of one listener: connections that stay open, each with one request at a time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use sluice_test_kit::inputs;

use super::setup::{BODY_BYTES, request_path};
use super::upstream::SEEN_TIMEOUT;

const CONNECTIONS: u32 = 32;

/// The connections to one listener.
pub(super) struct Clients {
    connections: Vec<TcpStream>,
    /// A request for each route.
    requests: Vec<Vec<u8>>,
    sent: usize,
}

impl Clients {
    pub(super) fn connect(port: u16) -> Self {
        let connect = |_| {
            let connection =
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("Envoy listens");
            connection.set_nodelay(true).expect("a TCP socket");
            connection
        };
        let requests = (0..inputs::ROUTES).map(|route| {
            let mut request = format!("GET {} HTTP/1.1\r\n", request_path(route));
            for (name, value) in inputs::request(0) {
                match name.as_str() {
                    ":authority" => request += &format!("host: {value}\r\n"),
                    name if name.starts_with(':') => {}
                    name => request += &format!("{name}: {value}\r\n"),
                }
            }
            (request + "\r\n").into_bytes()
        });
        Self {
            connections: (0..CONNECTIONS).map(connect).collect(),
            requests: requests.collect(),
            sent: 0,
        }
    }

    /// Sends about this many requests; returns how many. Every connection sends one request, and
    /// then each receives its response, and so on.
    pub(super) fn send(&mut self, requests: u32) -> u32 {
        let batches = requests.div_ceil(CONNECTIONS);
        for _ in 0..batches {
            self.send_batch();
            for connection in &mut self.connections {
                receive(connection);
            }
        }
        batches * CONNECTIONS
    }

    fn send_batch(&mut self) {
        for connection in &mut self.connections {
            self.sent += 1;
            let request = &self.requests[inputs::route_of(self.sent, inputs::ROUTES)];
            connection.write_all(request).expect("Envoy reads");
        }
    }

    /// The timeout that the upstream of a request saw, in milliseconds.
    pub(super) fn timeout_at_upstream(&mut self) -> String {
        self.send_batch();
        let heads: Vec<String> = self.connections.iter_mut().map(receive).collect();
        let timeout = heads[0].split_once(SEEN_TIMEOUT).map_or("", |(_, rest)| rest);
        timeout.split("\r\n").next().unwrap_or_default().to_owned()
    }
}

/// Receives a response and returns its head.
fn receive(connection: &mut TcpStream) -> String {
    let mut buffer = [0; 4096];
    let mut size = 0;
    loop {
        let read = connection.read(&mut buffer[size..]).expect("Envoy responds");
        assert!(read > 0, "Envoy closed a connection");
        size += read;
        let head = buffer[..size].windows(4).position(|end| end == b"\r\n\r\n");
        if let Some(head) = head.filter(|head| size >= head + 4 + BODY_BYTES) {
            let head = String::from_utf8_lossy(&buffer[..head]).into_owned();
            assert!(head.starts_with("HTTP/1.1 200 "), "expected 200, found {head}");
            return head;
        }
    }
}
