//! The callbacks of an exchange, one after the other, and what the guest's answers do to its message.

use super::guest::Trapped;
use super::instance::Vm;
use crate::effect::Direction;
use crate::flow::Callback;

impl Vm {
    /// Makes callbacks until the exchange ends, or no callback is left.
    pub(super) fn run_callbacks(
        &mut self,
        slot: u32,
        direction: Direction,
        mut next: Option<Callback>,
    ) {
        while let Some(callback) = next {
            if self.exceeds_limit(slot, direction) {
                return self.exceed_buffer_limit(slot, direction);
            }
            let Some(pauses) = self.pauses(slot, direction, callback) else { return };
            if let Some(again) = self.repeat_trailers(slot, direction, callback, pauses) {
                next = Some(again);
                continue;
            }
            if self.loses_body(slot, direction, callback, pauses) {
                let http = self.http(slot);
                http.request.lose_body();
                http.keep_access(direction, false);
                self.forward(slot, direction);
            } else if pauses {
                let stops =
                    matches!(callback, Callback::Headers { .. }) && self.headers_pause_stops(slot);
                self.http(slot).flow(direction).pause(stops);
                if self.exceeds_limit(slot, direction) {
                    return self.exceed_buffer_limit(slot, direction);
                }
            } else {
                // In Envoy, only its own callback removes the access to a body.
                let is_trailers = matches!(callback, Callback::Trailers { .. });
                if is_trailers && self.state().rules.continue_keeps_access {
                    self.http(slot).keep_access(direction, false);
                }
                self.forward(slot, direction);
            }
            next = self.http(slot).flow(direction).next_callback();
        }
    }

    /// Whether more of a paused body waits than the proxy keeps.
    fn exceeds_limit(&mut self, slot: u32, direction: Direction) -> bool {
        let state = self.state();
        let limit = state.options.buffer_limit.or(state.rules.buffer_limit);
        let flow = self.http(slot).flow(direction);
        flow.paused() && limit.is_some_and(|limit| flow.buffered() > limit)
    }

    /// Makes a callback. Returns whether the guest pauses the message, or `None` if the exchange
    /// ends.
    fn pauses(&mut self, slot: u32, direction: Direction, callback: Callback) -> Option<bool> {
        let state = self.state();
        state.pauses_callback = false;
        let earlier = state.actions.len();
        let result = self.call_stream(slot, direction, callback);
        let pauses = match result {
            Ok(action) => self.state().pauses_callback || action.is_some_and(|action| action != 0),
            Err(Trapped) if self.fail_stream(slot) => return None,
            Err(Trapped) => false,
        };
        let http = self.http(slot);
        if direction == Direction::Response && std::mem::take(&mut http.request_outlives_reply) {
            self.apply_first_actions(earlier);
            let http = self.http(slot);
            http.discard(Direction::Request);
            if http.response.finished() {
                return None;
            }
        }
        let state = self.state();
        let context = state.contexts.at(slot).id;
        if !state.actions.end_exchange(context) {
            return Some(pauses);
        }
        // A callback for the request that replies aborts the request.
        if direction == Direction::Request {
            state.actions.keep_first_end(context);
        }
        None
    }

    /// The callback for trailers that Envoy makes twice, because it has lost the body.
    fn repeat_trailers(
        &mut self,
        slot: u32,
        direction: Direction,
        callback: Callback,
        pauses: bool,
    ) -> Option<Callback> {
        let applies = self.state().rules.loses_paused_bodies
            && !pauses
            && matches!(callback, Callback::Trailers { .. });
        applies.then(|| self.http(slot).flow(direction).repeat_trailers())?
    }

    /// Handles trailers that the guest added to the end of a body, and returns whether Envoy then
    /// loses the body and continues the message although the guest pauses it.
    fn loses_body(
        &mut self,
        slot: u32,
        direction: Direction,
        callback: Callback,
        pauses: bool,
    ) -> bool {
        let adds_trailers = self.state().rules.loses_paused_bodies
            && matches!(callback, Callback::Body { end: true, .. })
            && self.http(slot).flow(direction).trailers().is_some();
        if !adds_trailers {
            return false;
        }
        let is_request = direction == Direction::Request;
        let http = self.http(slot);
        if (!pauses || is_request) && http.flow(direction).receive_added_trailers() {
            return false;
        }
        // Envoy forgets the map only when its own callback continues it.
        http.continued[direction.headers_index() + 1] = true;
        pauses && is_request
    }

    /// Makes one callback and returns its action.
    fn call_stream(
        &mut self,
        slot: u32,
        direction: Direction,
        callback: Callback,
    ) -> Result<Option<u32>, Trapped> {
        use Direction::{Request, Response};
        let id = self.state().contexts.at(slot).id;
        let http = self.http(slot);
        if let Callback::Headers { end, .. } | Callback::Body { end, .. } = callback {
            http.end_of_stream = end;
        }
        if direction == Request {
            http.request_continued = false;
        }
        match (callback, direction) {
            (Callback::Headers { count, end }, Request) => self.call_guest(
                slot,
                "proxy_on_request_headers",
                |exports| &exports.on_request_headers,
                (id, count, end.into()),
            ),
            (Callback::Body { size, end }, Request) => self.call_guest(
                slot,
                "proxy_on_request_body",
                |exports| &exports.on_request_body,
                (id, size, end.into()),
            ),
            (Callback::Trailers { count }, Request) => self.call_guest(
                slot,
                "proxy_on_request_trailers",
                |exports| &exports.on_request_trailers,
                (id, count),
            ),
            (Callback::Headers { count, end }, Response) => self.call_guest(
                slot,
                "proxy_on_response_headers",
                |exports| &exports.on_response_headers,
                (id, count, end.into()),
            ),
            (Callback::Body { size, end }, Response) => self.call_guest(
                slot,
                "proxy_on_response_body",
                |exports| &exports.on_response_body,
                (id, size, end.into()),
            ),
            (Callback::Trailers { count }, Response) => self.call_guest(
                slot,
                "proxy_on_response_trailers",
                |exports| &exports.on_response_trailers,
                (id, count),
            ),
        }
    }

    /// Whether a pause in a headers callback also stops the callbacks for body and trailers.
    fn headers_pause_stops(&mut self, slot: u32) -> bool {
        let state = self.state();
        let plugin = state.contexts.plugin_of(slot);
        let continues = plugin.is_some_and(|plugin| plugin.options.allow_on_headers_stop_iteration);
        state.rules.headers_pause_stops_body && !continues
    }
}
