//! One exchange: what its client sends, and what its upstream does with each try.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::attempt::{self, Attempt, Reached, UPGRADE};
use super::configuration::GAP;
use super::piece::{self, Piece, body, length, pauses};

/// The pauses between three tries, at most.
const BACK_OFF: u64 = 75;

/// Milliseconds between the late pieces of a stream: a proxy that reads two of them at once sees other boundaries.
const APART: u64 = 200;

/// The path of connections that leave HTTP.
const CHAT: &str = "/chat";

/// Milliseconds between the words of the side that speaks, and how many there are: more than the other side's silence.
const BEAT: u64 = 100;
const BEATS: usize = 14;

/// An exchange without its place in a trace.
#[derive(Debug, Clone)]
pub(super) struct Generated {
    path: &'static str,
    method: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    upload: Vec<Piece>,
    upload_has_length: bool,
    /// Trailers behind the request.
    trailers: bool,
    /// Connections that are refused first; more than two are all.
    refusals: usize,
    lasting: Lasting,
    attempts: Vec<Attempt>,
}

/// Whether and how an exchange may last beyond its phase.
#[derive(Debug, Clone)]
enum Lasting {
    No,
    /// Its answer comes late.
    Answer,
    /// It is answered at once, and then goes on with these.
    Stream(Vec<Piece>),
}

/// All kinds of exchanges.
pub(super) fn exchanges() -> impl Strategy<Value = Generated> {
    prop_oneof![6 => ordinary(), 2 => streams(), 1 => tunnels()]
}

/// Who speaks while the other side is silent for longer than the limit.
#[derive(Debug, Clone, Copy)]
enum Speaks {
    Nobody,
    Client,
    Upstream,
}

/// A connection that leaves HTTP, or is not let go.
fn tunnels() -> impl Strategy<Value = Generated> {
    let speaks = vec![Speaks::Nobody, Speaks::Client, Speaks::Upstream];
    let speaks = prop::sample::select(speaks);
    let end = prop::sample::select(vec!["complete", "never"]);
    let taken = prop::bool::weighted(0.8);
    (speaks, piece::texts(), piece::texts(), 0usize..3, end, taken).prop_map(
        |(speaks, mut upload, mut pieces, gap, end, taken)| {
            let steadily = |pieces: &[Piece]| vec![pieces[0].after(BEAT); BEATS];
            let (speaking, silent) = match speaks {
                Speaks::Client => (Some(&mut upload), &mut pieces),
                Speaks::Upstream => (Some(&mut pieces), &mut upload),
                Speaks::Nobody => (None, &mut pieces),
            };
            if let Some(piece) = silent.get_mut(gap) {
                *piece = piece.after(GAP);
            }
            if let Some(pieces) = speaking {
                *pieces = steadily(pieces);
            }
            if !taken {
                upload.clear();
            }
            Generated {
                path: CHAT,
                method: "GET",
                headers: UPGRADE.into(),
                upload,
                upload_has_length: false,
                trailers: false,
                refusals: 0,
                lasting: Lasting::No,
                attempts: vec![Attempt::tunnel(
                    taken,
                    pieces,
                    if taken { end } else { "complete" },
                )],
            }
        },
    )
}

/// A stream of events or lines, which a drain may cut.
fn streams() -> impl Strategy<Value = Generated> {
    let reached = prop::sample::select(vec![Reached::Plainly, Reached::Plainly, Reached::ByHttp2]);
    let path = prop::sample::select(vec!["/cut", "/cut", "/cut", "/off"]);
    (reached, path, attempt::streams(), piece::texts()).prop_map(|(reached, path, stream, more)| {
        Generated {
            path,
            method: "GET",
            headers: Vec::new(),
            upload: Vec::new(),
            upload_has_length: false,
            trailers: false,
            refusals: 0,
            lasting: Lasting::Stream(more),
            attempts: vec![stream.fitting(reached, path)],
        }
    })
}

fn ordinary() -> impl Strategy<Value = Generated> {
    let reached = prop_oneof![
        6 => Just(Reached::Plainly),
        3 => Just(Reached::ByHttp2),
        1 => (1usize..4).prop_map(Reached::AtLast),
    ];
    let paths =
        vec!["/", "/off", "/on", "/short", "/again", "/refused", "/idle", "/held", "/health"];
    let methods = vec!["GET", "GET", "POST", "PUT", "DELETE", "HEAD"];
    let upload = (piece::pieces(), 1usize..12, any::<bool>(), any::<bool>());
    let request = (
        prop::sample::select(paths),
        prop::sample::select(methods),
        headers(),
        upload,
        prop::bool::weighted(0.3),
    );
    (reached, request, prop::collection::vec(attempt::attempts(), 1..4)).prop_map(
        |(reached, (path, method, headers, upload, lasting), attempts)| {
            let (mut upload, gap, upload_has_length, trailers) = upload;
            let attempts: Vec<_> =
                attempts.into_iter().map(|attempt| attempt.fitting(reached, path)).collect();
            // Whether a refusal or the rest of an upload is first is decided by the machine.
            let refuses =
                matches!(reached, Reached::AtLast(_)) || attempts.iter().any(Attempt::refuses);
            let uploads = matches!(method, "POST" | "PUT") && !refuses;
            if is_idle_limited(path)
                && let Some(piece) = upload.get_mut(gap)
            {
                *piece = piece.after(GAP);
            }
            let limited = matches!(path, "/short" | "/again") || is_idle_limited(path);
            Generated {
                path,
                method,
                // The health answer of gRPC would tell the time in a header.
                headers: if path == "/health" { Vec::new() } else { headers },
                trailers: trailers && uploads && reached == Reached::ByHttp2,
                upload_has_length: upload_has_length && !trailers,
                upload: if uploads { upload } else { Vec::new() },
                refusals: if let Reached::AtLast(times) = reached { times } else { 0 },
                lasting: match lasting && !limited && reached == Reached::Plainly {
                    true => Lasting::Answer,
                    false => Lasting::No,
                },
                attempts,
            }
        },
    )
}

/// What an error page may depend on.
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

fn is_idle_limited(path: &str) -> bool {
    matches!(path, "/idle" | "/held" | CHAT)
}

impl Generated {
    /// Whether it may last into the next phase; `draining` says that a drain may cut it at once.
    pub(super) fn lasts(&self, draining: bool) -> bool {
        match self.lasting {
            Lasting::No => false,
            Lasting::Answer => true,
            Lasting::Stream(_) => !draining,
        }
    }

    /// Makes its answer, or the rest of its stream, wait this long, in milliseconds, from its first piece on.
    pub(super) fn last(&mut self, pause: u64) {
        match &self.lasting {
            Lasting::Stream(more) => self.attempts[0].go_on(pause, more, APART),
            Lasting::No | Lasting::Answer => self.attempts[0].after = pause,
        }
    }

    /// Makes a stream, whose connection a drain closes when it can, wait this long before it says anything.
    pub(super) fn hesitate(&mut self, pause: u64) {
        if matches!(self.lasting, Lasting::Stream(_)) {
            self.attempts[0].begin_after(pause);
        }
    }

    /// How many milliseconds pass until only what was put off is missing.
    pub(super) fn begins(&self) -> u64 {
        let answers = match self.lasting {
            Lasting::Stream(_) => self.attempts[0].longest(false),
            Lasting::No | Lasting::Answer => 0,
        };
        self.sends() + answers
    }

    /// How many milliseconds its client takes to send it.
    fn sends(&self) -> u64 {
        pauses(&self.upload, u64::MAX)
    }

    /// Whether it asks to leave HTTP, which takes a connection for itself.
    pub(super) fn leaves_http(&self) -> bool {
        self.path == CHAT
    }

    /// How many milliseconds it takes at most.
    pub(super) fn longest(&self) -> u64 {
        if self.leaves_http() {
            return self.sends() + self.attempts[0].longest(false);
        }
        let limited = matches!(self.path, "/short" | "/again") || is_idle_limited(self.path);
        let last = self.attempts.len() - 1;
        let tries = (0..3).map(|index| self.attempts[index.min(last)].longest(limited));
        let answered: u64 = match self.path {
            "/again" | "/refused" => tries.sum::<u64>() + BACK_OFF,
            _ => tries.take(1).sum(),
        };
        self.sends() + answered
    }

    /// Whether its response may be cut after it has begun.
    pub(super) fn may_be_cut(&self) -> bool {
        is_idle_limited(self.path)
            || matches!(self.lasting, Lasting::Stream(_))
            || self.attempts.iter().any(Attempt::breaks_off)
    }

    /// Its fields in an event, without its place.
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
