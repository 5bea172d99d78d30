//! HTTP exchanges: events, callbacks and forwarding.

use super::instance::Vm;
use crate::abi::MapType;
use crate::context::{Http, Kind};
use crate::details::ResponseDetails;
use crate::effect::{Direction, Effect, Part, ReplySource, ResetCause};
use crate::flow::{Callback, Flow};
use crate::headers::HeaderMap;
use crate::ids::{PluginId, StreamId};
use crate::inline_headers::MapRules;
use crate::local_reply::{LocalReply, RequestKind};
use crate::options::StreamInfo;
use crate::proxy_headers;

impl Vm {
    /// Opens an HTTP stream. If the plugin has ended, events of the stream have no effect.
    pub fn open_http(&mut self, plugin: PluginId, info: StreamInfo) -> StreamId {
        let state = self.state();
        let opened = state.process.now();
        let http = state.contexts.new_http(info, opened);
        self.open_stream(plugin, Kind::Http(http))
    }

    /// Delivers the request headers. `end` is true if neither body nor trailers follow.
    pub fn request_headers(&mut self, stream: StreamId, headers: HeaderMap, end: bool) {
        self.on_headers(stream, Direction::Request, headers, end);
    }

    /// Delivers a chunk of the request body. `end` is true for the last part of the request.
    pub fn request_body(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        self.on_event(stream, Direction::Request, |flow| flow.on_body(bytes, end));
    }

    /// Delivers the request trailers.
    pub fn request_trailers(&mut self, stream: StreamId, trailers: HeaderMap) {
        self.on_trailers(stream, Direction::Request, trailers);
    }

    /// Delivers the headers of the final response. Responses with a 1xx status do not pass filters.
    pub fn response_headers(&mut self, stream: StreamId, headers: HeaderMap, end: bool) {
        let contexts = &mut self.state().contexts;
        if let Some(http) = contexts.stream_slot(stream).and_then(|slot| contexts.http(slot)) {
            http.details.get_or_insert(ResponseDetails::UPSTREAM);
        }
        self.on_headers(stream, Direction::Response, headers, end);
    }

    /// Delivers a chunk of the response body. `end` is true for the last part of the response.
    pub fn response_body(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        self.on_event(stream, Direction::Response, |flow| flow.on_body(bytes, end));
    }

    /// Delivers the response trailers.
    pub fn response_trailers(&mut self, stream: StreamId, trailers: HeaderMap) {
        self.on_trailers(stream, Direction::Response, trailers);
    }

    /// The headers that `on_log` will read; `None` before they are forwarded. If the proxy, or a
    /// filter after this one, changes headers, the embedder applies the changes here.
    pub fn logged_headers(
        &mut self,
        stream: StreamId,
        direction: Direction,
    ) -> Option<&mut HeaderMap> {
        let contexts = &mut self.state().contexts;
        let slot = contexts.stream_slot(stream)?;
        let http = contexts.http(slot)?;
        let left = http.flow(direction).headers_left();
        left.then_some(&mut http.logged[direction.headers_index()])
    }

    /// Sets the details of a response that the upstream does not send, before the response is
    /// delivered, or the reason why a response will be incomplete. Without this call, responses
    /// have [`ResponseDetails::UPSTREAM`].
    pub fn response_details(&mut self, stream: StreamId, details: ResponseDetails) {
        let contexts = &mut self.state().contexts;
        let Some(slot) = contexts.stream_slot(stream) else { return };
        if let Some(http) = contexts.http(slot).filter(|http| !http.reset) {
            http.add_details(details);
        }
    }

    /// Ends the exchange, complete or not, and makes its final callbacks.
    pub fn close_http(&mut self, stream: StreamId) {
        let only_in_log = self.state().rules.logged_maps_only_in_log;
        let contexts = &mut self.state().contexts;
        let Some(slot) = contexts.stream_slot(stream) else { return };
        let Some(http) = contexts.http(slot).filter(|http| !http.closing) else { return };
        http.discard(Direction::Request);
        http.discard(Direction::Response);
        http.closing = true;
        http.shows_logged_maps = !only_in_log;
        self.end_http(slot);
        self.apply_actions();
    }

    fn on_headers(
        &mut self,
        stream: StreamId,
        direction: Direction,
        mut map: HeaderMap,
        end: bool,
    ) {
        let rules = self.state().rules;
        if rules.lower_case_names {
            map.lower_names();
        }
        let kind = match direction {
            Direction::Request => MapType::HttpRequestHeaders,
            Direction::Response => MapType::HttpResponseHeaders,
        };
        MapRules::of(rules.inline_headers, kind).normalize(&mut map);
        let contexts = &mut self.state().contexts;
        if direction == Direction::Request
            && let Some(http) = contexts.stream_slot(stream).and_then(|slot| contexts.http(slot))
            && !http.request.started()
        {
            http.request_kind = RequestKind::of(&map);
        }
        if direction == Direction::Response
            && let Some(http) = contexts.stream_slot(stream).and_then(|slot| contexts.http(slot))
            && !http.response.started()
        {
            http.status = map.text(":status").and_then(|status| status.parse().ok());
        }
        self.on_event(stream, direction, |flow| flow.on_headers(map, end));
    }

    fn on_trailers(&mut self, stream: StreamId, direction: Direction, mut map: HeaderMap) {
        let rules = self.state().rules;
        if rules.lower_case_names {
            map.lower_names();
        }
        let kind = match direction {
            Direction::Request => MapType::HttpRequestTrailers,
            Direction::Response => MapType::HttpResponseTrailers,
        };
        MapRules::of(rules.inline_headers, kind).normalize(&mut map);
        self.on_event(stream, direction, |flow| flow.on_trailers(map));
    }

    fn on_event(
        &mut self,
        stream: StreamId,
        direction: Direction,
        accept: impl FnOnce(&mut Flow) -> Option<Callback>,
    ) {
        let Some(slot) = self.state().contexts.stream_slot(stream) else { return };
        if self.fail_stream(slot) {
            return;
        }
        // After a local reply, a reset or a close, the flows of a stream accept nothing.
        let Some(http) = self.state().contexts.http(slot) else { return };
        let callback = accept(http.flow(direction));
        self.run_callbacks(slot, direction, callback);
        self.apply_actions();
    }

    /// Continues a direction that the guest paused.
    pub(super) fn continue_flow(&mut self, slot: u32, direction: Direction) {
        let http = self.http(slot);
        if http.reset || http.closing || !http.flow(direction).paused() {
            return;
        }
        if self.state().rules.continue_keeps_access {
            self.http(slot).keep_access(direction, true);
        }
        self.forward(slot, direction);
        let next = self.http(slot).flow(direction).next_callback();
        self.run_callbacks(slot, direction, next);
    }

    /// Forwards everything that the guest has received, and copies the headers for `on_log`.
    pub(super) fn forward(&mut self, slot: u32, direction: Direction) {
        let state = self.store.data_mut();
        let stream = StreamId { context: state.contexts.at(slot).id, slot };
        let (rules, now) = (state.rules, state.process.now());
        let (contexts, effects) = (&mut state.contexts, &mut state.effects);
        let Some(http) = contexts.http(slot) else { return };
        let Http { request, response, logged, .. } = http;
        let flow = match direction {
            Direction::Request => request,
            Direction::Response => response,
        };
        let index = direction.headers_index();
        flow.forward(|part| {
            match &part {
                Part::Headers { map, .. } => {
                    logged[index].clone_from(map);
                    if direction == Direction::Response && rules.adds_proxy_headers {
                        let upgraded = map.text(":status") == Some("101");
                        proxy_headers::finish_response(&mut logged[index], upgraded, now);
                    }
                }
                Part::Trailers(map) => logged[index + 1].clone_from(map),
                Part::Body { .. } => {}
            }
            effects.push(match direction {
                Direction::Request => Effect::Request { stream, part },
                Direction::Response => Effect::Response { stream, part },
            });
        });
    }

    /// Resets the exchange in both directions, once.
    pub(super) fn reset_stream(&mut self, slot: u32, cause: ResetCause) {
        let state = self.store.data_mut();
        let stream = StreamId { context: state.contexts.at(slot).id, slot };
        let Some(http) = state.contexts.http(slot) else { return };
        if http.reset || http.closing {
            return;
        }
        http.reset = true;
        let default_details = match cause {
            ResetCause::Trap => Some("wasm_fail_stream"),
            // The host call set them.
            ResetCause::Guest | ResetCause::LateReply | ResetCause::Overflow => None,
        };
        if let (None, Some(details)) = (&http.details, default_details) {
            http.add_details(ResponseDetails::new(details, 0));
        }
        http.discard(Direction::Request);
        http.discard(Direction::Response);
        state.effects.push(Effect::Reset { stream, cause });
    }

    /// After a trap, replies locally if the response has not begun, and otherwise resets the
    /// stream.
    pub(super) fn fail_http(&mut self, slot: u32) {
        let status = self.state().rules.trap_status;
        let http = self.http(slot);
        if http.reset || http.closing || http.response.finished() {
            return;
        }
        match status {
            Some(status) if !http.response.headers_left() => {
                let reply = LocalReply::new(status, "", "wasm_fail_stream");
                self.send_local_reply(slot, reply, ReplySource::Trap);
            }
            _ => self.reset_stream(slot, ResetCause::Trap),
        }
    }

    pub(super) fn http(&mut self, slot: u32) -> &mut Http {
        self.state().contexts.http(slot).expect("an exchange does not end during its callbacks")
    }
}
