//! The HTTP/1.1 upstream.

use sluice_sim::trace::AttemptEnd;

use super::super::clock::ExchangeClock;
use super::{Attempt, EXCHANGE, Scripts, pairs};
use crate::upstream::{Reply, Request, Upstream};

pub(super) fn serve(scripts: Scripts) -> Upstream {
    Upstream::start(move |request, reply| {
        let exchange = request.header(EXCHANGE).unwrap_or_default();
        match scripts.next(exchange) {
            Some((attempt, clock)) => attempt.run_http1(request, reply, &clock),
            // A request of the harness itself.
            None => reply.respond(200, &[], b"ok"),
        }
    })
}

impl Attempt {
    fn run_http1(&self, request: &Request, reply: &mut Reply, clock: &ExchangeClock) {
        clock.sleep(self.after);
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
            return self.run_tunnel(reply, clock);
        }
        let without_body =
            request.headers.start_line.starts_with("HEAD ") || matches!(status, 204 | 304);
        let chunked = !self.has_length() && !without_body;
        let empty = self.chunks.is_empty() && self.end == AttemptEnd::Complete;
        let mut headers = pairs(&self.headers);
        match (chunked, empty) {
            (true, true) => headers.push(("content-length", "0")),
            (true, false) => headers.push(("transfer-encoding", "chunked")),
            (false, _) => {}
        }
        reply.send_headers(status, &headers);
        for (pause, bytes) in &self.chunks {
            clock.sleep(*pause);
            match chunked {
                true => reply.send_chunk(bytes),
                false => reply.write(bytes),
            }
        }
        match self.end {
            AttemptEnd::Complete if chunked && !empty => reply.send_chunk(b""),
            AttemptEnd::Complete => {}
            AttemptEnd::Never => while !reply.read().is_empty() {},
            _ => reply.close(),
        }
    }

    /// Accepts the upgrade and sends bytes until the connection ends.
    fn run_tunnel(&self, reply: &mut Reply, clock: &ExchangeClock) {
        reply.send_headers(101, &pairs(&self.headers));
        for (pause, bytes) in &self.chunks {
            clock.sleep(*pause);
            reply.write(bytes);
        }
        match self.end {
            AttemptEnd::Never => while !reply.read().is_empty() {},
            _ => reply.shutdown_and_wait(),
        }
    }
}
