//! A TCP connection: the data of its two sides.

use std::time::Duration;

use crate::effect::Side;
use crate::options::StreamInfo;

/// A TCP connection.
#[derive(Debug, Default)]
pub(crate) struct Tcp {
    pub(crate) info: StreamInfo,
    /// When the stream was opened, as time since the epoch.
    pub(crate) opened: Duration,
    /// Data from the client.
    pub(crate) downstream: TcpData,
    /// Data from the upstream.
    pub(crate) upstream: TcpData,
    /// Whether `on_new_connection` paused the connection.
    pub(crate) paused: bool,
    pub(crate) downstream_closed: bool,
    pub(crate) upstream_closed: bool,
    pub(crate) failed: bool,
}

impl Tcp {
    pub(crate) fn data(&mut self, side: Side) -> &mut TcpData {
        match side {
            Side::Downstream => &mut self.downstream,
            Side::Upstream => &mut self.upstream,
        }
    }
}

/// Data from one side of a TCP connection.
#[derive(Debug, Default)]
pub(crate) struct TcpData {
    /// Bytes that are not forwarded yet.
    pub(crate) bytes: Vec<u8>,
    /// Whether the side sends no more.
    pub(crate) end: bool,
    /// Whether the guest can access the bytes.
    pub(crate) open: bool,
    /// Whether the end is forwarded.
    pub(crate) end_left: bool,
}

impl TcpData {
    pub(crate) fn open_bytes(&self) -> Option<&[u8]> {
        self.open.then_some(&self.bytes)
    }

    pub(crate) fn open_bytes_mut(&mut self) -> Option<&mut Vec<u8>> {
        self.open.then_some(&mut self.bytes)
    }
}
