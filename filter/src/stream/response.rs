//! Decides on a response: whether it is a local reply, whether it is buffered, whether it closes
//! its connection, and whether a drain may end it.

use crate::boundary::Framing;
use crate::buffering::{self, ACCEL, ResponseView};
use crate::config::BufferingMode;
use crate::cut::{ChunkPart, Cut};
use crate::decision::ResponseDecision;
use crate::drain::Bound;
use crate::error_pages::Failure;
use crate::grpc_health::ServingStatus;
use crate::host::{
    Buffer, Direction, HeaderMap, Host, log_refusal, now_ms, parse_status, property,
};
use crate::idle_timers::{IdleTimers, ResponseKind, TimerId};
use crate::metrics::{General, PerRoute};
use crate::plugin_config::PluginConfig;
use crate::reason::Reason;
use crate::reply::LocalReply;
use crate::reserved_headers::{GRPC_MARKER, MARKER};
use crate::rules::Rules;
use crate::vm::{StreamOwner, Vm};
use crate::waiting::StreamKind;

use super::request::send;
use super::state::{Action, BodyState, Events, Stream};

impl Stream {
    /// The response headers arrived. `end_of_stream`: the response has no body.
    pub fn on_response_headers(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        end_of_stream: bool,
    ) -> Action {
        let Some(config) = self.config.clone() else { return Action::Continue };
        if let Some(page) = self.replace_error_body(vm, host, &config, end_of_stream) {
            send(host, &page);
            return Action::Pause;
        }
        self.prepare_grpc_message(vm, host, end_of_stream);
        let rules = &config.rules;
        let is_due = self.connection.is_some_and(|connection| {
            let route = self.route.and_then(|index| rules.route_name(index));
            vm.drain.closes(connection, route, || now_ms(host))
        });
        let closes = is_due && (config.uses_marker || is_http_1(host));
        let (decision, has_length) = if self.needs_response_headers(rules, closes) {
            let headers = vm.read_headers(host, HeaderMap::Response);
            let view = ResponseView::new(&headers);
            let decision = (!view.is_interim())
                .then(|| self.decide_response(rules, Some(&view), end_of_stream, closes));
            let has_length = view.has_content_length;
            vm.keep_headers(headers);
            (decision, Some(has_length))
        } else {
            (Some(self.decide_response(rules, None, end_of_stream, closes)), None)
        };
        let Some(mut decision) = decision else { return Action::Continue };
        decision.holds_headers =
            decision.holds_headers && self.begins_to_hold(vm, Direction::Response);
        self.response_body =
            if decision.buffer { BodyState::Buffering } else { BodyState::Streaming };
        self.is_complete = end_of_stream;
        self.is_tunnel = decision.tunnel;
        self.events = decision.events.map(|framing| Box::new(Events::new(framing)));
        if let Some(open) = self.open {
            let is_grpc = self.error_context.is_grpc;
            let kind = StreamKind::of_response(decision.cut, self.requests_tunnel, is_grpc);
            vm.open_streams.set_kind(open, kind);
        }
        let has_length = || has_length.unwrap_or_else(|| has_content_length(host));
        self.update_timer(vm, has_length, rules, &decision, end_of_stream);
        self.change_headers(host, &config, &decision);
        self.count_response(vm, &config, &decision);
        self.report_response(vm, host, &config, decision);
        if decision.holds_headers { Action::Pause } else { Action::Continue }
    }

    /// Replaces the reply to a gRPC health check with its message, if the gRPC bridge has added a
    /// body to the reply.
    fn prepare_grpc_message(&mut self, vm: &mut Vm, host: &mut impl Host, end_of_stream: bool) {
        let Some(status) = self.grpc_health else { return };
        let mut remove = |name| {
            let removed = host.remove_header(HeaderMap::Response, name);
            log_refusal(host, removed, name);
        };
        remove(GRPC_MARKER);
        if !end_of_stream {
            // They describe the replaced body, or belong in the trailers.
            ["content-length", "grpc-status", "grpc-message"].into_iter().for_each(remove);
            self.page = Some(status.message().to_owned());
            self.adds_grpc_trailers = true;
        } else if status == ServingStatus::Serving {
            vm.report_missing_grpc_bridge(host);
        }
    }

    /// Whether a decision depends on the response headers. `closes`: the connection is due to
    /// close.
    fn needs_response_headers(&self, rules: &Rules, closes: bool) -> bool {
        let policy = self.policy(rules);
        let may_buffer =
            matches!(policy.response_buffering, Some(BufferingMode::On | BufferingMode::Auto));
        let may_be_tunnel =
            self.requests_tunnel && (policy.idle_timeouts.any() || rules.wants_failure_reason());
        let may_be_cut = self.bound(rules).is_some();
        let has_events = policy.event_timeouts.any();
        closes
            || (!self.is_local_reply && (may_buffer || may_be_tunnel || may_be_cut || has_events))
    }

    /// How long the stream may last in a drain. If the host has no connection ids, a drain ends no
    /// stream.
    fn bound<'r>(&self, rules: &'r Rules) -> Option<&'r Bound> {
        self.policy(rules).bound.as_ref().filter(|_| self.connection.is_some())
    }

    /// The boundaries at which a drain may end the response; `None` if it ends on its own.
    fn cut_framing(
        &self,
        rules: &Rules,
        upstream: Option<&ResponseView<'_>>,
        end_of_stream: bool,
    ) -> Option<Framing> {
        let bound = self.bound(rules).filter(|_| !end_of_stream)?;
        let framing = upstream.map_or(Framing::Opaque, buffering::framing);
        let has_length = upstream.is_some_and(|view| view.has_content_length);
        (bound.is_firm() || (bound.applies_to(framing) && !has_length)).then_some(framing)
    }

    /// `view` is `None` if no decision depends on the headers.
    fn decide_response(
        &self,
        rules: &Rules,
        view: Option<&ResponseView<'_>>,
        end_of_stream: bool,
        closes: bool,
    ) -> ResponseDecision {
        let policy = self.policy(rules);
        let tunnel = view.is_some_and(|view| self.opens_tunnel(view));
        // A tunnel or an upgraded connection has only begun with its response.
        let completes = view.is_some_and(|view| view.status >= 200) && !tunnel;
        let upstream = view.filter(|_| !self.is_local_reply);
        let has_no_body = self.is_head || self.is_connect || end_of_stream;
        let buffer =
            upstream.is_some_and(|view| buffering::buffers_response(policy, view, has_no_body));
        let has_events = policy.event_timeouts.any() && !has_no_body && !tunnel;
        // A body that arrives as a whole is not divided.
        let framing = |view| if buffer { Framing::Opaque } else { buffering::framing(view) };
        let events = upstream.filter(|_| has_events).map(framing);
        ResponseDecision {
            disable_buffering: !self.is_local_reply
                && policy.response_buffering == Some(BufferingMode::Off),
            // If the headers were not read, removing a missing marker costs less than reading.
            remove_marker: rules.drain.is_some() && view.is_none_or(|view| view.has_drain_marker),
            close: closes && completes,
            buffer,
            tunnel,
            cut: self.cut_framing(rules, upstream, end_of_stream),
            events,
            holds_headers: policy.holds_headers() && events.is_some(),
        }
    }

    fn opens_tunnel(&self, view: &ResponseView<'_>) -> bool {
        view.status == 101 || (self.is_connect && (200..300).contains(&view.status))
    }

    /// Replaces the body of an error of the filter or the proxy with the operator's page, if there
    /// is one. If the response has no body to replace, returns the page, to be sent as a local
    /// reply.
    fn replace_error_body(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        config: &PluginConfig,
        end_of_stream: bool,
    ) -> Option<LocalReply> {
        if let Some(reason) = self.timer_reason(vm) {
            self.reason = Some(reason);
            self.is_local_reply = true;
        }
        if self.is_local_reply || !config.rules.wants_failure_reason() {
            return None;
        }
        let status = host.header(HeaderMap::Response, ":status").ok().flatten();
        let status = status.and_then(parse_status);
        // In Envoy, the status costs a third of the details, and most responses have not failed. A
        // gRPC request fails with the status 200.
        let may_have_failed =
            self.error_context.is_grpc || status.is_none_or(|status| status >= 400);
        self.reason = may_have_failed.then(|| Self::proxy_reason(host)).flatten();
        let reason = self.reason?;
        self.count_failure(vm, config, reason);
        let status = status?;
        self.is_local_reply = true;
        let page = self.proxy_error_page(&config.rules, reason, status)?;
        if end_of_stream && !self.is_head {
            return Some(page);
        }
        // A compressor between the proxy's reply and this filter prepared the headers for the
        // replaced body.
        let removed = host.remove_header(HeaderMap::Response, "content-encoding");
        log_refusal(host, removed, "content-encoding");
        set_response_header(host, "content-type", &page.content_type);
        set_response_header(host, "content-length", &page.body.len().to_string());
        self.page = Some(page.body);
        None
    }

    /// The page for an error of the proxy. The proxy's own reply already fits a gRPC client.
    fn proxy_error_page(&self, rules: &Rules, reason: Reason, status: u16) -> Option<LocalReply> {
        if self.error_context.is_grpc {
            return None;
        }
        let failure = Failure { reason, status, route: rules.metric_name(self.route) };
        rules.error_pages.as_ref()?.page(&failure, &self.error_context)
    }

    fn update_timer(
        &self,
        vm: &mut Vm,
        has_length: impl FnOnce() -> bool,
        rules: &Rules,
        decision: &ResponseDecision,
        end_of_stream: bool,
    ) {
        if self.timer.is_none() {
            return;
        }
        // While the filter buffers the body, the upstream does not wait for the client.
        let kind = if decision.tunnel {
            ResponseKind::Tunnel
        } else if !end_of_stream && !decision.buffer && has_length() {
            ResponseKind::Sized(self.policy(rules).max_bytes)
        } else {
            ResponseKind::Unbounded
        };
        self.with_timer(vm, |timers, timer| {
            timers.response_started(timer, kind);
            timers.hold_headers(timer, decision.holds_headers);
            // While the headers are held, a drain treats the response as not begun.
            if !decision.holds_headers {
                self.start_cut(timers, timer, decision.cut);
            }
            if end_of_stream {
                timers.response_complete(timer);
            }
        });
    }

    fn change_headers(
        &mut self,
        host: &mut impl Host,
        config: &PluginConfig,
        decision: &ResponseDecision,
    ) {
        if decision.disable_buffering {
            set_response_header(host, ACCEL, "no");
        }
        if decision.remove_marker {
            let removed = host.remove_header(HeaderMap::Response, MARKER);
            log_refusal(host, removed, MARKER);
        }
        if decision.close {
            self.has_marker = config.uses_marker;
            let name = if config.uses_marker { MARKER } else { "connection" };
            set_response_header(host, name, "close");
        }
    }

    fn count_response(&self, vm: &mut Vm, config: &PluginConfig, decision: &ResponseDecision) {
        let slot = config.slot(self.route);
        // Admin and health requests are not counted: reading the state of a drain must not change
        // it.
        if decision.close && self.is_counted {
            vm.metrics.add(General::DrainClosed, 1);
            vm.metrics.count(slot, PerRoute::DrainClosed);
        }
        if decision.buffer {
            vm.metrics.count(slot, PerRoute::Buffered);
        }
    }

    /// A chunk or the end of the response body arrived. `buffered` bytes are in the host's buffer.
    pub fn on_response_body(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        buffered: usize,
        end_of_stream: bool,
    ) -> Action {
        let Some(config) = self.config.clone() else { return Action::Continue };
        if let Some(page) = &mut self.page {
            // The page replaces the first chunk; every later chunk is emptied.
            let page = std::mem::take(page);
            replace_response_body(host, buffered, page.as_bytes());
        }
        if end_of_stream && self.adds_grpc_trailers {
            let added = host.set_header(HeaderMap::ResponseTrailers, "grpc-status", "0");
            log_refusal(host, added, "response trailers");
        }
        self.learn_about_holding(vm, host, Direction::Response);
        self.read_events(vm, host, &config, buffered);
        if self.keeps_headers(vm, &config, buffered, end_of_stream) {
            self.with_timer(vm, |timers, timer| timers.response_chunk(timer, 0));
            return Action::Pause;
        }
        self.forward_headers(vm);
        if self.cut_chunk(vm, host, &config, buffered, end_of_stream) == Action::Pause {
            return Action::Pause;
        }
        self.is_complete = end_of_stream;
        self.with_timer(vm, |timers, timer| match end_of_stream {
            true => timers.response_complete(timer),
            false => timers.response_chunk(timer, buffered),
        });
        let max_bytes = self.policy(&config.rules).max_bytes;
        let action = self.response_body.chunk(max_bytes, buffered, end_of_stream);
        if let Some(events) = &mut self.events {
            events.kept_bytes = if action == Action::Pause { buffered } else { 0 };
        }
        action
    }

    /// Reads the events in a chunk, if timeouts count them. `buffered` includes the bytes of earlier
    /// chunks that the host keeps.
    fn read_events(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        config: &PluginConfig,
        buffered: usize,
    ) {
        let policy = config.rules.policy(self.route);
        let Some(events) = &mut self.events else { return };
        let start = std::mem::replace(&mut events.kept_bytes, buffered);
        let size = buffered.saturating_sub(start);
        let has_event = match events.reader.needs_bytes() && size > 0 {
            false => size > 0,
            true => match host.buffer(Buffer::ResponseBody, start, size) {
                Ok(chunk) => events.reader.read(chunk, |name| policy.ignores_event(name)),
                Err(_) => true,
            },
        };
        if has_event {
            events.has_event = true;
            self.with_timer(vm, IdleTimers::event_arrived);
        }
    }

    /// Whether the headers stay held: no event has arrived, or the filter buffers the body. A body
    /// that exceeds `max_bytes` is not held, because the host could lose it.
    fn keeps_headers(
        &self,
        vm: &mut Vm,
        config: &PluginConfig,
        buffered: usize,
        end_of_stream: bool,
    ) -> bool {
        let Some(events) = &self.events else { return false };
        let max_bytes = self.policy(&config.rules).max_bytes;
        let waits = !events.has_event || self.response_body == BodyState::Buffering;
        waits
            && !end_of_stream
            && u64::try_from(buffered).is_ok_and(|buffered| buffered <= max_bytes)
            && self.with_timer(vm, |timers, timer| timers.holds_headers(timer)) == Some(true)
    }

    /// The headers are forwarded, if they were held.
    fn forward_headers(&self, vm: &mut Vm) {
        if self.response.is_none_or(|response| !response.holds_headers) {
            return;
        }
        let framing = self.response.and_then(|response| response.cut);
        self.with_timer(vm, |timers, timer| {
            timers.hold_headers(timer, false);
            self.start_cut(timers, timer, framing);
        });
    }

    /// Lets a drain end the response, once its headers are forwarded.
    fn start_cut(
        &self,
        timers: &mut IdleTimers<StreamOwner>,
        timer: TimerId,
        framing: Option<Framing>,
    ) {
        let Some((framing, connection)) = framing.zip(self.connection) else { return };
        if timers.cut_mut(timer).is_none() {
            timers.allow_cut(timer, Cut::new(connection, timers.next_tick_ms()));
        }
        if let Some(cut) = timers.cut_mut(timer).filter(|cut| !cut.has_response()) {
            cut.response_started(framing);
        }
    }

    /// Forwards only a part of a chunk if a drain cuts the stream in it. Returns `Pause` only for
    /// the end of a cut body: a client that received the end would take the response for complete.
    fn cut_chunk(
        &self,
        vm: &mut Vm,
        host: &mut impl Host,
        config: &PluginConfig,
        buffered: usize,
        end_of_stream: bool,
    ) -> Action {
        let Some(bound) = self.policy(&config.rules).bound.as_ref() else {
            return Action::Continue;
        };
        let needed = self.with_timer(vm, |timers, timer| {
            let cut = timers.cut_mut(timer)?;
            (!end_of_stream || cut.is_ending()).then(|| cut.needed_bytes(buffered))
        });
        let Some(Some(needed)) = needed else { return Action::Continue };
        let end = match needed {
            0 => Ok(&[][..]),
            _ => host.buffer(Buffer::ResponseBody, buffered - needed, needed),
        };
        let end = end.unwrap_or_default();
        let part = self.with_timer(vm, |timers, timer| {
            let cut = timers.cut_mut(timer)?;
            Some((cut.chunk(end, buffered, bound), cut.has_broken()))
        });
        let Some(Some((part, has_broken))) = part else { return Action::Continue };
        if let ChunkPart::First(size, last) = part {
            let mut first = end[..size.min(end.len())].to_vec();
            first.extend_from_slice(&last);
            replace_response_body(host, buffered, &first);
        }
        if has_broken {
            vm.metrics.add(General::BrokenFraming, 1);
        }
        if end_of_stream { Action::Pause } else { Action::Continue }
    }

    /// The trailers of the response arrived, and with them its end.
    pub fn on_response_trailers(&mut self, vm: &mut Vm) -> Action {
        if self.config.is_none() {
            return Action::Continue;
        }
        let is_ending = self.with_timer(vm, |timers, timer| {
            timers.cut_mut(timer).is_some_and(|cut| cut.is_ending())
        });
        if is_ending == Some(true) {
            return Action::Pause;
        }
        self.is_complete = true;
        self.with_timer(vm, IdleTimers::response_complete);
        Action::Continue
    }
}

fn set_response_header(host: &mut impl Host, name: &str, value: &str) {
    let set = host.set_header(HeaderMap::Response, name, value);
    log_refusal(host, set, name);
}

fn replace_response_body(host: &mut impl Host, size: usize, body: &[u8]) {
    let replaced = host.replace_buffer(Buffer::ResponseBody, size, body);
    log_refusal(host, replaced, "response body");
}

/// `connection` is a header of HTTP/1.x. Later versions forbid it.
fn is_http_1(host: &mut impl Host) -> bool {
    property(host, &["request", "protocol"]).is_some_and(|protocol| protocol.starts_with(b"HTTP/1"))
}

fn has_content_length(host: &mut impl Host) -> bool {
    matches!(host.header(HeaderMap::Response, "content-length"), Ok(Some(_)))
}
