//! One attempt: the upstream's behavior for one delivery of a request.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_filter::policy::DEFAULT_MAX_BYTES;

use super::chunk::{self, Chunk, body, length, pauses};
use super::configuration::{BUFFER_LIMIT, LONG_PAUSE, TICK, TIMEOUT};

/// The upstream; it determines what an attempt can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpstreamKind {
    Http1,
    /// It can send trailers and refuse streams.
    Http2,
    /// It refuses this many connections first.
    Refusing(usize),
}

#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// The pause before the response, in milliseconds.
    pub(super) after: u64,
    status: u16,
    kind: &'static str,
    chunks: Vec<Chunk>,
    /// The index of the chunk before which the upstream may pause longer than the timeout.
    gap: usize,
    has_length: bool,
    trailers: bool,
    end: &'static str,
    accel_buffering: Option<&'static str>,
    compressed: bool,
}

/// Any attempt.
pub(super) fn attempts() -> impl Strategy<Value = Attempt> {
    let after = prop::sample::select(vec![0, 0, 5, 40, LONG_PAUSE]);
    let status = prop::sample::select(vec![200, 200, 200, 201, 204, 304, 404, 500, 503]);
    let kinds = vec!["text/plain", "application/json", "text/event-stream", "application/x-ndjson"];
    let ends = vec![
        "complete",
        "complete",
        "complete",
        "complete",
        "cut",
        "reset",
        "reset_in_header",
        "refused_stream",
        "never",
    ];
    let accel_buffering = prop::sample::select(vec![None, None, None, Some("no"), Some("yes")]);
    let body = (chunk::chunks(), 1usize..12, any::<bool>(), any::<bool>());
    (after, status, prop::sample::select(kinds), body, prop::sample::select(ends), accel_buffering)
        .prop_map(
            |(after, status, kind, (chunks, gap, has_length, trailers), end, accel_buffering)| {
                let without_body = matches!(status, 204 | 304);
                Attempt {
                    after,
                    status,
                    kind,
                    chunks: if without_body { Vec::new() } else { chunks },
                    gap,
                    has_length,
                    trailers: trailers && !without_body,
                    end: if without_body { "complete" } else { end },
                    accel_buffering,
                    compressed: false,
                }
            },
        )
}

/// An attempt that responds with a stream of events or lines.
pub(super) fn streams() -> impl Strategy<Value = Attempt> {
    let kind = prop::sample::select(vec!["text/event-stream", "application/x-ndjson"]);
    let end = prop::sample::select(vec!["complete", "complete", "cut"]);
    (kind, chunk::texts(), end, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |(kind, chunks, end, trailers, compressed)| Attempt {
            after: 5,
            status: 200,
            kind,
            chunks,
            gap: usize::MAX,
            has_length: false,
            trailers,
            end,
            accel_buffering: None,
            compressed,
        },
    )
}

/// An attempt that responds with a stream which may wait.
pub(super) fn waits() -> impl Strategy<Value = Attempt> {
    let kind =
        prop::sample::select(vec!["text/event-stream", "application/x-ndjson", "text/plain"]);
    (kind, prop::option::of(chunk::texts()), chunk::waiting()).prop_map(
        |(kind, chunks, waiting)| Attempt {
            after: 5,
            status: 200,
            kind,
            chunks: [chunks.unwrap_or_default(), waiting].concat(),
            gap: usize::MAX,
            has_length: false,
            trailers: false,
            end: "complete",
            accel_buffering: None,
            compressed: false,
        },
    )
}

/// The headers of an upgrade, in both directions.
pub(super) const UPGRADE: [(&str, &str); 2] = [("upgrade", "websocket"), ("connection", "upgrade")];

impl Attempt {
    /// An attempt that accepts an upgrade and sends these chunks, or rejects it.
    pub(super) fn tunnel(accepted: bool, chunks: Vec<Chunk>, end: &'static str) -> Self {
        Self {
            after: 5,
            status: if accepted { 101 } else { 403 },
            kind: "text/plain",
            chunks,
            gap: usize::MAX,
            has_length: false,
            trailers: false,
            end,
            accel_buffering: None,
            compressed: false,
        }
    }

    /// Removes what is impossible with this upstream or too slow for this path.
    pub(super) fn adapted_to(mut self, upstream: UpstreamKind, path: &str) -> Self {
        let http2 = upstream == UpstreamKind::Http2;
        let long_timeout = !matches!(path, "/short" | "/again" | "/idle" | "/held");
        self.trailers &= http2;
        self.end = match self.end {
            "cut" | "reset" | "reset_in_header" if http2 => "complete",
            "refused_stream" if !http2 => "complete",
            // An upstream that never responds is only used with timeouts of at most one second.
            "never" if long_timeout || path == "/again" => "complete",
            end => end,
        };
        if long_timeout {
            self.after = self.after.min(40);
        }
        // The idle timeout of a response with a content length that is not buffered applies only
        // before the response.
        let limit = if path == "/held" { BUFFER_LIMIT } else { DEFAULT_MAX_BYTES };
        if self.chunks.iter().map(Chunk::len).sum::<usize>() as u64 >= limit {
            self.has_length &= long_timeout;
        }
        if matches!(path, "/idle" | "/held")
            && let Some(chunk) = self.chunks.get_mut(self.gap)
        {
            *chunk = chunk.after(LONG_PAUSE);
        }
        self
    }

    /// Whether the upstream refuses the stream.
    pub(super) fn refuses(&self) -> bool {
        self.end == "refused_stream"
    }

    /// Whether the upstream leaves its response incomplete.
    pub(super) fn is_incomplete(&self) -> bool {
        matches!(self.end, "cut" | "never")
    }

    /// Sets the pause before the first chunk.
    pub(super) fn delay_first_chunk(&mut self, pause: u64) {
        self.chunks[0] = self.chunks[0].after(pause);
    }

    /// Appends chunks to a stream, the first after `pause`, the others after `apart`.
    pub(super) fn append(&mut self, pause: u64, more: &[Chunk], apart: u64) {
        let pauses = std::iter::once(pause).chain(std::iter::repeat(apart));
        self.chunks.extend(more.iter().zip(pauses).map(|(chunk, pause)| chunk.after(pause)));
    }

    /// The longest duration in milliseconds, with or without an idle timeout.
    pub(super) fn longest(&self, with_timeout: bool) -> u64 {
        let most = if with_timeout { TIMEOUT + TICK } else { u64::MAX };
        let silent = if self.end == "never" { TIMEOUT + TICK } else { 0 };
        self.after.min(most) + pauses(&self.chunks, most) + silent
    }

    /// The fields of the attempt in a trace event.
    pub(super) fn fields(&self, is_head: bool) -> Value {
        let after = format!("{}ms", self.after);
        if matches!(self.end, "reset" | "reset_in_header" | "refused_stream") {
            return json!({ "after": after, "end": self.end });
        }
        let mut headers = vec![json!(["content-type", self.kind])];
        if self.status == 101 {
            headers = UPGRADE.map(|header| json!(header)).into();
        }
        let without_body = is_head || matches!(self.status, 204 | 304);
        if self.has_length && !without_body && !self.chunks.is_empty() {
            let missing = usize::from(self.end != "complete");
            headers.push(json!(["content-length", length(&self.chunks, missing)]));
        }
        if self.compressed {
            headers.push(json!(["content-encoding", "gzip"]));
        }
        headers.extend(self.accel_buffering.map(|value| json!(["x-accel-buffering", value])));
        let mut fields = json!({ "after": after, "status": self.status, "headers": headers });
        if !without_body {
            fields["body"] = body(&self.chunks);
            // The response has begun, so a cut is a reset.
            fields["end"] = json!(if self.end == "cut" { "reset" } else { self.end });
            if self.trailers {
                fields["trailers"] = json!([["x-checksum", "received"]]);
            }
        }
        fields
    }
}
