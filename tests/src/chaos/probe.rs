//! Requests of an operator: reads of the drain state and commands. They return errors instead of
//! panicking, because a proxy may be suspended or its VM may crash.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpStream};

use serde_json::Value;

use super::clients::{DETAILS, READ_TIMEOUT};
use crate::http1::Reader;
use crate::http1::message::Framing;

/// The admin path of the filter.
pub(super) const ADMIN: &str = "/.sluice/drain";

/// The health path of the filter.
pub(super) const HEALTH: &str = "/health";

const AUTHORIZATION: &str = "authorization: Bearer chaos\r\n";

/// The SHA-256 of the token.
pub(super) const TOKEN_SHA256: &str =
    "5d5bddb577102d0a960bcf6fea9050c10fe5e9feddcb5c2170ccab872db9ee87";

/// A response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Why Envoy replied itself.
    pub(super) details: String,
    /// Whether the connection closes.
    pub(super) closes: bool,
    pub(super) body: String,
}

/// The state of a proxy, as the health path and the admin path report it.
#[derive(Debug, Clone, Copy)]
pub(super) struct DrainState {
    pub(super) epoch: u64,
    pub(super) in_flight: u64,
}

/// A connection of an operator.
#[derive(Debug)]
pub(super) struct Connection(Reader<TcpStream>);

impl Connection {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// If no program accepts the connection.
    pub(super) fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self(Reader::new(stream)))
    }

    /// Sends a request and reads the response.
    ///
    /// # Errors
    /// If there is no complete response.
    pub(super) fn request(&mut self, method: &str, path: &str, headers: &str) -> io::Result<Reply> {
        let text = format!("{method} {path} HTTP/1.1\r\nhost: example.com\r\n{headers}\r\n");
        self.0.stream.write_all(text.as_bytes())?;
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let headers = self.0.headers()?.ok_or_else(ended)?;
        let body = self.0.body(Framing::of(&headers).unwrap_or(Framing::UntilClose))?;
        if !body.complete {
            return Err(ended());
        }
        Ok(Reply {
            status: headers.status().unwrap_or(0),
            details: headers.get(DETAILS).unwrap_or_default().to_owned(),
            closes: headers.get("connection") == Some("close"),
            body: String::from_utf8_lossy(&body.bytes).into_owned(),
        })
    }

    /// Reads the health path.
    ///
    /// # Errors
    /// If there is no complete response.
    pub(super) fn health(&mut self) -> io::Result<Reply> {
        self.request("GET", HEALTH, "")
    }

    /// Reads the admin path.
    ///
    /// # Errors
    /// If there is no complete response.
    pub(super) fn admin_state(&mut self) -> io::Result<Reply> {
        self.request("GET", ADMIN, AUTHORIZATION)
    }
}

/// Sends one request on a new connection.
///
/// # Errors
/// If there is no complete response.
pub(super) fn request(port: u16, method: &str, path: &str, headers: &str) -> io::Result<Reply> {
    Connection::open(port)?.request(method, path, headers)
}

/// The value of a counter or gauge, read from an admin port of Envoy; `None` if there is none, or
/// no reply.
pub(super) fn metric(admin: u16, name: &str) -> Option<u64> {
    let path = format!("/stats?filter=^{}$", name.replace('.', "\\."));
    let reply = request(admin, "GET", &path, "").ok()?;
    reply.body.trim().rsplit_once(": ")?.1.parse().ok()
}

/// Sends a command to the admin path.
///
/// # Errors
/// If there is no complete response.
pub(super) fn command(port: u16, query: &str) -> io::Result<Reply> {
    let headers = format!("{AUTHORIZATION}content-length: 0\r\n");
    request(port, "POST", &format!("{ADMIN}?{query}"), &headers)
}

impl Reply {
    /// The state in the body, if the filter replied.
    pub(super) fn state(&self) -> Option<DrainState> {
        let state: Value = serde_json::from_str(&self.body).ok()?;
        let epoch = state["epoch"].as_u64().unwrap_or(0);
        Some(DrainState { epoch, in_flight: state["in_flight"].as_u64()? })
    }
}
