//! One exchange: the request, and the upstream's attempts.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::attempt::{self, Attempt, UPGRADE, UpstreamKind};
use super::chunk::{self, Chunk, STEADY_CHUNKS, STEADY_PAUSE, body, length, pauses};
use super::configuration::LONG_PAUSE;

/// The longest sum of the pauses between three attempts, in milliseconds.
const BACK_OFF: u64 = 75;

/// Milliseconds between the appended chunks of a stream. A proxy that reads two chunks at once
/// observes other boundaries.
const APART: u64 = 200;

/// The path of upgrades.
const CHAT: &str = "/chat";

/// The path of streams with timeouts of events.
const EVENTS: &str = "/events";

/// An exchange without time and connection.
#[derive(Debug, Clone)]
pub(super) struct GeneratedExchange {
    path: &'static str,
    method: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    upload: Vec<Chunk>,
    upload_has_length: bool,
    /// Whether the request has trailers.
    trailers: bool,
    /// The number of connections that are refused first; with more than two, all are refused.
    refusals: usize,
    overlap: Overlap,
    attempts: Vec<Attempt>,
}

/// Whether and how an exchange may last into the next phase.
#[derive(Debug, Clone)]
enum Overlap {
    No,
    /// The response is late.
    LateResponse,
    /// The response begins without a pause and continues with these chunks.
    Stream(Vec<Chunk>),
}

/// All kinds of exchanges.
pub(super) fn exchanges() -> impl Strategy<Value = GeneratedExchange> {
    prop_oneof![6 => ordinary(), 2 => streams(), 1 => tunnels(), 1 => waits()]
}

/// The side that sends while the other pauses longer than the timeout.
#[derive(Debug, Clone, Copy)]
enum Sender {
    None,
    Client,
    Upstream,
}

/// An upgrade that the upstream accepts or rejects.
fn tunnels() -> impl Strategy<Value = GeneratedExchange> {
    let senders = vec![Sender::None, Sender::Client, Sender::Upstream];
    let sender = prop::sample::select(senders);
    let end = prop::sample::select(vec!["complete", "never"]);
    let accepted = prop::bool::weighted(0.8);
    (sender, chunk::texts(), chunk::texts(), 0usize..3, end, accepted).prop_map(
        |(sender, mut upload, mut chunks, gap, end, accepted)| {
            let steadily = |chunks: &[Chunk]| vec![chunks[0].after(STEADY_PAUSE); STEADY_CHUNKS];
            let (sending, silent) = match sender {
                Sender::Client => (Some(&mut upload), &mut chunks),
                Sender::Upstream => (Some(&mut chunks), &mut upload),
                Sender::None => (None, &mut chunks),
            };
            if let Some(chunk) = silent.get_mut(gap) {
                *chunk = chunk.after(LONG_PAUSE);
            }
            if let Some(chunks) = sending {
                *chunks = steadily(chunks);
            }
            if !accepted {
                upload.clear();
            }
            GeneratedExchange {
                path: CHAT,
                method: "GET",
                headers: UPGRADE.into(),
                upload,
                upload_has_length: false,
                trailers: false,
                refusals: 0,
                overlap: Overlap::No,
                attempts: vec![Attempt::tunnel(
                    accepted,
                    chunks,
                    if accepted { end } else { "complete" },
                )],
            }
        },
    )
}

/// A stream of events or lines, which a drain may cut.
fn streams() -> impl Strategy<Value = GeneratedExchange> {
    let upstream =
        prop::sample::select(vec![UpstreamKind::Http1, UpstreamKind::Http1, UpstreamKind::Http2]);
    let path = prop::sample::select(vec!["/cut", "/cut", "/cut", "/off"]);
    (upstream, path, attempt::streams(), chunk::texts()).prop_map(
        |(upstream, path, stream, more)| GeneratedExchange {
            path,
            method: "GET",
            headers: Vec::new(),
            upload: Vec::new(),
            upload_has_length: false,
            trailers: false,
            refusals: 0,
            overlap: Overlap::Stream(more),
            attempts: vec![stream.adapted_to(upstream, path)],
        },
    )
}

/// A stream that may wait for longer than the timeouts of events, with or without bytes.
fn waits() -> impl Strategy<Value = GeneratedExchange> {
    let upstream = prop::sample::select(vec![UpstreamKind::Http1, UpstreamKind::Http2]);
    (upstream, attempt::waits()).prop_map(|(upstream, stream)| GeneratedExchange {
        path: EVENTS,
        method: "GET",
        headers: Vec::new(),
        upload: Vec::new(),
        upload_has_length: false,
        trailers: false,
        refusals: 0,
        overlap: Overlap::No,
        attempts: vec![stream.adapted_to(upstream, EVENTS)],
    })
}

fn ordinary() -> impl Strategy<Value = GeneratedExchange> {
    let upstream = prop_oneof![
        6 => Just(UpstreamKind::Http1),
        3 => Just(UpstreamKind::Http2),
        1 => (1usize..4).prop_map(UpstreamKind::Refusing),
    ];
    let paths =
        vec!["/", "/off", "/on", "/short", "/again", "/refused", "/idle", "/held", "/health"];
    let methods = vec!["GET", "GET", "POST", "PUT", "DELETE", "HEAD"];
    let upload = (chunk::chunks(), 1usize..12, any::<bool>(), any::<bool>());
    let request = (
        prop::sample::select(paths),
        prop::sample::select(methods),
        headers(),
        upload,
        prop::bool::weighted(0.3),
    );
    (upstream, request, prop::collection::vec(attempt::attempts(), 1..4)).prop_map(
        |(upstream, (path, method, headers, upload, may_overlap), attempts)| {
            let (mut upload, gap, upload_has_length, trailers) = upload;
            let attempts: Vec<_> =
                attempts.into_iter().map(|attempt| attempt.adapted_to(upstream, path)).collect();
            // With an upload, the load of the machine would decide whether the refusal or the end
            // of the upload is first.
            let refuses = matches!(upstream, UpstreamKind::Refusing(_))
                || attempts.iter().any(Attempt::refuses);
            let uploads = matches!(method, "POST" | "PUT") && !refuses;
            if has_idle_timeout(path)
                && let Some(chunk) = upload.get_mut(gap)
            {
                *chunk = chunk.after(LONG_PAUSE);
            }
            let has_timeout = matches!(path, "/short" | "/again") || has_idle_timeout(path);
            GeneratedExchange {
                path,
                method,
                // The health reply to gRPC would contain the time in a header.
                headers: if path == "/health" { Vec::new() } else { headers },
                trailers: trailers && uploads && upstream == UpstreamKind::Http2,
                upload_has_length: upload_has_length && !trailers,
                upload: if uploads { upload } else { Vec::new() },
                refusals: if let UpstreamKind::Refusing(times) = upstream { times } else { 0 },
                overlap: match may_overlap && !has_timeout && upstream == UpstreamKind::Http1 {
                    true => Overlap::LateResponse,
                    false => Overlap::No,
                },
                attempts,
            }
        },
    )
}

/// The headers that select an error page.
fn headers() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let accept = prop::sample::select(vec![
        "*/*",
        "text/html",
        "text/*;q=0.5, application/problem+json;q=0.2",
        "image/png",
    ]);
    let id = prop::sample::select(vec!["id-1", "a\"b"]);
    let grpc = prop::bool::weighted(0.15);
    (prop::option::of(accept), prop::option::of(id), grpc).prop_map(|(accept, id, grpc)| {
        let grpc = [("content-type", "application/grpc"), ("te", "trailers")]
            .into_iter()
            .filter(move |_| grpc);
        let accept = accept.map(|accept| ("accept", accept));
        accept.into_iter().chain(id.map(|id| ("x-request-id", id))).chain(grpc).collect()
    })
}

fn has_idle_timeout(path: &str) -> bool {
    matches!(path, "/idle" | "/held" | CHAT)
}

impl GeneratedExchange {
    /// Whether the exchange may last into the next phase. A drain in force would cut a stream.
    pub(super) fn lasts(&self, draining: bool) -> bool {
        match self.overlap {
            Overlap::No => false,
            Overlap::LateResponse => true,
            Overlap::Stream(_) => !draining,
        }
    }

    /// Delays the response, or the appended chunks of the stream, by this many milliseconds.
    pub(super) fn extend(&mut self, pause: u64) {
        match &self.overlap {
            Overlap::Stream(more) => self.attempts[0].append(pause, more, APART),
            Overlap::No | Overlap::LateResponse => self.attempts[0].after = pause,
        }
    }

    /// Delays the first chunk of a stream, so that a drain in force closes its connection before.
    pub(super) fn delay_first_chunk(&mut self, pause: u64) {
        if matches!(self.overlap, Overlap::Stream(_)) {
            self.attempts[0].delay_first_chunk(pause);
        }
    }

    /// The time in milliseconds until only the delayed part is missing.
    pub(super) fn first_part(&self) -> u64 {
        let response = match self.overlap {
            Overlap::Stream(_) => self.attempts[0].longest(false),
            Overlap::No | Overlap::LateResponse => 0,
        };
        self.upload_time() + response
    }

    /// The duration of the upload in milliseconds.
    fn upload_time(&self) -> u64 {
        pauses(&self.upload, u64::MAX)
    }

    /// Whether the request is an upgrade, which needs a connection of its own.
    pub(super) fn is_upgrade(&self) -> bool {
        self.path == CHAT
    }

    /// The longest duration in milliseconds.
    pub(super) fn longest(&self) -> u64 {
        if self.is_upgrade() {
            return self.upload_time() + self.attempts[0].longest(false);
        }
        let has_timeout = matches!(self.path, "/short" | "/again") || has_idle_timeout(self.path);
        let last = self.attempts.len() - 1;
        let attempts = (0..3).map(|index| self.attempts[index.min(last)].longest(has_timeout));
        let response: u64 = match self.path {
            "/again" | "/refused" => attempts.sum::<u64>() + BACK_OFF,
            _ => attempts.take(1).sum(),
        };
        self.upload_time() + response
    }

    /// Whether the response may be cut after it has begun.
    pub(super) fn may_be_cut(&self) -> bool {
        has_idle_timeout(self.path)
            || self.path == EVENTS
            || matches!(self.overlap, Overlap::Stream(_))
            || self.attempts.iter().any(Attempt::is_incomplete)
    }

    /// The fields of the exchange in a trace event, without time and connection.
    pub(super) fn fields(&self) -> Value {
        let mut headers: Vec<_> =
            self.headers.iter().map(|(name, value)| json!([name, value])).collect();
        let mut request = json!({ "method": self.method, "path": self.path });
        if !self.upload.is_empty() {
            request["body"] = body(&self.upload);
            if self.upload_has_length {
                headers.push(json!(["content-length", length(&self.upload, 0)]));
            }
        }
        if !headers.is_empty() {
            request["headers"] = json!(headers);
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
