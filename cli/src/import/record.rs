//! One exchange, whatever recorded it, and its form in a trace.
//!
//! These types serialize to the format that `sluice_sim::trace` parses. Each written trace is
//! parsed before it is saved, so the two cannot diverge unnoticed.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sluice_sim::trace::MAX_BODY_BYTES;

/// The largest chunk, in bytes: what proxies read at a time.
const MAX_CHUNK: u64 = 64 * 1024;

/// The time between the chunks of a slow body. A recording has the times of the first and the last
/// byte only, so the time between chunks is invented.
const CHUNK_INTERVAL: Duration = Duration::from_secs(1);

/// The largest number of intervals in a slow body.
const MAX_INTERVALS: u64 = 3600;

#[derive(Debug)]
pub(super) struct Record {
    /// The file and the line or entry, by which a replay names the exchange.
    pub(super) id: String,
    /// When the client began to send the request.
    pub(super) start: Timestamp,
    /// `None`: a connection of its own.
    pub(super) connection: Option<Connection>,
    /// When the client closed the connection, if it did so before the end of the response.
    pub(super) client_left: Option<Duration>,
    /// Whether the filter held response headers, so that the proxy has the option for it.
    pub(super) holds_headers: bool,
    pub(super) exchange: Exchange,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) name: String,
    pub(super) open: Open,
}

/// The event `open` of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Open {
    /// HTTP version, as a trace writes it.
    pub(super) protocol: &'static str,
    /// Property `connection.id`, from which a drain derives the time of the close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
    /// Address of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Exchange {
    pub(super) request: Request,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "one_or_many")]
    pub(super) upstream: Vec<Attempt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expect: Option<Expect>,
}

impl Exchange {
    /// The protocol to which the upstream upgraded the connection.
    pub(super) fn accepted_upgrade(&self) -> Option<&str> {
        let upgraded = self.upstream.last().is_some_and(|attempt| attempt.status == Some(101));
        let mut headers = self.request.headers.iter();
        let header = headers.find(|(name, _)| name.eq_ignore_ascii_case("upgrade"))?;
        upgraded.then_some(header.1.as_str())
    }
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Request {
    pub(super) method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scheme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authority: Option<String>,
    pub(super) path: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) headers: Headers,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) body: Vec<Chunk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route_metadata: Option<Value>,
}

/// Names and values in their order.
pub(super) type Headers = Vec<(String, String)>;

/// The behavior of the upstream in one attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Attempt {
    #[serde(skip_serializing_if = "TraceDuration::is_zero")]
    pub(super) after: TraceDuration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) headers: Headers,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) body: Vec<Chunk>,
    /// How the attempt ends; `None`: with a complete response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    Reset,
    ResetInHeader,
    Never,
    Refused,
    RefusedStream,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Expect {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<String>,
    /// Kept as text, which takes less memory than a tree: a log can have a million of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream: Option<ExpectedAttempts>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct ExpectedAttempts {
    pub(super) attempts: u64,
}

/// How the exchange ended for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Complete,
    Cut,
    Client,
}

/// One or several equal chunks of a body.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Chunk {
    #[serde(skip_serializing_if = "TraceDuration::is_zero")]
    after: TraceDuration,
    bytes: u64,
    #[serde(skip_serializing_if = "is_one")]
    times: u64,
}

/// A duration as a trace writes it, without rounding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TraceDuration(pub(super) Duration);

impl TraceDuration {
    fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
}

impl Serialize for TraceDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.is_zero() {
            true => serializer.serialize_str("0s"),
            // Rust's debug format is the format of traces, except for the letter µ.
            false => serializer.serialize_str(&format!("{:?}", self.0).replace('µ', "u")),
        }
    }
}

/// The chunks of a body of this size. The first chunk comes at once, the last one after `time`, and
/// the others in equal intervals.
pub(super) fn body(bytes: u64, time: Duration) -> Vec<Chunk> {
    let bytes = bytes.min(MAX_BODY_BYTES);
    if bytes == 0 {
        return Vec::new();
    }
    let intervals = time.as_nanos().div_ceil(CHUNK_INTERVAL.as_nanos()) as u64;
    // A body that took less than an interval is one chunk at its end.
    let slow = if intervals > 1 { intervals.min(MAX_INTERVALS) + 1 } else { 1 };
    let chunks = slow.min(bytes).max(bytes.div_ceil(MAX_CHUNK));
    let each = bytes / chunks;
    let first = each + bytes % chunks;
    if chunks == 1 {
        return vec![Chunk { after: TraceDuration(time), bytes: first, times: 1 }];
    }
    let interval = time / u32::try_from(chunks - 1).unwrap_or(u32::MAX);
    let first = Chunk { after: TraceDuration::default(), bytes: first, times: 1 };
    vec![first, Chunk { after: TraceDuration(interval), bytes: each, times: chunks - 1 }]
}

/// The chunks of an upload that its client gave up after `time`: the received bytes, and the rest,
/// which would have come later.
pub(super) fn abandoned_upload(received: u64, declared: Option<u64>, time: Duration) -> Vec<Chunk> {
    let mut chunks = body(received, time);
    let after = if chunks.is_empty() { time + CHUNK_INTERVAL } else { CHUNK_INTERVAL };
    let rest = declared.unwrap_or_default().saturating_sub(received).clamp(1, MAX_BODY_BYTES);
    chunks.push(Chunk { after: TraceDuration(after), bytes: rest, times: 1 });
    chunks
}

fn is_one(times: &u64) -> bool {
    *times == 1
}

fn one_or_many<S: Serializer>(attempts: &[Attempt], serializer: S) -> Result<S::Ok, S::Error> {
    match attempts {
        [one] => one.serialize(serializer),
        many => many.serialize(serializer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(chunks: &[Chunk]) -> (u64, Duration) {
        let bytes = chunks.iter().map(|chunk| chunk.bytes * chunk.times).sum();
        (bytes, chunks.iter().map(|chunk| chunk.after.0 * chunk.times as u32).sum())
    }

    #[test]
    fn a_body_keeps_its_size_and_its_time() {
        for bytes in [1, 2, 251, MAX_CHUNK, MAX_CHUNK + 1, 10_000_019, MAX_BODY_BYTES] {
            for millis in [0, 1, 999, 1_000, 1_001, 17_345, 90_000_000] {
                let expected = Duration::from_millis(millis);
                let chunks = body(bytes, expected);
                let (sum, time) = total(&chunks);
                assert_eq!(sum, bytes);
                assert!(chunks.iter().all(|chunk| chunk.bytes > 0), "{chunks:?}");
                let difference = time.abs_diff(expected);
                assert!(difference < Duration::from_millis(1), "{chunks:?} for {expected:?}");
            }
        }
        assert_eq!(body(0, CHUNK_INTERVAL), []);
    }

    #[test]
    fn a_slow_body_has_a_chunk_each_second() {
        let ten = body(1000, Duration::from_secs(10));
        let rest = Chunk { after: TraceDuration(CHUNK_INTERVAL), bytes: 90, times: 10 };
        assert_eq!(ten, [Chunk { after: TraceDuration::default(), bytes: 100, times: 1 }, rest]);
    }
}
