//! What the upstream does with one try.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_filter::policy::DEFAULT_MAX_BYTES;

use super::configuration::{GAP, HELD, LIMIT, TICK};
use super::piece::{self, Piece, body, length, pauses};

/// What an upstream can do depends on how it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    Plainly,
    /// HTTP/2 carries trailers and refuses streams.
    ByHttp2,
    /// So many connections are refused.
    AtLast(usize),
}

/// One try.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// The pause before the response.
    pub(super) after: u64,
    status: u16,
    kind: &'static str,
    pieces: Vec<Piece>,
    /// Before the piece of this number, if there is one, the upstream is silent for too long.
    gap: usize,
    has_length: bool,
    trailers: bool,
    end: &'static str,
    says: Option<&'static str>,
    compressed: bool,
}

/// Any try.
pub(super) fn attempts() -> impl Strategy<Value = Attempt> {
    let after = prop::sample::select(vec![0, 0, 5, 40, GAP]);
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
    let says = prop::sample::select(vec![None, None, None, Some("no"), Some("yes")]);
    let body = (piece::pieces(), 1usize..12, any::<bool>(), any::<bool>());
    (after, status, prop::sample::select(kinds), body, prop::sample::select(ends), says).prop_map(
        |(after, status, kind, (pieces, gap, has_length, trailers), end, says)| {
            let bodiless = matches!(status, 204 | 304);
            Attempt {
                after,
                status,
                kind,
                pieces: if bodiless { Vec::new() } else { pieces },
                gap,
                has_length,
                trailers: trailers && !bodiless,
                end: if bodiless { "complete" } else { end },
                says,
                compressed: false,
            }
        },
    )
}

/// A try that begins a stream of events or lines.
pub(super) fn streams() -> impl Strategy<Value = Attempt> {
    let kind = prop::sample::select(vec!["text/event-stream", "application/x-ndjson"]);
    let end = prop::sample::select(vec!["complete", "complete", "cut"]);
    (kind, piece::texts(), end, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |(kind, pieces, end, trailers, compressed)| Attempt {
            after: 5,
            status: 200,
            kind,
            pieces,
            gap: usize::MAX,
            has_length: false,
            trailers,
            end,
            says: None,
            compressed,
        },
    )
}

/// The two headers with which both sides leave HTTP.
pub(super) const UPGRADE: [(&str, &str); 2] = [("upgrade", "websocket"), ("connection", "upgrade")];

impl Attempt {
    /// A try in which the upstream leaves HTTP and says these, or does not.
    pub(super) fn tunnel(taken: bool, pieces: Vec<Piece>, end: &'static str) -> Self {
        Self {
            after: 5,
            status: if taken { 101 } else { 403 },
            kind: "text/plain",
            pieces,
            gap: usize::MAX,
            has_length: false,
            trailers: false,
            end,
            says: None,
            compressed: false,
        }
    }

    /// With what the way to the upstream and the path allow.
    pub(super) fn fitting(mut self, reached: Reached, path: &str) -> Self {
        let by_http2 = reached == Reached::ByHttp2;
        let patient = !matches!(path, "/short" | "/again" | "/idle" | "/held");
        self.trailers &= by_http2;
        self.end = match self.end {
            "cut" | "reset" | "reset_in_header" if by_http2 => "complete",
            "refused_stream" if !by_http2 => "complete",
            // Only limits of a second or less make a trace whose upstream says nothing worth waiting for.
            "never" if patient || path == "/again" => "complete",
            end => end,
        };
        if patient {
            self.after = self.after.min(40);
        }
        // A response of known length that is not held is watched in the begin alone.
        let watched = if path == "/held" { HELD } else { DEFAULT_MAX_BYTES };
        if self.pieces.iter().map(Piece::len).sum::<usize>() as u64 >= watched {
            self.has_length &= patient;
        }
        if matches!(path, "/idle" | "/held")
            && let Some(piece) = self.pieces.get_mut(self.gap)
        {
            *piece = piece.after(GAP);
        }
        self
    }

    /// Whether the upstream refuses the stream.
    pub(super) fn refuses(&self) -> bool {
        self.end == "refused_stream"
    }

    /// Whether the upstream leaves its response incomplete.
    pub(super) fn breaks_off(&self) -> bool {
        matches!(self.end, "cut" | "never")
    }

    /// The first piece waits so long.
    pub(super) fn begin_after(&mut self, pause: u64) {
        self.pieces[0] = self.pieces[0].after(pause);
    }

    /// More of a stream comes, the first piece of it after `pause`, the others far from each other.
    pub(super) fn go_on(&mut self, pause: u64, more: &[Piece], apart: u64) {
        let pauses = std::iter::once(pause).chain(std::iter::repeat(apart));
        self.pieces.extend(more.iter().zip(pauses).map(|(piece, pause)| piece.after(pause)));
    }

    /// How many milliseconds it takes at most, with a limit on each silence or without.
    pub(super) fn longest(&self, limited: bool) -> u64 {
        let most = if limited { LIMIT + TICK } else { u64::MAX };
        let silent = if self.end == "never" { LIMIT + TICK } else { 0 };
        self.after.min(most) + pauses(&self.pieces, most) + silent
    }

    /// Its fields in an event; `head` says that no body is asked for.
    pub(super) fn fields(&self, head: bool) -> Value {
        let after = format!("{}ms", self.after);
        if matches!(self.end, "reset" | "reset_in_header" | "refused_stream") {
            return json!({ "after": after, "end": self.end });
        }
        let mut headers = vec![json!(["content-type", self.kind])];
        if self.status == 101 {
            headers = UPGRADE.map(|header| json!(header)).into();
        }
        let bodiless = head || matches!(self.status, 204 | 304);
        if self.has_length && !bodiless && !self.pieces.is_empty() {
            let missing = usize::from(self.end != "complete");
            headers.push(json!(["content-length", length(&self.pieces, missing)]));
        }
        if self.compressed {
            headers.push(json!(["content-encoding", "gzip"]));
        }
        headers.extend(self.says.map(|says| json!(["x-accel-buffering", says])));
        let mut fields = json!({ "after": after, "status": self.status, "headers": headers });
        if !bodiless {
            fields["body"] = body(&self.pieces);
            // A response that is cut, or never ends, has begun.
            fields["end"] = json!(if self.end == "cut" { "reset" } else { self.end });
            if self.trailers {
                fields["trailers"] = json!([["x-checksum", "received"]]);
            }
        }
        fields
    }
}
