//! The upstream of a trace on real sockets: it finds the script of an exchange by a header that the
//! client adds, and plays the attempt that is next.

mod http1;
mod http2;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_sim::trace::{
    AttemptEnd, Body, EventKind, Exchange, Headers, Trace, UpstreamAttempt as Script,
};

use super::clock::Pace;
use super::proxy;
use crate::upstream::Upstream;

/// The request header that names run and exchange.
pub(super) const EXCHANGE: &str = "x-exchange";

/// Where the upstreams of a stage listen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    /// The one of HTTP/1.1.
    pub(super) http1: u16,
    /// The one of HTTP/2.
    pub(super) http2: u16,
}

/// The upstreams of a stage.
pub(super) struct Upstreams {
    http1: Upstream,
    http2: u16,
    scripts: Scripts,
}

impl Upstreams {
    /// Starts them.
    pub(super) fn start() -> Self {
        let scripts = Scripts::default();
        Self { http1: http1::serve(scripts.clone()), http2: http2::serve(scripts.clone()), scripts }
    }

    /// Where they listen.
    pub(super) fn ports(&self) -> Ports {
        Ports { http1: self.http1.port, http2: self.http2 }
    }

    /// Takes the scripts of a trace in the place of those before.
    pub(super) fn load(&self, run: u32, trace: &Trace<'_>, pace: impl Fn(u32) -> Pace) {
        self.http1.forget();
        let mut scripts = self.scripts.lock();
        scripts.clear();
        for event in &trace.events {
            let EventKind::Exchange(exchange) = &event.kind else { continue };
            let refusals = refusals(exchange);
            let attempts = exchange.upstream[refusals..].iter().map(Attempt::new).collect();
            let played = Played { attempts, begun: 0, pace: pace(event.line) };
            scripts.insert(name(run, event.line), played);
        }
    }

    /// How often they were asked for the exchange on this line.
    pub(super) fn attempts(&self, run: u32, line: u32) -> u32 {
        self.scripts.lock().get(&name(run, line)).map_or(0, |played| played.begun)
    }
}

/// How an exchange is named on the wire.
pub(super) fn name(run: u32, line: u32) -> String {
    format!("{run}-{line}")
}

/// The upstream that an exchange needs, as the proxy knows it; `None` for the ordinary one.
///
/// # Panics
/// If no upstream can do what the trace says.
pub(super) fn choice(exchange: &Exchange<'_>) -> Option<String> {
    let refusals = refusals(exchange);
    let attempts = &exchange.upstream[refusals..];
    let trailers = attempts.iter().any(|attempt| !attempt.trailers.is_empty());
    let refuses_streams = attempts.iter().any(|attempt| attempt.end == AttemptEnd::RefusedStream);
    let http2 = trailers || refuses_streams || !exchange.request.trailers.is_empty();
    let torn = |attempt: &Script<'_>| match attempt.end {
        AttemptEnd::Refused => true,
        // HTTP/2 has no torn head, Envoy has other words for a stream that is reset than for a connection, and
        // what such a stream has not sent yet is lost.
        AttemptEnd::ResetInHeader | AttemptEnd::Reset => http2,
        _ => false,
    };
    assert!(!attempts.iter().any(torn), "{}: no real upstream can do this", &*exchange.id);
    assert!(!(http2 && refusals > 0), "{}: only HTTP/1.1 is refused", &*exchange.id);
    match (http2, refusals) {
        (true, _) => Some(proxy::HTTP2.to_owned()),
        (false, 0) => None,
        (false, times) if attempts.is_empty() => {
            Some(proxy::refusing(times.max(proxy::REFUSALS + 1)))
        }
        (false, times) => Some(proxy::refusing(times)),
    }
}

/// How many attempts are refused before one is taken.
pub(super) fn refusals(exchange: &Exchange<'_>) -> usize {
    exchange.upstream.iter().take_while(|attempt| attempt.end == AttemptEnd::Refused).count()
}

/// The scripts of the trace that is running.
#[derive(Clone, Default)]
struct Scripts(Arc<Mutex<HashMap<String, Played>>>);

struct Played {
    attempts: Vec<Attempt>,
    begun: u32,
    pace: Pace,
}

impl Scripts {
    /// The attempt that is next for what the client named.
    fn next(&self, exchange: &str) -> Option<(Attempt, Pace)> {
        let mut scripts = self.lock();
        let played = scripts.get_mut(exchange)?;
        let index = (played.begun as usize).min(played.attempts.len().checked_sub(1)?);
        played.begun += 1;
        Some((played.attempts[index].clone(), played.pace.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Played>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt as bytes and pauses.
#[derive(Clone)]
struct Attempt {
    after: Duration,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    chunks: Vec<(Duration, Vec<u8>)>,
    trailers: Vec<(String, String)>,
    end: AttemptEnd,
}

impl Attempt {
    fn new(script: &Script<'_>) -> Self {
        Self {
            after: script.after,
            status: script.response_status(),
            headers: owned(&script.headers),
            chunks: chunks(&script.body),
            trailers: owned(&script.trailers),
            end: script.end,
        }
    }

    fn has_length(&self) -> bool {
        self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"))
    }
}

/// Header fields that outlive their trace.
pub(super) fn owned(fields: &Headers<'_>) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// The chunks of a body, each with the pause before it.
pub(super) fn chunks(body: &Body<'_>) -> Vec<(Duration, Vec<u8>)> {
    let mut chunks = Vec::new();
    let mut offset = 0;
    for chunk in body {
        for _ in 0..chunk.times {
            let mut bytes = Vec::new();
            chunk.content.write_to(offset, &mut bytes);
            offset += bytes.len() as u64;
            chunks.push((chunk.after, bytes));
        }
    }
    chunks
}

/// Borrowed, as the wire wants them.
pub(super) fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (&**name, &**value)).collect()
}
