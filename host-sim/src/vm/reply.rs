//! Responses that the host makes up: the guest's local replies, and what a host answers when a held
//! body is too large or the guest has trapped.

use super::Vm;
use crate::details::ResponseDetails;
use crate::effect::{Direction, Effect, ReplySource, ResetCause};
use crate::local_reply::LocalReply;
use crate::stream::StreamId;

impl Vm {
    /// Answers the exchange in the upstream's place, unless its response has left already.
    pub(super) fn reply(&mut self, slot: u32, reply: LocalReply, source: ReplySource) {
        let rules = self.state().rules;
        let broken = self.trap.is_some();
        let http = self.http(slot);
        if http.cut || http.closing || http.response.finished() {
            return;
        }
        http.explain(ResponseDetails {
            details: reply.details.clone(),
            flags: 0,
            code: Some(reply.status),
        });
        if http.response.headers_left() {
            return self.cut(slot, ResetCause::LateReply);
        }
        // Only a response that nobody has seen yet goes through the guest; one that replaces a
        // response on its way leaves directly.
        let asks_guest = rules.local_reply_runs_callbacks && !http.response.started() && !broken;
        http.abandon(Direction::Request);
        http.response.reset();
        let (map, body) = reply.message(&http.logged[0], rules.local_reply_adds_headers);
        let end = body.is_empty();
        let state = self.state();
        let stream = StreamId { context: state.contexts.at(slot).id, slot };
        state.effects.push(Effect::LocalReply {
            stream,
            status: reply.status,
            source,
            details: reply.details.into_owned(),
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
            self.http(slot).explain(ResponseDetails::new(details, 0));
            self.cut(slot, ResetCause::Overflow);
        } else {
            self.reply(slot, LocalReply::new(status, body, details), ReplySource::Overflow);
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
