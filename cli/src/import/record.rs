//! An exchange as somebody noted it who saw it happen, and how a trace says the same.
//!
//! The types here write what `sluice_sim::trace` reads; whatever is written is read by that before
//! anybody gets it, so the two cannot differ unnoticed.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sluice_sim::trace::MAX_BODY_BYTES;

/// The most bytes that one read brings, as proxies read.
const READ: u64 = 64 * 1024;

/// How far apart the pieces of a body are that took long; what really happened between its first byte
/// and its last nobody noted.
const BEAT: Duration = Duration::from_secs(1);

/// The most pieces of a body that took long.
const MOST_BEATS: u64 = 3600;

/// An exchange, and what was noted about it.
#[derive(Debug)]
pub(super) struct Record {
    /// Its line or entry, which reports name it by.
    pub(super) id: String,
    /// When the client began to send the request.
    pub(super) start: Timestamp,
    /// What carried it; none has a connection of its own.
    pub(super) connection: Option<Connection>,
    /// When the client went away, if it did before the response had ended.
    pub(super) gone: Option<Duration>,
    /// What was sent, what the upstream did, and what came of it.
    pub(super) exchange: Exchange,
}

/// A client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    /// Its name in the trace.
    pub(super) name: String,
    /// What is known of it.
    pub(super) open: Open,
}

/// What a trace says when a connection opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Open {
    /// The version of HTTP, in the words of traces.
    pub(super) protocol: &'static str,
    /// Its number in the proxy, by which a drain chooses its moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
}

/// What a trace says of an exchange.
#[derive(Debug, Serialize)]
pub(super) struct Exchange {
    pub(super) request: Request,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "one_or_many")]
    pub(super) upstream: Vec<Attempt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expect: Option<Expect>,
}

/// What the client sends.
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

/// What the upstream does with one attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Attempt {
    #[serde(skip_serializing_if = "Span::is_zero")]
    pub(super) after: Span,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) headers: Headers,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) body: Vec<Chunk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<End>,
}

/// How an attempt ends other than with its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    Reset,
    ResetInHeader,
    Never,
    Refused,
    RefusedStream,
}

/// What came of the exchange.
#[derive(Debug, Default, Serialize)]
pub(super) struct Expect {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<String>,
    /// As text, which takes far less memory: a log has a million of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream: Option<Attempts>,
}

/// How often the upstream was asked.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Attempts {
    pub(super) attempts: u64,
}

/// How the exchange ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Complete,
    Cut,
    Client,
}

/// A piece of a body, or several alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Chunk {
    #[serde(skip_serializing_if = "Span::is_zero")]
    after: Span,
    bytes: u64,
    #[serde(skip_serializing_if = "is_one")]
    times: u64,
}

/// A duration as traces write it, to the last digit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub(super) Duration);

impl Span {
    fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.is_zero() {
            true => serializer.serialize_str("0s"),
            // Rust writes durations as traces do, but for one letter that is not ASCII.
            false => serializer.serialize_str(&format!("{:?}", self.0).replace('µ', "u")),
        }
    }
}

/// A body of so many bytes that took so long: its first piece at once, its last one at the end, and
/// those between them evenly.
pub(super) fn body(bytes: u64, span: Duration) -> Vec<Chunk> {
    let bytes = bytes.min(MAX_BODY_BYTES);
    if bytes == 0 {
        return Vec::new();
    }
    let beats = span.as_nanos().div_ceil(BEAT.as_nanos()) as u64;
    // A body that took less than a beat comes as a whole when all of it was there.
    let long = if beats > 1 { beats.min(MOST_BEATS) + 1 } else { 1 };
    let pieces = long.min(bytes).max(bytes.div_ceil(READ));
    let each = bytes / pieces;
    let first = each + bytes % pieces;
    if pieces == 1 {
        return vec![Chunk { after: Span(span), bytes: first, times: 1 }];
    }
    let pause = span / u32::try_from(pieces - 1).unwrap_or(u32::MAX);
    let first = Chunk { after: Span::default(), bytes: first, times: 1 };
    vec![first, Chunk { after: Span(pause), bytes: each, times: pieces - 1 }]
}

/// A body that its sender gave up after this time: what came of it, and a rest that would have come later.
pub(super) fn abandoned(came: u64, declared: Option<u64>, span: Duration) -> Vec<Chunk> {
    let mut chunks = body(came, span);
    let after = if chunks.is_empty() { span + BEAT } else { BEAT };
    let rest = declared.unwrap_or_default().saturating_sub(came).clamp(1, MAX_BODY_BYTES);
    chunks.push(Chunk { after: Span(after), bytes: rest, times: 1 });
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
        for bytes in [1, 2, 251, READ, READ + 1, 10_000_019, MAX_BODY_BYTES] {
            for millis in [0, 1, 999, 1_000, 1_001, 17_345, 90_000_000] {
                let span = Duration::from_millis(millis);
                let chunks = body(bytes, span);
                let (sum, time) = total(&chunks);
                assert_eq!(sum, bytes);
                assert!(chunks.iter().all(|chunk| chunk.bytes > 0), "{chunks:?}");
                assert!(time.abs_diff(span) < Duration::from_millis(1), "{chunks:?} for {span:?}");
            }
        }
        assert_eq!(body(0, BEAT), []);
    }

    #[test]
    fn a_body_that_took_long_comes_in_beats() {
        let ten = body(1000, Duration::from_secs(10));
        let rest = Chunk { after: Span(BEAT), bytes: 90, times: 10 };
        assert_eq!(ten, [Chunk { after: Span::default(), bytes: 100, times: 1 }, rest]);
    }
}
