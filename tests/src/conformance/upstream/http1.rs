//! The upstream of HTTP/1.1.

use sluice_sim::trace::AttemptEnd;

use super::super::clock::Pace;
use super::{Attempt, EXCHANGE, Scripts, pairs};
use crate::upstream::{Reply, Request, Upstream};

/// Starts it.
pub(super) fn serve(scripts: Scripts) -> Upstream {
    Upstream::start(move |request, reply| {
        let exchange = request.header(EXCHANGE).unwrap_or_default();
        match scripts.next(exchange) {
            Some((attempt, pace)) => attempt.play_http1(request, reply, &pace),
            // A probe of the harness.
            None => reply.respond(200, &[], b"ok"),
        }
    })
}

impl Attempt {
    fn play_http1(&self, request: &Request, reply: &mut Reply, pace: &Pace) {
        pace.sleep(self.after);
        let Some(status) = self.status else {
            match self.end {
                AttemptEnd::ResetInHeader => {
                    reply.write(b"HTTP/1.1 200 OK\r\nx-half: ");
                    reply.close();
                }
                AttemptEnd::Never => while !reply.read().is_empty() {},
                _ => reply.close(),
            }
            return;
        };
        if status == 101 {
            return self.play_tunnel(reply, pace);
        }
        let bodiless = request.head.start.starts_with("HEAD ") || matches!(status, 204 | 304);
        let chunked = !self.has_length() && !bodiless;
        let empty = self.chunks.is_empty() && self.end == AttemptEnd::Complete;
        let mut headers = pairs(&self.headers);
        match (chunked, empty) {
            (true, true) => headers.push(("content-length", "0")),
            (true, false) => headers.push(("transfer-encoding", "chunked")),
            (false, _) => {}
        }
        reply.head(status, &headers);
        for (pause, bytes) in &self.chunks {
            pace.sleep(*pause);
            match chunked {
                true => reply.chunk(bytes),
                false => reply.write(bytes),
            }
        }
        match self.end {
            AttemptEnd::Complete if chunked && !empty => reply.chunk(b""),
            AttemptEnd::Complete => {}
            AttemptEnd::Never => while !reply.read().is_empty() {},
            _ => reply.close(),
        }
    }

    /// The bytes of a connection that has left HTTP, for as long as it stays open.
    fn play_tunnel(&self, reply: &mut Reply, pace: &Pace) {
        reply.head(101, &pairs(&self.headers));
        for (pause, bytes) in &self.chunks {
            pace.sleep(*pause);
            reply.write(bytes);
        }
        match self.end {
            AttemptEnd::Never => while !reply.read().is_empty() {},
            _ => reply.hang_up(),
        }
    }
}
