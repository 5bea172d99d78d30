//! One exchange: what its client sends, and what its upstream does with each try.

use proptest::prelude::*;
use serde_json::{Value, json};

/// The limit of a try, and of the whole request where there is one, in milliseconds.
const LIMIT: u64 = 400;

/// The pauses between three tries, at most.
const BACK_OFF: u64 = 75;

/// An exchange without its place in a trace.
#[derive(Debug, Clone)]
pub(super) struct Generated {
    path: &'static str,
    method: &'static str,
    upload: Vec<(u8, u32)>,
    upload_has_length: bool,
    /// Trailers behind the request.
    trailers: bool,
    /// Connections that are refused first; more than two are all.
    refusals: usize,
    /// Whether it may last beyond its phase.
    lasting: bool,
    attempts: Vec<Attempt>,
}

/// What the upstream does with one try.
#[derive(Debug, Clone)]
struct Attempt {
    after: u64,
    status: u16,
    kind: &'static str,
    chunks: Vec<(u8, u32)>,
    has_length: bool,
    trailers: bool,
    end: &'static str,
    says: Option<&'static str>,
}

/// What an upstream can do depends on how it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Plainly,
    /// HTTP/2 carries trailers and refuses streams.
    ByHttp2,
    /// So many connections are refused.
    AtLast(usize),
}

/// All kinds of exchanges.
pub(super) fn exchanges() -> impl Strategy<Value = Generated> {
    let reached = prop_oneof![
        6 => Just(Reached::Plainly),
        3 => Just(Reached::ByHttp2),
        1 => (1usize..4).prop_map(Reached::AtLast),
    ];
    let paths = vec!["/", "/off", "/on", "/short", "/again", "/refused", "/health"];
    let methods = vec!["GET", "GET", "POST", "PUT", "DELETE", "HEAD"];
    let request = (
        prop::sample::select(paths),
        prop::sample::select(methods),
        chunks(),
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.3),
    );
    (reached, request, prop::collection::vec(attempt(), 1..4)).prop_map(
        |(reached, (path, method, upload, upload_has_length, trailers, lasting), attempts)| {
            let uploads = matches!(method, "POST" | "PUT");
            let limited = matches!(path, "/short" | "/again");
            let attempts: Vec<_> =
                attempts.into_iter().map(|attempt| attempt.fitting(reached, path)).collect();
            // Whether a refusal or the rest of an upload is first is decided by the machine.
            let refuses = matches!(reached, Reached::AtLast(_))
                || attempts.iter().any(|attempt| attempt.end == "refused_stream");
            let uploads = uploads && !refuses;
            Generated {
                path,
                method,
                trailers: trailers && uploads && reached == Reached::ByHttp2,
                upload_has_length: upload_has_length && !trailers,
                upload: if uploads { upload } else { Vec::new() },
                refusals: if let Reached::AtLast(times) = reached { times } else { 0 },
                lasting: lasting && !limited && reached == Reached::Plainly,
                attempts,
            }
        },
    )
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let after = prop::sample::select(vec![0, 0, 5, 40, 1000]);
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
    let body = (chunks(), any::<bool>(), any::<bool>());
    (after, status, prop::sample::select(kinds), body, prop::sample::select(ends), says).prop_map(
        |(after, status, kind, (chunks, has_length, trailers), end, says)| {
            let bodiless = matches!(status, 204 | 304);
            Attempt {
                after,
                status,
                kind,
                chunks: if bodiless { Vec::new() } else { chunks },
                has_length,
                trailers: trailers && !bodiless,
                end: if bodiless { "complete" } else { end },
                says,
            }
        },
    )
}

/// Chunks with a pause in milliseconds before each.
fn chunks() -> impl Strategy<Value = Vec<(u8, u32)>> {
    let size = prop_oneof![1u32..100, Just(16_384u32), 30_000u32..70_000, Just(300_000u32)];
    prop::collection::vec((prop::sample::select(vec![0u8, 0, 1, 20]), size), 0..5)
}

impl Generated {
    /// Whether it may be answered as late as one likes.
    pub(super) fn lasts(&self) -> bool {
        self.lasting
    }

    /// Makes its answer wait this long, in milliseconds.
    pub(super) fn answer_after(&mut self, pause: u64) {
        self.attempts[0].after = pause;
    }

    /// How many milliseconds its client takes to send it.
    pub(super) fn sends(&self) -> u64 {
        pauses(&self.upload)
    }

    /// How many milliseconds it takes at most.
    pub(super) fn longest(&self) -> u64 {
        let limited = matches!(self.path, "/short" | "/again");
        let tries = (0..3).map(|index| {
            let attempt = &self.attempts[index.min(self.attempts.len() - 1)];
            let after = if limited { attempt.after.min(LIMIT) } else { attempt.after };
            let silent = if attempt.end == "never" { LIMIT } else { 0 };
            after.max(silent) + pauses(&attempt.chunks)
        });
        let answered: u64 = match self.path {
            "/again" | "/refused" => tries.sum::<u64>() + BACK_OFF,
            _ => tries.take(1).sum(),
        };
        self.sends() + answered
    }

    /// Its fields in an event, without its place.
    pub(super) fn fields(&self) -> Value {
        let mut request = json!({ "method": self.method, "path": self.path });
        if !self.upload.is_empty() {
            request["body"] = body(&self.upload);
            if self.upload_has_length {
                request["headers"] = json!([["content-length", length(&self.upload, 0)]]);
            }
        }
        if self.trailers {
            request["trailers"] = json!([["x-checksum", "sent"]]);
        }
        let refused = (0..self.refusals).map(|_| json!({ "end": "refused" }));
        let taken = self.attempts.iter().map(|attempt| attempt.fields(self.method == "HEAD"));
        let attempts: Vec<Value> = match self.refusals {
            0..3 => refused.chain(taken).collect(),
            _ => refused.collect(),
        };
        json!({ "request": request, "upstream": attempts })
    }
}

impl Attempt {
    /// With what the way to the upstream and the path allow.
    fn fitting(mut self, reached: Reached, path: &str) -> Self {
        let by_http2 = reached == Reached::ByHttp2;
        self.trailers &= by_http2;
        self.end = match self.end {
            "cut" | "reset" | "reset_in_header" if by_http2 => "complete",
            "refused_stream" if !by_http2 => "complete",
            // Only limits of a second or less make a trace whose upstream says nothing worth waiting for.
            "never" if path != "/short" => "complete",
            end => end,
        };
        if !matches!(path, "/short" | "/again") {
            self.after = self.after.min(40);
        }
        self
    }

    fn fields(&self, head: bool) -> Value {
        let after = format!("{}ms", self.after);
        if matches!(self.end, "reset" | "reset_in_header" | "refused_stream") {
            return json!({ "after": after, "end": self.end });
        }
        let mut headers = vec![json!(["content-type", self.kind])];
        let bodiless = head || matches!(self.status, 204 | 304);
        if self.has_length && !bodiless && !self.chunks.is_empty() {
            let missing = u32::from(self.end != "complete");
            headers.push(json!(["content-length", length(&self.chunks, missing)]));
        }
        headers.extend(self.says.map(|says| json!(["x-accel-buffering", says])));
        let mut fields = json!({ "after": after, "status": self.status, "headers": headers });
        if !bodiless {
            fields["body"] = body(&self.chunks);
            // A response that is cut, or never ends, has begun.
            fields["end"] = json!(if self.end == "cut" { "reset" } else { self.end });
            if self.trailers {
                fields["trailers"] = json!([["x-checksum", "received"]]);
            }
        }
        fields
    }
}

fn pauses(chunks: &[(u8, u32)]) -> u64 {
    chunks.iter().map(|(pause, _)| u64::from(*pause)).sum()
}

fn body(chunks: &[(u8, u32)]) -> Value {
    let chunk = |(pause, size): &(u8, u32)| json!({ "after": format!("{pause}ms"), "bytes": size });
    chunks.iter().map(chunk).collect()
}

fn length(chunks: &[(u8, u32)], missing: u32) -> String {
    (chunks.iter().map(|(_, size)| size).sum::<u32>() + missing).to_string()
}
