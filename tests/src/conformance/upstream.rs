//! The upstream of a trace on a real socket: it finds the script of an exchange by a header that the
//! client adds, and plays the attempt that is next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_sim::trace::{End, Kind, Trace, Upstream as Script};

use crate::upstream::{Reply, Request, Upstream};

/// The request header that names run and exchange.
pub(super) const EXCHANGE: &str = "x-exchange";

/// The scripts of the traces that are running.
#[derive(Clone, Default)]
pub(super) struct Scripts(Arc<Mutex<HashMap<String, Played>>>);

struct Played {
    attempts: Vec<Attempt>,
    begun: u32,
}

/// An attempt as bytes and pauses.
#[derive(Clone)]
struct Attempt {
    after: Duration,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    chunks: Vec<(Duration, Vec<u8>)>,
    end: End,
}

impl Scripts {
    /// Starts the upstream.
    pub(super) fn serve(&self) -> Upstream {
        let scripts = self.clone();
        Upstream::start(move |request, reply| {
            let exchange = request.header(EXCHANGE).unwrap_or_default();
            match scripts.next(exchange) {
                Some(attempt) => attempt.play(request, reply),
                // A probe of the harness.
                None => reply.respond(200, &[], b"ok"),
            }
        })
    }

    /// Takes the scripts of a trace.
    pub(super) fn load(&self, run: u32, trace: &Trace<'_>) {
        let mut scripts = self.lock();
        for event in &trace.events {
            let Kind::Exchange(exchange) = &event.kind else { continue };
            let attempts = exchange.upstream.iter().map(Attempt::new).collect();
            scripts.insert(name(run, &exchange.id), Played { attempts, begun: 0 });
        }
    }

    /// How often the upstream was asked for an exchange.
    pub(super) fn attempts(&self, run: u32, id: &str) -> u32 {
        self.lock().get(&name(run, id)).map_or(0, |played| played.begun)
    }

    fn next(&self, exchange: &str) -> Option<Attempt> {
        let mut scripts = self.lock();
        let played = scripts.get_mut(exchange)?;
        let index = (played.begun as usize).min(played.attempts.len() - 1);
        played.begun += 1;
        Some(played.attempts[index].clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Played>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an exchange is named on the wire.
pub(super) fn name(run: u32, id: &str) -> String {
    format!("{run}-{}", id.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

impl Attempt {
    fn new(script: &Script<'_>) -> Self {
        assert!(
            !matches!(script.end, End::Refused | End::RefusedStream),
            "a real upstream cannot refuse one exchange and take the next"
        );
        assert!(script.trailers.is_empty(), "Envoy drops the trailers of an HTTP/1.1 upstream");
        let mut chunks = Vec::new();
        let mut offset = 0;
        for chunk in &script.body {
            for _ in 0..chunk.times {
                let mut bytes = Vec::new();
                chunk.content.write_to(offset, &mut bytes);
                offset += bytes.len() as u64;
                chunks.push((chunk.after, bytes));
            }
        }
        Self {
            after: script.after,
            status: script.response_status(),
            headers: script
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            chunks,
            end: script.end,
        }
    }

    fn play(&self, request: &Request, reply: &mut Reply) {
        std::thread::sleep(self.after);
        let Some(status) = self.status else {
            match self.end {
                End::ResetInHeader => {
                    reply.write(b"HTTP/1.1 200 OK\r\nx-half: ");
                    reply.close();
                }
                End::Never => while !reply.read().is_empty() {},
                _ => reply.close(),
            }
            return;
        };
        let has_length =
            self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let bodiless = request.head.start.starts_with("HEAD ") || matches!(status, 204 | 304);
        let chunked = !has_length && !bodiless;
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match (chunked, self.chunks.is_empty() && self.end == End::Complete) {
            (true, true) => headers.push(("content-length", "0")),
            (true, false) => headers.push(("transfer-encoding", "chunked")),
            (false, _) => {}
        }
        reply.head(status, &headers);
        for (pause, bytes) in &self.chunks {
            std::thread::sleep(*pause);
            match chunked {
                true => reply.chunk(bytes),
                false => reply.write(bytes),
            }
        }
        match self.end {
            End::Complete if chunked && !self.chunks.is_empty() => reply.chunk(b""),
            End::Complete => {}
            End::Never => while !reply.read().is_empty() {},
            _ => reply.close(),
        }
    }
}
