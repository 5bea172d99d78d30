//! One exchange on its way through the proxy: what the client has sent, what the upstream has got, what
//! the client has received, and what is due next.
//!
//! Only state and small rules; the engine moves it.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::StreamId;
use crate::headers::HeaderMap;
use crate::trace::{Body, EndedBy, Exchange, Upstream};

use super::decisions::Decision;
use super::router::RoutePolicy;
use super::schedule::Entry;

/// An exchange under way.
pub(super) struct Live<'t> {
    /// The request, the upstream and the expectation, as the trace has them.
    pub(super) spec: &'t Exchange<'t>,
    /// The trace's line.
    pub(super) line: u32,
    /// When the client sent the request.
    pub(super) sent: Duration,
    /// The connection that carries it: an index into the engine's list of connections.
    pub(super) connection: usize,
    /// Where it stands among the connection's exchanges under way.
    pub(super) place: usize,
    /// The worker that serves it.
    pub(super) worker: usize,
    /// The filter's stream; `None` where no filter runs, or no longer.
    pub(super) stream: Option<StreamId>,
    /// Whether the filter's virtual machine broke under another exchange.
    pub(super) orphaned: bool,
    /// The entry in the schedule that counts.
    pub(super) entry: Entry,
    /// When it is due.
    pub(super) scheduled: Option<Duration>,

    /// How much of its body the client has sent.
    pub(super) upload: Cursor,
    /// When the client sends the next chunk.
    pub(super) upload_at: Option<Duration>,
    /// Whether the client asks to leave HTTP, so that nothing it sends is the end of its request.
    pub(super) upgrade: bool,
    /// Whether trailers pass between this client and the proxy.
    pub(super) keeps_trailers: bool,

    /// What the filter let pass to the upstream.
    pub(super) forwarded: Forwarded,
    /// How the request is routed.
    pub(super) policy: RoutePolicy,
    /// Tries begun.
    pub(super) tries: u32,
    /// What the current try waits for.
    pub(super) attempt: Attempt,
    /// When the current try does its next step.
    pub(super) attempt_at: Option<Duration>,
    /// How much of the response's body the upstream has sent.
    pub(super) download: Cursor,
    /// When the whole request is out of time.
    pub(super) deadline: Option<Duration>,
    /// When the current try is out of time.
    pub(super) try_deadline: Option<Duration>,

    /// From whom response headers were handed to the filter, and in the end, who ended the exchange.
    pub(super) answered_by: Option<EndedBy>,
    /// What the client has received.
    pub(super) client: Received,
    /// Whether the proxy closes the connection with this exchange.
    pub(super) closes: bool,
    /// What the filter reported about its decisions, each one JSON object.
    pub(super) decisions: Vec<Arc<str>>,
    /// The route that the last decision named.
    pub(super) route: Option<Arc<str>>,
    /// The reason that the last decision named.
    pub(super) reason: Option<Arc<str>>,
}

/// Where a try stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The request's headers have not left the filter.
    Idle,
    /// The pause before the next try.
    BackOff,
    /// The upstream is reading the request.
    Reading,
    /// The response's headers are next.
    Headers,
    /// The next chunk, the trailers or the end is next.
    Body,
    /// The upstream is done, for better or worse.
    Over,
}

/// A position in a body.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    chunk: usize,
    repetition: u32,
    offset: u64,
}

impl Cursor {
    /// The pause before the next chunk, or `None` at the end.
    pub(super) fn pause(&self, body: &Body<'_>) -> Option<Duration> {
        body.get(self.chunk).map(|chunk| chunk.after)
    }

    /// Writes the next chunk to `out`, which is cleared first, and moves on.
    pub(super) fn advance(&mut self, body: &Body<'_>, out: &mut Vec<u8>) {
        out.clear();
        let Some(chunk) = body.get(self.chunk) else { return };
        chunk.content.write_to(self.offset, out);
        self.offset += out.len() as u64;
        self.repetition += 1;
        if self.repetition == chunk.times {
            self.chunk += 1;
            self.repetition = 0;
        }
    }
}

/// What reached the upstream.
#[derive(Default)]
pub(super) struct Forwarded {
    /// The headers, without what the router keeps to itself.
    pub(super) headers: Option<HeaderMap>,
    /// When they left the filter.
    pub(super) at: Duration,
    /// The body.
    pub(super) body: Tally,
    /// Whether the request is complete, or as much of it as an upstream waits for before it answers.
    pub(super) complete: bool,
}

/// What reached the client.
#[derive(Default)]
pub(super) struct Received {
    /// The status.
    pub(super) status: Option<u16>,
    /// The headers.
    pub(super) headers: HeaderMap,
    /// When the headers came.
    pub(super) headers_at: Duration,
    /// When the body's first byte came.
    pub(super) body_at: Option<Duration>,
    /// The body.
    pub(super) body: Tally,
    /// The trailers.
    pub(super) trailers: HeaderMap,
}

/// A body's length, and its hash where somebody asks for it.
#[derive(Default)]
pub(super) struct Tally {
    /// Bytes so far.
    pub(super) bytes: u64,
    hash: Option<Box<Sha256>>,
}

impl Tally {
    /// A tally that hashes if `hashed`.
    pub(super) fn new(hashed: bool) -> Self {
        Self { bytes: 0, hash: hashed.then(|| Box::new(Sha256::new())) }
    }

    /// Counts `bytes`.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
    }

    /// The SHA-256 so far in hexadecimal, where it was asked for.
    pub(super) fn sha256(&self) -> Option<String> {
        use std::fmt::Write;
        let digest = self.hash.as_ref()?.clone().finalize();
        Some(digest.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }
}

impl<'t> Live<'t> {
    /// An exchange that begins now.
    pub(super) fn new(
        line: u32,
        spec: &'t Exchange<'t>,
        connection: usize,
        now: Duration,
        worker: usize,
        hash_bodies: bool,
    ) -> Self {
        let expect = spec.expect.as_ref();
        let upstream = expect.and_then(|expect| expect.upstream.as_ref());
        let hash_request = upstream.is_some_and(|upstream| upstream.body_sha256.is_some());
        let hash_response = hash_bodies || expect.is_some_and(|e| e.body_sha256.is_some());
        Self {
            spec,
            line,
            sent: now,
            connection,
            place: 0,
            worker,
            stream: None,
            orphaned: false,
            entry: Entry::default(),
            scheduled: None,
            upload: Cursor::default(),
            upload_at: None,
            upgrade: false,
            keeps_trailers: true,
            forwarded: Forwarded { body: Tally::new(hash_request), ..Forwarded::default() },
            policy: RoutePolicy::default(),
            tries: 0,
            attempt: Attempt::Idle,
            attempt_at: None,
            download: Cursor::default(),
            deadline: None,
            try_deadline: None,
            answered_by: None,
            client: Received { body: Tally::new(hash_response), ..Received::default() },
            closes: false,
            decisions: Vec::new(),
            route: None,
            reason: None,
        }
    }

    /// What the upstream does in the current try.
    pub(super) fn script(&self) -> &'t Upstream<'t> {
        let attempts = &self.spec.upstream;
        let index = (self.tries.max(1) as usize - 1).min(attempts.len() - 1);
        &attempts[index]
    }

    /// Whether the response has no body whatever its headers say.
    pub(super) fn is_head(&self) -> bool {
        self.spec.request.method.as_deref() == Some("HEAD")
    }

    /// Whether the answer that is there came in the middle of a message. A request to leave HTTP that was not granted has no end.
    pub(super) fn interrupted(&self) -> bool {
        match self.upgrade {
            true => !self.left_http(),
            false => self.upload_at.is_some(),
        }
    }

    /// Whether both sides say what they like from now on.
    pub(super) fn left_http(&self) -> bool {
        self.upgrade && self.client.status == Some(101)
    }

    /// When the next thing happens to this exchange by itself.
    pub(super) fn due(&self) -> Option<Duration> {
        [self.upload_at, self.attempt_at, self.deadline, self.try_deadline]
            .into_iter()
            .flatten()
            .min()
    }

    /// Keeps what the filter reports.
    pub(super) fn decided(&mut self, decision: Decision) {
        self.decisions.push(decision.text);
        self.route = decision.route.or(self.route.take());
        self.reason = decision.reason.or(self.reason.take());
    }

    /// Forgets the upstream: it failed, timed out, or its answer is no longer wanted.
    pub(super) fn abandon_attempt(&mut self) {
        self.attempt = Attempt::Over;
        self.attempt_at = None;
        self.try_deadline = None;
    }
}
