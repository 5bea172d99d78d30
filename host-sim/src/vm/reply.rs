//! Sending local replies: those of the guest, and those after an overflow or a trap.

use super::instance::Vm;
use crate::details::ResponseDetails;
use crate::effect::{Direction, Effect, ReplySource, ResetCause};
use crate::ids::StreamId;
use crate::local_reply::LocalReply;

impl Vm {
    /// Replies locally, unless the response is complete. A response that has begun is reset.
    ///
    /// In Envoy, what else the guest asked for happens within the first callback of the reply. A
    /// request that it continued after it replied then still goes on, unless the headers are all of
    /// the reply.
    pub(super) fn send_local_reply(&mut self, slot: u32, reply: LocalReply, source: ReplySource) {
        let rules = self.state().rules;
        let trapped = self.trap.is_some();
        let http = self.http(slot);
        if http.reset || http.closing || http.response.finished() {
            return;
        }
        let is_late = http.response.headers_left();
        http.add_details(ResponseDetails {
            details: reply.details.replace(char::is_whitespace, "_").into(),
            flags: 0,
            code: (!is_late).then_some(reply.status),
        });
        if is_late {
            return self.reset_stream(slot, ResetCause::LateReply);
        }
        // Once the guest has received a response of the upstream, it does not receive a second one.
        let runs_callbacks =
            rules.local_reply_runs_callbacks && !http.response.started() && !trapped;
        let (map, body) = reply.message(http.request_kind, rules.local_reply_adds_headers);
        let end = body.is_empty();
        http.request_outlives_reply = runs_callbacks && !end && http.request.paused();
        if !http.request_outlives_reply {
            http.discard(Direction::Request);
        }
        http.response.reset();
        http.status = Some(reply.status);
        let state = self.state();
        let stream = StreamId { context: state.contexts.at(slot).id, slot };
        state.effects.push(Effect::LocalReply {
            stream,
            status: reply.status,
            source,
            details: reply.details.into_owned(),
        });
        let callback = self.http(slot).response.on_headers(map, end);
        if runs_callbacks {
            self.run_callbacks(slot, Direction::Response, callback);
            if !end && !self.is_superseded(slot) {
                let callback = self.http(slot).response.on_body(&body, true);
                self.run_callbacks(slot, Direction::Response, callback);
            }
        } else {
            self.forward(slot, Direction::Response);
            if !end {
                let _ = self.http(slot).response.on_body(&body, true);
                self.forward(slot, Direction::Response);
            }
        }
    }

    /// Handles a paused body that exceeds the buffer limit, with the replies of Envoy.
    pub(super) fn exceed_buffer_limit(&mut self, slot: u32, direction: Direction) {
        let buffered = self.http(slot).flow(direction).buffered();
        let state = self.state();
        let stream = StreamId { context: state.contexts.at(slot).id, slot };
        state.effects.push(Effect::BodyOverflow { stream, direction, buffered });
        let (status, body, details) = match direction {
            Direction::Request => (413, "Payload Too Large", "request_payload_too_large"),
            Direction::Response => (500, "Internal Server Error", "response_payload_too_large"),
        };
        if self.http(slot).response.headers_left() {
            self.http(slot).add_details(ResponseDetails::new(details, 0));
            self.reset_stream(slot, ResetCause::Overflow);
        } else {
            let reply = LocalReply::new(status, body, details);
            self.send_local_reply(slot, reply, ReplySource::Overflow);
        }
    }

    /// Whether a callback during a local reply replied again, reset the stream or trapped.
    fn is_superseded(&mut self, slot: u32) -> bool {
        let trapped = self.trap.is_some();
        let http = self.http(slot);
        let ended = http.reset || http.response.finished();
        let state = self.state();
        trapped || ended || state.actions.end_exchange(state.contexts.at(slot).id)
    }
}
