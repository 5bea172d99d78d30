//! The upstreams of a trace on real sockets. They find the script of an exchange by a header that
//! the client adds, and follow its next attempt.

mod http1;
mod http2;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_sim::trace::{
    AttemptEnd, Body, EventKind, Exchange, Headers, Trace, UpstreamAttempt as Script,
};

use super::clock::ExchangeClock;
use super::proxy;
use crate::upstream::Upstream;

/// The request header that identifies run and exchange.
pub(super) const EXCHANGE: &str = "x-exchange";

/// The ports of the upstreams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    /// The HTTP/1.1 upstream.
    pub(super) http1: u16,
    /// The HTTP/2 upstream.
    pub(super) http2: u16,
}

/// The running upstreams and their scripts.
pub(super) struct Upstreams {
    http1: Upstream,
    http2: u16,
    scripts: Scripts,
}

impl Upstreams {
    pub(super) fn start() -> Self {
        let scripts = Scripts::default();
        Self { http1: http1::serve(scripts.clone()), http2: http2::serve(scripts.clone()), scripts }
    }

    pub(super) fn ports(&self) -> Ports {
        Ports { http1: self.http1.port, http2: self.http2 }
    }

    /// Replaces the scripts by those of a trace.
    pub(super) fn load(
        &self,
        run: u32,
        trace: &Trace<'_>,
        exchange_clock: impl Fn(u32) -> ExchangeClock,
    ) {
        self.http1.forget_requests();
        let mut scripts = self.scripts.lock();
        scripts.clear();
        for event in &trace.events {
            let EventKind::Exchange(exchange) = &event.kind else { continue };
            let refusals = refusals(exchange);
            let attempts = exchange.upstream[refusals..].iter().map(Attempt::new).collect();
            let script =
                ExchangeScript { attempts, begun: 0, exchange_clock: exchange_clock(event.line) };
            scripts.insert(name(run, event.line), script);
        }
    }

    /// The number of attempts for the exchange on this line so far.
    pub(super) fn attempts(&self, run: u32, line: u32) -> u32 {
        self.scripts.lock().get(&name(run, line)).map_or(0, |script| script.begun)
    }
}

/// The value of [`EXCHANGE`] for the exchange on this line.
pub(super) fn name(run: u32, line: u32) -> String {
    format!("{run}-{line}")
}

/// The name of the cluster that an exchange needs; `None` for the default one.
///
/// # Panics
/// If no real upstream can do what the trace describes.
pub(super) fn cluster(exchange: &Exchange<'_>) -> Option<String> {
    let refusals = refusals(exchange);
    let attempts = &exchange.upstream[refusals..];
    let trailers = attempts.iter().any(|attempt| !attempt.trailers.is_empty());
    let refuses_streams = attempts.iter().any(|attempt| attempt.end == AttemptEnd::RefusedStream);
    let http2 = trailers || refuses_streams || !exchange.request.trailers.is_empty();
    let impossible = |attempt: &Script<'_>| match attempt.end {
        AttemptEnd::Refused => true,
        // HTTP/2 has no incomplete headers. Envoy reports a stream reset differently from a lost
        // connection, and a reset drops data that is not sent yet.
        AttemptEnd::ResetInHeader | AttemptEnd::Reset => http2,
        _ => false,
    };
    assert!(!attempts.iter().any(impossible), "{}: a real upstream cannot do this", &*exchange.id);
    assert!(
        !(http2 && refusals > 0),
        "{}: only an HTTP/1.1 connection can be refused",
        &*exchange.id
    );
    match (http2, refusals) {
        (true, _) => Some(proxy::HTTP2.to_owned()),
        (false, 0) => None,
        (false, times) if attempts.is_empty() => {
            Some(proxy::refusing(times.max(proxy::REFUSALS + 1)))
        }
        (false, times) => Some(proxy::refusing(times)),
    }
}

/// The number of attempts that are refused before one is accepted.
pub(super) fn refusals(exchange: &Exchange<'_>) -> usize {
    exchange.upstream.iter().take_while(|attempt| attempt.end == AttemptEnd::Refused).count()
}

/// The scripts of the running trace, by [`name`].
#[derive(Clone, Default)]
struct Scripts(Arc<Mutex<HashMap<String, ExchangeScript>>>);

struct ExchangeScript {
    attempts: Vec<Attempt>,
    begun: u32,
    exchange_clock: ExchangeClock,
}

impl Scripts {
    /// The next attempt of an exchange; the last attempt repeats.
    fn next(&self, exchange: &str) -> Option<(Attempt, ExchangeClock)> {
        let mut scripts = self.lock();
        let script = scripts.get_mut(exchange)?;
        let index = (script.begun as usize).min(script.attempts.len().checked_sub(1)?);
        script.begun += 1;
        Some((script.attempts[index].clone(), script.exchange_clock.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, ExchangeScript>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes and pauses of an attempt.
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

/// Copies header fields.
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

/// Borrows header fields.
pub(super) fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (&**name, &**value)).collect()
}
