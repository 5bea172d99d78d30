//! Responses that the host makes up: the guest's local replies, and what a host answers when a held
//! body is too large or the guest has trapped.

use super::Vm;
use crate::context::Reply;
use crate::effect::{Direction, Effect, ReplySource, ResetCause};
use crate::headers::HeaderMap;
use crate::stream::StreamId;

impl Vm {
    /// Answers the exchange in the upstream's place, unless its response has left already.
    pub(super) fn reply(&mut self, slot: u32, reply: Reply) {
        let rules = self.state().rules;
        let broken = self.trap.is_some();
        let http = self.http(slot);
        if http.cut || http.closing || http.response.finished() {
            return;
        }
        if http.response.headers_left() {
            return self.cut(slot, ResetCause::LateReply);
        }
        // Only a response that nobody has seen yet goes through the guest; one that replaces a
        // response on its way leaves directly.
        let asks_guest = rules.local_reply_runs_callbacks && !http.response.started() && !broken;
        http.abandon(Direction::Request);
        http.response.reset();
        let (map, body) = message(&http.logged[0], &reply, rules.local_reply_adds_headers);
        let end = body.is_empty();
        let state = self.state();
        let stream = StreamId { context: state.contexts.at(slot).id, slot };
        state.effects.push(Effect::LocalReply {
            stream,
            status: reply.status,
            source: reply.source,
            details: reply.details,
        });
        let ask = self.http(slot).response.headers(map, end);
        if asks_guest {
            self.drive(slot, Direction::Response, ask);
            if !end && !self.overtaken(slot) {
                let ask = self.http(slot).response.body(&body, true);
                self.drive(slot, Direction::Response, ask);
            }
        } else {
            self.release(slot, Direction::Response);
            if !end {
                let _ = self.http(slot).response.body(&body, true);
                self.release(slot, Direction::Response);
            }
        }
    }

    /// The same for a reply of the host's own.
    pub(super) fn reply_with(
        &mut self,
        slot: u32,
        status: u32,
        body: &[u8],
        details: &str,
        source: ReplySource,
    ) {
        let reply = Reply {
            status,
            headers: HeaderMap::new(),
            body: body.to_vec(),
            grpc_status: None,
            details: details.to_owned(),
            source,
        };
        self.reply(slot, reply);
    }

    /// A held body has passed the host's limit.
    pub(super) fn overflow(&mut self, slot: u32, direction: Direction) {
        let held = self.http(slot).flow(direction).held();
        let state = self.state();
        let stream = StreamId { context: state.contexts.at(slot).id, slot };
        state.effects.push(Effect::BodyOverflow { stream, direction, held });
        let (status, body, details) = match direction {
            Direction::Request => (413, "Payload Too Large", "request_payload_too_large"),
            Direction::Response => (500, "Internal Server Error", "response_payload_too_large"),
        };
        if self.http(slot).response.headers_left() {
            self.cut(slot, ResetCause::Overflow);
        } else {
            self.reply_with(slot, status, body.as_bytes(), details, ReplySource::Overflow);
        }
    }

    /// Whether a callback during this reply has asked for another one, or for a cut, or trapped.
    fn overtaken(&mut self, slot: u32) -> bool {
        let broken = self.trap.is_some();
        let http = self.http(slot);
        let gone = http.cut || http.response.finished();
        let pending = &self.state().contexts.at(slot).pending;
        broken || gone || pending.reset || pending.reply.is_some()
    }
}

/// The reply as a message.
fn message(request: &HeaderMap, reply: &Reply, adds_headers: bool) -> (HeaderMap, Vec<u8>) {
    let mut map = HeaderMap::new();
    if adds_headers && is_grpc(request) {
        let grpc_status = reply.grpc_status.unwrap_or_else(|| grpc_status_of(reply.status));
        map.push(":status", "200");
        map.push("content-type", "application/grpc");
        map.push("grpc-status", grpc_status.to_string());
        if !reply.body.is_empty() {
            map.push("grpc-message", percent_encoded(&reply.body));
        }
        map.extend(reply.headers.iter());
        return (map, Vec::new());
    }
    map.push(":status", reply.status.to_string());
    map.extend(reply.headers.iter());
    if adds_headers && !reply.body.is_empty() {
        map.set("content-length", reply.body.len().to_string());
        if map.find("content-type").is_none() {
            map.push("content-type", "text/plain");
        }
    }
    let head = request.find(":method") == Some(b"HEAD");
    let body = if head { Vec::new() } else { reply.body.clone() };
    (map, body)
}

fn is_grpc(request: &HeaderMap) -> bool {
    let kind = request.text("content-type").unwrap_or_default();
    kind.strip_prefix("application/grpc")
        .is_some_and(|rest| matches!(rest.get(..1), None | Some("+")))
}

/// The gRPC status that stands for an HTTP status, from gRPC's own table.
fn grpc_status_of(http: u32) -> u32 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Text in the form that `grpc-message` wants.
fn percent_encoded(text: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
