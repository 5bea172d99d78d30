//! HTTP exchanges: what arrives, what the guest is asked, what leaves.

use super::Vm;
use super::run::Broken;
use crate::context::{Http, Kind};
use crate::details::ResponseDetails;
use crate::effect::{Direction, Effect, Part, ReplySource, ResetCause};
use crate::flow::{Ask, Flow};
use crate::headers::HeaderMap;
use crate::local_reply::LocalReply;
use crate::stream::{PluginId, StreamId, StreamInfo};

impl Vm {
    /// Opens an HTTP stream of a plugin. From a plugin that has ended comes a stream that has ended.
    pub fn open_http(&mut self, plugin: PluginId, info: StreamInfo) -> StreamId {
        let state = self.state();
        let opened = state.process.now();
        let http = state.contexts.new_http(info, opened);
        self.open_stream(plugin, Kind::Http(http))
    }

    /// The request's headers arrived; `end` if it has neither body nor trailers.
    pub fn request_headers(&mut self, stream: StreamId, headers: HeaderMap, end: bool) {
        self.headers(stream, Direction::Request, headers, end);
    }

    /// A piece of the request's body arrived.
    pub fn request_body(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        self.arrive(stream, Direction::Request, |flow| flow.body(bytes, end));
    }

    /// The request's trailers arrived.
    pub fn request_trailers(&mut self, stream: StreamId, trailers: HeaderMap) {
        self.trailers(stream, Direction::Request, trailers);
    }

    /// The final response's headers arrived (1xx responses do not go through filters).
    pub fn response_headers(&mut self, stream: StreamId, headers: HeaderMap, end: bool) {
        let contexts = &mut self.state().contexts;
        if let Some(http) = contexts.stream_slot(stream).and_then(|slot| contexts.http(slot)) {
            http.details.get_or_insert(ResponseDetails::UPSTREAM);
        }
        self.headers(stream, Direction::Response, headers, end);
    }

    /// A piece of the response's body arrived.
    pub fn response_body(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        self.arrive(stream, Direction::Response, |flow| flow.body(bytes, end));
    }

    /// The response's trailers arrived.
    pub fn response_trailers(&mut self, stream: StreamId, trailers: HeaderMap) {
        self.trailers(stream, Direction::Response, trailers);
    }

    /// The response headers as `on_log` will see them, once they have left. An embedder whose later
    /// filters change headers changes them here as well.
    pub fn logged_response_headers(&mut self, stream: StreamId) -> Option<&mut HeaderMap> {
        let contexts = &mut self.state().contexts;
        let slot = contexts.stream_slot(stream)?;
        let http = contexts.http(slot)?;
        http.response.headers_left().then_some(&mut http.logged[2])
    }

    /// Who answers the exchange in the upstream's place, before that answer arrives, or why it is about to
    /// break off. Without this, the upstream answers.
    pub fn response_details(&mut self, stream: StreamId, details: ResponseDetails) {
        let contexts = &mut self.state().contexts;
        let Some(slot) = contexts.stream_slot(stream) else { return };
        if let Some(http) = contexts.http(slot).filter(|http| !http.cut) {
            http.explain(details);
        }
    }

    /// The exchange is over, however it went: last callbacks in the profile's order.
    pub fn close_http(&mut self, stream: StreamId) {
        let contexts = &mut self.state().contexts;
        let Some(slot) = contexts.stream_slot(stream) else { return };
        let Some(http) = contexts.http(slot).filter(|http| !http.closing) else { return };
        http.abandon(Direction::Request);
        http.abandon(Direction::Response);
        http.closing = true;
        self.end_http(slot);
        self.settle();
    }

    fn headers(&mut self, stream: StreamId, direction: Direction, mut map: HeaderMap, end: bool) {
        if self.state().rules.lower_case_names {
            map.lower_names();
        }
        self.arrive(stream, direction, |flow| flow.headers(map, end));
    }

    fn trailers(&mut self, stream: StreamId, direction: Direction, mut map: HeaderMap) {
        if self.state().rules.lower_case_names {
            map.lower_names();
        }
        self.arrive(stream, direction, |flow| flow.trailers(map));
    }

    /// Something arrived for an exchange.
    fn arrive(
        &mut self,
        stream: StreamId,
        direction: Direction,
        take: impl FnOnce(&mut Flow) -> Option<Ask>,
    ) {
        let Some(slot) = self.state().contexts.stream_slot(stream) else { return };
        if self.doom(slot) {
            return;
        }
        // An exchange that was answered here, cut or closed has flows that take nothing more.
        let Some(http) = self.state().contexts.http(slot) else { return };
        let ask = take(http.flow(direction));
        self.drive(slot, direction, ask);
        self.settle();
    }

    /// Asks the guest about one thing after the other, until it holds something or nothing is left.
    pub(super) fn drive(&mut self, slot: u32, direction: Direction, mut ask: Option<Ask>) {
        let limit = self.state().rules.body_limit.unwrap_or(usize::MAX);
        while let Some(asked) = ask {
            let flow = self.http(slot).flow(direction);
            if flow.paused() && flow.held() > limit {
                return self.overflow(slot, direction);
            }
            let holds = match self.ask(slot, direction, asked) {
                Ok(answer) => answer.is_some_and(|action| action != 0),
                Err(Broken) if self.doom(slot) => return,
                Err(Broken) => false,
            };
            let pending = &self.state().contexts.at(slot).pending;
            if pending.reset || pending.reply.is_some() {
                return;
            }
            if !holds {
                self.release(slot, direction);
            } else {
                let stops = matches!(asked, Ask::Headers { .. }) && self.headers_stop_all(slot);
                let flow = self.http(slot).flow(direction);
                flow.hold(stops);
                if flow.held() > limit {
                    return self.overflow(slot, direction);
                }
            }
            ask = self.http(slot).flow(direction).next();
        }
    }

    /// The guest continues a direction that it held.
    pub(super) fn resume(&mut self, slot: u32, direction: Direction) {
        let http = self.http(slot);
        if http.cut || http.closing || !http.flow(direction).paused() {
            return;
        }
        self.release(slot, direction);
        let ask = self.http(slot).flow(direction).next();
        self.drive(slot, direction, ask);
    }

    /// Lets everything leave that the guest has seen.
    pub(super) fn release(&mut self, slot: u32, direction: Direction) {
        let state = self.store.data_mut();
        let stream = StreamId { context: state.contexts.at(slot).id, slot };
        let (contexts, effects) = (&mut state.contexts, &mut state.effects);
        let Some(http) = contexts.http(slot) else { return };
        let Http { request, response, logged, .. } = http;
        let flow = match direction {
            Direction::Request => request,
            Direction::Response => response,
        };
        let index = direction.headers_index();
        flow.release(|part| {
            match &part {
                Part::Headers { map, .. } => logged[index].clone_from(map),
                Part::Trailers(map) => logged[index + 1].clone_from(map),
                Part::Body { .. } => {}
            }
            effects.push(match direction {
                Direction::Request => Effect::Request { stream, part },
                Direction::Response => Effect::Response { stream, part },
            });
        });
    }

    /// Cuts the exchange in both directions, once.
    pub(super) fn cut(&mut self, slot: u32, cause: ResetCause) {
        let state = self.store.data_mut();
        let stream = StreamId { context: state.contexts.at(slot).id, slot };
        let Some(http) = state.contexts.http(slot) else { return };
        if http.cut || http.closing {
            return;
        }
        http.cut = true;
        let nobody_said_why = match cause {
            ResetCause::Guest => Some("wasm_close_stream"),
            ResetCause::Trap => Some("wasm_fail_stream"),
            ResetCause::LateReply | ResetCause::Overflow => None,
        };
        if let (None, Some(why)) = (&http.details, nobody_said_why) {
            http.explain(ResponseDetails::new(why, 0));
        }
        http.abandon(Direction::Request);
        http.abandon(Direction::Response);
        state.effects.push(Effect::Reset { stream, cause });
    }

    /// After a trap: a response that has not begun is replaced, one that has is cut.
    pub(super) fn doom_http(&mut self, slot: u32) {
        let status = self.state().rules.trap_status;
        let http = self.http(slot);
        if http.cut || http.closing || http.response.finished() {
            return;
        }
        match status {
            Some(status) if !http.response.headers_left() => {
                let reply = LocalReply::new(status, "", "wasm_fail_stream");
                self.reply(slot, reply, ReplySource::Trap);
            }
            _ => self.cut(slot, ResetCause::Trap),
        }
    }

    fn ask(&mut self, slot: u32, direction: Direction, ask: Ask) -> Result<Option<u32>, Broken> {
        use Direction::{Request, Response};
        let id = self.state().contexts.at(slot).id;
        match (ask, direction) {
            (Ask::Headers { count, end }, Request) => self.enter(
                slot,
                "proxy_on_request_headers",
                |exports| &exports.on_request_headers,
                (id, count, end.into()),
            ),
            (Ask::Body { size, end }, Request) => self.enter(
                slot,
                "proxy_on_request_body",
                |exports| &exports.on_request_body,
                (id, size, end.into()),
            ),
            (Ask::Trailers { count }, Request) => self.enter(
                slot,
                "proxy_on_request_trailers",
                |exports| &exports.on_request_trailers,
                (id, count),
            ),
            (Ask::Headers { count, end }, Response) => self.enter(
                slot,
                "proxy_on_response_headers",
                |exports| &exports.on_response_headers,
                (id, count, end.into()),
            ),
            (Ask::Body { size, end }, Response) => self.enter(
                slot,
                "proxy_on_response_body",
                |exports| &exports.on_response_body,
                (id, size, end.into()),
            ),
            (Ask::Trailers { count }, Response) => self.enter(
                slot,
                "proxy_on_response_trailers",
                |exports| &exports.on_response_trailers,
                (id, count),
            ),
        }
    }

    /// Whether headers that this stream's guest holds stop everything behind them as well.
    fn headers_stop_all(&mut self, slot: u32) -> bool {
        let state = self.state();
        let plugin = state.contexts.plugin(state.contexts.at(slot).plugin);
        let allowed = plugin.is_some_and(|plugin| plugin.options.allow_on_headers_stop_iteration);
        state.rules.headers_pause_holds_body && !allowed
    }

    /// The exchange in a slot that is known to hold one.
    pub(super) fn http(&mut self, slot: u32) -> &mut Http {
        self.state()
            .contexts
            .http(slot)
            .expect("only exchanges are driven, and none ends meanwhile")
    }
}
