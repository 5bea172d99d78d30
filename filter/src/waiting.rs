//! The streams that a drain waits for, by route and kind, so that an operator sees why a drain is
//! not finished.
//!
//! Each VM counts its own and writes the rows to shared data, under its id among the members. A VM
//! that does not renew its rows has crashed, and they are no longer counted.

use std::collections::BTreeMap;

use serde::Serialize;
use slab::Slab;

use crate::boundary::Framing;
use crate::config::{Node, parse_json};
use crate::members::GONE_MS;
use crate::metrics::RouteSlot;

/// The key of the rows in shared data.
pub const WAITING_KEY: &str = "sluice.waiting";

/// The most rows that a VM writes: the ones with the most streams.
const MAX_ROWS: usize = 16;

/// The largest value that is read, in bytes.
const MAX_VALUE: usize = 256 * 1024;

/// What a stream does, as far as the filter knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamKind {
    /// The response has not begun.
    Request,
    /// A response of another kind.
    Response,
    /// An event stream.
    Events,
    /// Newline-delimited JSON, or JSON sequences.
    Lines,
    /// A gRPC response.
    Grpc,
    /// A WebSocket.
    WebSocket,
    /// Another upgrade, or CONNECT.
    Tunnel,
}

impl StreamKind {
    /// The word in the drain state.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::Events => "events",
            Self::Lines => "lines",
            Self::Grpc => "grpc",
            Self::WebSocket => "websocket",
            Self::Tunnel => "tunnel",
        }
    }

    /// The kind of a response. The framing is known only if a drain can end the response.
    pub(crate) fn of_response(framing: Option<Framing>, is_tunnel: bool, is_grpc: bool) -> Self {
        match framing {
            Some(Framing::Events) => Self::Events,
            Some(Framing::Lines) => Self::Lines,
            Some(Framing::WebSocket) => Self::WebSocket,
            Some(Framing::Grpc) => Self::Grpc,
            _ if is_tunnel => Self::Tunnel,
            _ if is_grpc => Self::Grpc,
            _ => Self::Response,
        }
    }
}

/// The number of streams of one route and kind that a drain waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingRow {
    /// The route.
    pub route: String,
    /// The word of the [`StreamKind`].
    pub kind: String,
    /// The number of streams.
    pub streams: u64,
}

/// The open streams of a VM.
#[derive(Debug, Default)]
pub(crate) struct OpenStreams(Slab<OpenStream>);

#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenStream {
    pub(crate) connection: u64,
    pub(crate) slot: RouteSlot,
    pub(crate) kind: StreamKind,
}

/// A stream among those that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenId(usize);

impl OpenStreams {
    pub(crate) fn add(&mut self, connection: u64, slot: RouteSlot) -> OpenId {
        OpenId(self.0.insert(OpenStream { connection, slot, kind: StreamKind::Request }))
    }

    pub(crate) fn set_kind(&mut self, id: OpenId, kind: StreamKind) {
        self.0[id.0].kind = kind;
    }

    pub(crate) fn remove(&mut self, id: OpenId) {
        self.0.remove(id.0);
    }

    /// Counts the streams for which a drain waits, most first.
    pub(crate) fn rows<'n>(
        &self,
        waits: impl Fn(&OpenStream) -> bool,
        name: impl Fn(RouteSlot) -> &'n str,
    ) -> Vec<WaitingRow> {
        let mut counts = BTreeMap::new();
        for (_, stream) in self.0.iter().filter(|(_, stream)| waits(stream)) {
            *counts.entry((stream.slot, stream.kind)).or_insert(0) += 1;
        }
        let rows = counts.into_iter().map(|((slot, kind), streams)| WaitingRow {
            route: name(slot).to_owned(),
            kind: kind.word().to_owned(),
            streams,
        });
        let mut rows: Vec<WaitingRow> = rows.collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.streams));
        rows.truncate(MAX_ROWS);
        rows
    }
}

/// The rows of a VM as it last wrote them.
#[derive(Debug, Default)]
pub(crate) struct WrittenRows {
    rows: Vec<WaitingRow>,
    renewed_ms: u64,
}

impl WrittenRows {
    /// Whether to write the rows: they have changed, or have to be renewed.
    pub(crate) fn is_outdated(&self, rows: &[WaitingRow], now_ms: u64) -> bool {
        self.rows != rows || (!rows.is_empty() && self.renewed_ms.abs_diff(now_ms) > GONE_MS / 4)
    }

    pub(crate) fn set(&mut self, rows: Vec<WaitingRow>, now_ms: u64) {
        *self = Self { rows, renewed_ms: now_ms };
    }
}

/// The rows of one VM in shared data: its id, the time of the write, and `[route, kind, streams]`.
type Entry = (u64, u64, Vec<(String, String, u64)>);

/// The value to write for the VM `id`. Keeps the rows of other VMs that have not crashed.
pub(crate) fn merge(shared: Option<&[u8]>, id: u64, rows: &[WaitingRow], now_ms: u64) -> String {
    let mut entries = parse(shared, now_ms);
    entries.retain(|(other, ..)| *other != id);
    if !rows.is_empty() {
        let rows = rows.iter().map(|row| (row.route.clone(), row.kind.clone(), row.streams));
        entries.push((id, now_ms, rows.collect()));
    }
    serde_json::to_string(&entries).unwrap_or_default()
}

/// The sums over all VMs that have not crashed, most streams first.
pub(crate) fn sums(shared: Option<&[u8]>, now_ms: u64) -> Vec<WaitingRow> {
    let mut sums: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (route, kind, streams) in parse(shared, now_ms).into_iter().flat_map(|(_, _, rows)| rows) {
        let sum = sums.entry((route, kind)).or_default();
        *sum = sum.saturating_add(streams);
    }
    let rows = sums.into_iter().map(|((route, kind), streams)| WaitingRow { route, kind, streams });
    let mut rows: Vec<WaitingRow> = rows.collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.streams));
    rows
}

/// The entries of VMs that have not crashed. Skips items of another form.
fn parse(shared: Option<&[u8]>, now_ms: u64) -> Vec<Entry> {
    let text = shared.filter(|bytes| bytes.len() <= MAX_VALUE);
    let text = text.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let Some(Ok(Node::Array(items))) = text.map(parse_json) else { return Vec::new() };
    let row = |item: &Node| match item {
        Node::Array(fields) => match &fields[..] {
            [Node::Text(route), Node::Text(kind), Node::Unsigned(streams)] => {
                Some((route.clone(), kind.clone(), *streams))
            }
            _ => None,
        },
        _ => None,
    };
    let entry = |item: &Node| match item {
        Node::Array(fields) => match &fields[..] {
            [Node::Unsigned(id), Node::Unsigned(renewed), Node::Array(rows)]
                if renewed.abs_diff(now_ms) <= GONE_MS =>
            {
                Some((*id, *renewed, rows.iter().filter_map(row).collect()))
            }
            _ => None,
        },
        _ => None,
    };
    items.iter().filter_map(entry).collect()
}
