//! The state of one exchange: what the client, the filter and the upstream have sent and received,
//! and what is due next. The engine changes it.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::StreamId;
use crate::headers::HeaderMap;
use crate::local_reply::RequestKind;
use crate::trace::{
    AttemptEnd, Body, EndedBy, Exchange, Outcome, OwnedExchange, Request, UpstreamAttempt,
};

use super::decisions::Decision;
use super::framing::Length;
use super::report::{ExchangeReport, UpstreamReport};
use super::router::RoutePolicy;
use super::schedule::Entry;

/// The number of decisions that are kept of an exchange.
const MAX_DECISIONS: usize = 64;

/// An exchange of the trace. Clones share it.
#[derive(Clone)]
pub(super) struct Spec {
    /// The line of the trace.
    pub(super) line: u32,
    /// The number of the exchange in the trace, counted from 0.
    pub(super) number: u64,
    exchange: Rc<OwnedExchange>,
}

impl Spec {
    pub(super) fn new(line: u32, number: u64, exchange: OwnedExchange) -> Self {
        Self { line, number, exchange: Rc::new(exchange) }
    }

    /// The request, the upstream's behavior and the expectations.
    pub(super) fn get(&self) -> &Exchange<'_> {
        self.exchange.get()
    }

    pub(super) fn request(&self) -> &Request<'_> {
        &self.get().request
    }

    /// The behavior of the upstream in this attempt, counted from 1.
    pub(super) fn script(&self, attempt: u32) -> &UpstreamAttempt<'_> {
        let attempts = &self.get().upstream;
        let index = (attempt.max(1) as usize - 1).min(attempts.len() - 1);
        &attempts[index]
    }
}

/// An exchange that has started and not ended.
pub(super) struct ActiveExchange {
    pub(super) spec: Spec,
    /// When the client sent the request.
    pub(super) sent: Duration,
    /// The slot of the connection.
    pub(super) connection: usize,
    /// The index in the connection's list of active exchanges.
    pub(super) position: usize,
    pub(super) worker: usize,
    /// The filter's stream; `None` if the proxy has no filter, or after a crash.
    pub(super) stream: Option<StreamId>,
    /// Whether the VM of the filter crashed in another exchange.
    pub(super) vm_crashed: bool,
    /// The message of the crash in a callback of this exchange, or of its plugin.
    pub(super) trap: Option<String>,
    /// The valid entry in the schedule.
    pub(super) entry: Entry,
    /// When that entry is due.
    pub(super) scheduled: Option<Duration>,

    /// The part of the request body that the client has sent.
    pub(super) upload: Cursor,
    /// The length that the client announced.
    pub(super) upload_length: Length,
    /// When the client sends its next chunk or its trailers.
    pub(super) upload_at: Option<Duration>,
    /// Whether the connection carries several exchanges at a time.
    pub(super) multiplexes: bool,
    /// Whether the end of a message is separate from its last chunk.
    pub(super) separate_end: bool,
    /// Whether the client requests an HTTP/1.1 upgrade, so that its request has no end.
    pub(super) upgrade: bool,
    /// Whether the proxy forwards trailers from and to this client.
    pub(super) keeps_trailers: bool,
    pub(super) request_kind: RequestKind,

    /// The request as it left the filter.
    pub(super) forwarded: ForwardedRequest,
    pub(super) policy: RoutePolicy,
    /// The number of attempts so far.
    pub(super) attempts: u32,
    /// The next step of the current attempt.
    pub(super) step: AttemptStep,
    /// When that step is due.
    pub(super) step_at: Option<Duration>,
    /// The part of the response body that the upstream has sent.
    pub(super) download: Cursor,
    /// The length that the upstream announced.
    pub(super) download_length: Length,
    /// When the request times out.
    pub(super) deadline: Option<Duration>,
    /// When the current attempt times out.
    pub(super) attempt_deadline: Option<Duration>,
    /// The time without a byte after which the stream ends.
    pub(super) idle_timeout: Option<Duration>,
    /// When that time is over.
    pub(super) idle_deadline: Option<Duration>,
    /// When the client must have sent the whole request.
    pub(super) request_deadline: Option<Duration>,
    /// When the stream must have ended.
    pub(super) stream_deadline: Option<Duration>,

    /// The origin of the response headers that the filter received. After the end of the exchange,
    /// the peer that ended it.
    pub(super) ended_by: Option<EndedBy>,
    /// The response as the client received it.
    pub(super) client: ReceivedResponse,
    /// Whether the client asked to close the connection after the response.
    pub(super) closes_connection: bool,
    /// Whether the response announces the close of the connection.
    pub(super) announces_close: bool,
    /// The JSON objects that the filter reported.
    pub(super) decisions: Vec<Arc<str>>,
    /// The last route among the decisions.
    pub(super) route: Option<Arc<str>>,
    /// The last reason among the decisions.
    pub(super) reason: Option<Arc<str>>,
}

/// The next step of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptStep {
    /// No attempt has started, because the filter has not forwarded the request headers.
    Idle,
    /// The pause before a retry ends.
    BackOff,
    /// The upstream receives the rest of the request.
    Request,
    /// The upstream sends the response headers.
    ResponseHeaders,
    /// The upstream sends a chunk or the trailers, or ends the response.
    ResponseBody,
    /// The attempt has ended.
    Ended,
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

    /// The position after the last chunk.
    pub(super) fn at_end(body: &Body<'_>) -> Self {
        Self { chunk: body.len(), ..Self::default() }
    }

    /// Replaces the contents of `out` with the next chunk, and advances.
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

/// A request as it left the filter.
#[derive(Default)]
pub(super) struct ForwardedRequest {
    /// Without the headers that the router removes.
    pub(super) headers: Option<HeaderMap>,
    /// When the headers left the filter.
    pub(super) at: Duration,
    pub(super) body: BodySummary,
    /// The length that the upstream expects.
    pub(super) length: Length,
    /// When the request ended.
    pub(super) completed_at: Duration,
    /// Whether the request has ended. An upgrade counts as ended: the upstream responds to it at
    /// once.
    pub(super) complete: bool,
}

impl ForwardedRequest {
    /// Whether the upstream has received the whole request.
    pub(super) fn is_whole(&self) -> bool {
        self.length.is_full() || (self.complete && !self.length.is_short())
    }
}

/// A response as the client received it.
#[derive(Default)]
pub(super) struct ReceivedResponse {
    pub(super) status: Option<u16>,
    pub(super) headers: HeaderMap,
    /// When the headers arrived.
    pub(super) headers_at: Duration,
    /// When the first byte of the body arrived.
    pub(super) body_at: Option<Duration>,
    pub(super) body: BodySummary,
    /// The length that the client expects.
    pub(super) length: Length,
    /// When the last byte of that length arrived.
    pub(super) whole_at: Option<Duration>,
    /// Whether more bytes followed, so that the client cannot use the connection.
    pub(super) excess: bool,
    pub(super) trailers: HeaderMap,
}

/// The length of a body, and optionally its hash.
#[derive(Default)]
pub(super) struct BodySummary {
    pub(super) bytes: u64,
    hash: Option<Box<Sha256>>,
}

impl BodySummary {
    pub(super) fn new(hashed: bool) -> Self {
        Self { bytes: 0, hash: hashed.then(|| Box::new(Sha256::new())) }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
    }

    /// The SHA-256 in hexadecimal, if the body is hashed.
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

impl ActiveExchange {
    /// An exchange that starts at `now`.
    pub(super) fn new(
        spec: Spec,
        connection: usize,
        now: Duration,
        worker: usize,
        hash_bodies: bool,
    ) -> Self {
        let expect = spec.get().expect.as_ref();
        let upstream = expect.and_then(|expect| expect.upstream.as_ref());
        let hash_request =
            hash_bodies || upstream.is_some_and(|upstream| upstream.body_sha256.is_some());
        let hash_response = hash_bodies || expect.is_some_and(|e| e.body_sha256.is_some());
        Self {
            spec,
            sent: now,
            connection,
            position: 0,
            worker,
            stream: None,
            vm_crashed: false,
            trap: None,
            entry: Entry::default(),
            scheduled: None,
            upload: Cursor::default(),
            upload_length: Length::default(),
            upload_at: None,
            multiplexes: false,
            separate_end: false,
            upgrade: false,
            keeps_trailers: true,
            request_kind: RequestKind::default(),
            forwarded: ForwardedRequest {
                body: BodySummary::new(hash_request),
                ..ForwardedRequest::default()
            },
            policy: RoutePolicy::default(),
            attempts: 0,
            step: AttemptStep::Idle,
            step_at: None,
            download: Cursor::default(),
            download_length: Length::default(),
            deadline: None,
            attempt_deadline: None,
            idle_timeout: None,
            idle_deadline: None,
            request_deadline: None,
            stream_deadline: None,
            closes_connection: false,
            ended_by: None,
            client: ReceivedResponse {
                body: BodySummary::new(hash_response),
                ..ReceivedResponse::default()
            },
            announces_close: false,
            decisions: Vec::new(),
            route: None,
            reason: None,
        }
    }

    /// Whether the trace gives the exchange no end: its upstream never completes a response, or the
    /// client requests an upgrade.
    pub(super) fn is_endless(&self) -> bool {
        self.upgrade
            || self.spec.get().upstream.iter().any(|attempt| attempt.end == AttemptEnd::Never)
    }

    /// Whether the method is HEAD, so that the response has no body.
    pub(super) fn is_head(&self) -> bool {
        self.spec.request().method.as_deref() == Some("HEAD")
    }

    /// Whether the client's request has not ended. The request of a rejected upgrade never ends.
    pub(super) fn is_request_incomplete(&self) -> bool {
        match self.upgrade {
            true => !self.is_upgraded(),
            false => self.upload_at.is_some() || self.upload_length.is_short(),
        }
    }

    /// Whether the upstream accepted the upgrade, so that both sides send bytes at any time.
    pub(super) fn is_upgraded(&self) -> bool {
        self.upgrade && self.client.status == Some(101)
    }

    /// When the next step of the exchange is due.
    pub(super) fn due(&self) -> Option<Duration> {
        let due = [
            self.upload_at,
            self.step_at,
            self.deadline,
            self.attempt_deadline,
            self.idle_deadline,
            self.request_deadline,
            self.stream_deadline,
        ];
        due.into_iter().flatten().min()
    }

    /// When the client sends its next chunk or its trailers.
    pub(super) fn next_upload(&self, now: Duration) -> Option<Duration> {
        let request = self.spec.request();
        match self.upload.pause(&request.body) {
            Some(pause) => Some(now + pause),
            None if self.upload_length.is_short() && !self.separate_end => Some(now),
            None => (self.separate_end || !request.trailers.is_empty()).then_some(now),
        }
    }

    /// When the upstream sends its next chunk or its trailers, or ends the response.
    pub(super) fn next_download(&self, now: Duration) -> Option<Duration> {
        let script = self.spec.script(self.attempts);
        match (self.download.pause(&script.body), script.end) {
            (Some(pause), _) => Some(now + pause),
            (None, AttemptEnd::Never) => None,
            (None, _) => Some(now),
        }
    }

    /// Adds a decision. Of very many decisions, it keeps the first ones and the last one.
    pub(super) fn add_decision(&mut self, decision: Decision) {
        if self.decisions.len() == MAX_DECISIONS {
            self.decisions.pop();
        }
        // Most exchanges have one.
        if self.decisions.is_empty() {
            self.decisions.reserve_exact(1);
        }
        self.decisions.push(decision.text);
        self.route = decision.route.or(self.route.take());
        self.reason = decision.reason.or(self.reason.take());
    }

    /// Stops all timeouts of the proxy.
    pub(super) fn stop_timeouts(&mut self) {
        (self.deadline, self.attempt_deadline, self.idle_deadline) = (None, None, None);
        (self.idle_timeout, self.request_deadline, self.stream_deadline) = (None, None, None);
    }

    /// Ends the attempt without its response: it failed, timed out, or was replaced by a local
    /// reply.
    pub(super) fn abandon_attempt(&mut self) {
        self.step = AttemptStep::Ended;
        self.step_at = None;
        self.attempt_deadline = None;
    }

    /// Moves the data of an exchange that ends at `now` into a report without expectations and
    /// without the headers that the upstream received.
    /// `spec` is that of the exchange.
    pub(super) fn report<'s>(
        &mut self,
        spec: &'s Spec,
        outcome: Outcome,
        now: Duration,
        opening: u32,
    ) -> ExchangeReport<'s> {
        let client = &mut self.client;
        // The client of HTTP/1 does not see that the proxy still holds the end of the stream.
        let (outcome, ended) = match client.whole_at.filter(|_| !self.multiplexes) {
            Some(at) => (Outcome::Complete, at),
            None => (outcome, now),
        };
        let first_byte = client.status.map(|_| client.body_at.unwrap_or(client.headers_at));
        let exchange = spec.get();
        let request = &exchange.request;
        let started = self.forwarded.headers.is_some();
        ExchangeReport {
            line: spec.line,
            id: Cow::Borrowed(&exchange.id),
            number: spec.number,
            sent: self.sent,
            connection: exchange.connection.0,
            connection_name: Cow::Borrowed(exchange.connection_name()),
            opening,
            worker: self.worker,
            method: Cow::Borrowed(request.method.as_deref().unwrap_or("GET")),
            path: Cow::Borrowed(request.path.as_deref().unwrap_or("/")),
            route: self.route.take(),
            decisions: std::mem::take(&mut self.decisions),
            status: client.status,
            first_byte: first_byte.map(|at| at.saturating_sub(self.sent)),
            last_byte: ended.saturating_sub(self.sent),
            headers: std::mem::take(&mut client.headers),
            trailers: std::mem::take(&mut client.trailers),
            body_bytes: client.body.bytes,
            body_sha256: client.body.sha256(),
            end: outcome,
            ended_by: match outcome {
                Outcome::Complete | Outcome::Cut => self.ended_by,
                Outcome::Client => Some(EndedBy::Client),
                Outcome::Open => None,
            },
            reason: self.reason.take(),
            closed: self.announces_close,
            upstream: UpstreamReport {
                attempts: self.attempts,
                start: started.then(|| self.forwarded.at.saturating_sub(self.sent)),
                body_bytes: self.forwarded.body.bytes,
                headers: HeaderMap::new(),
                body_sha256: self.forwarded.body.sha256(),
                complete: self.forwarded.is_whole(),
            },
            truncated: false,
            expected: 0,
            failures: Vec::new(),
        }
    }
}
