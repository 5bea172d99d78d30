//! The request: which policy applies, which headers change, whether the body is buffered, and which
//! requests the filter replies to itself.

use std::sync::Arc;

use crate::admin::{self, AdminRequest, MAX_BODY};
use crate::buffering::{self, RequestBody};
use crate::cut::Cut;
use crate::drain::{Bound, Command, CommandOutcome, RecordError};
use crate::error_pages::ErrorContext;
use crate::grpc_health::{self, Method};
use crate::headers::Headers;
use crate::health::{self, HealthCheck};
use crate::host::{Direction, HeaderMap, Host, log_refusal, now_ms, property};
use crate::idle_timers::{IdleTimers, WaitsFor};
use crate::metrics::{General, PerRoute};
use crate::plugin_config::PluginConfig;
use crate::reason::Reason;
use crate::reply::LocalReply;
use crate::request::RequestView;
use crate::reserved_headers;
use crate::rules::Rules;
use crate::state::State;
use crate::vm::{StreamOwner, Vm};

use super::state::{Action, BodyState, Stream};

/// The decision on request headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestDecision<'r> {
    /// The position of the route; `None` selects the defaults.
    pub route: Option<usize>,
    /// The parts of the request that a later error reply needs.
    pub error_context: ErrorContext,
    /// The headers to remove.
    pub remove: Vec<String>,
    /// The headers to set.
    pub set: &'r [(&'static str, String)],
    /// Whether the body is buffered.
    pub buffers_body: bool,
    /// The local reply, if the request does not go to the upstream.
    pub reply: Option<LocalReply>,
}

/// Decides on request headers. `end_of_stream`: the request has no body.
pub fn decide_request<'r>(
    rules: &'r Rules,
    request: &RequestView<'_>,
    end_of_stream: bool,
) -> RequestDecision<'r> {
    let route = rules.match_route(request);
    let policy = rules.policy(route);
    let error_context = ErrorContext::new(request, rules.error_pages.as_ref());
    let set = policy.request_headers();
    let remove = if request.has_reserved_headers { reserved_in(request, set) } else { Vec::new() };
    let (buffers_body, reply) = match buffering::request_body(policy, request, end_of_stream) {
        RequestBody::Stream => (false, None),
        RequestBody::Buffer => (true, None),
        RequestBody::TooLarge { declared } => {
            let plain = || {
                let limit = policy.max_bytes;
                format!("the request body has {declared} bytes; at most {limit} are accepted\n")
            };
            let reason = Reason::BodyTooLarge;
            let reply = rules.error_reply(route, &error_context, reason, 413, plain);
            (false, Some(reply))
        }
    };
    RequestDecision { route, error_context, remove, set, buffers_body, reply }
}

/// The reserved headers of a request that the filter does not overwrite.
fn reserved_in(request: &RequestView<'_>, set: &[(&str, String)]) -> Vec<String> {
    let mut names = Vec::new();
    let fields = request.headers.iter().map(|(name, _)| name);
    for name in fields.filter(|name| reserved_headers::is_reserved(name)) {
        let name = String::from_utf8_lossy(name);
        if !set.iter().any(|(set, _)| *set == name) && !names.iter().any(|known| *known == name) {
            names.push(name.into_owned());
        }
    }
    names
}

impl Stream {
    /// The request headers arrived. `end_of_stream`: the request has no body.
    pub fn on_request_headers(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        end_of_stream: bool,
    ) -> Action {
        self.has_request = true;
        let Some(config) = self.config.clone() else { return Action::Continue };
        let headers = vm.read_headers(host, HeaderMap::Request);
        #[cfg(feature = "crash")]
        assert!(headers.values("x-crash").next().is_none(), "a test requests a crash");
        let action = self.handle_request(vm, host, &config, &headers, end_of_stream);
        vm.keep_headers(headers);
        action
    }

    fn handle_request(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        config: &Arc<PluginConfig>,
        headers: &Headers,
        end_of_stream: bool,
    ) -> Action {
        let rules = &config.rules;
        let mut request = RequestView::new(headers);
        self.connection = rules.drain.as_ref().and_then(|_| connection_id(host));
        if let Some(connection) = self.connection {
            vm.observe_connection(host, connection);
        }
        if self.is_for_filter(vm, host, config, &request, end_of_stream) {
            self.is_local_reply = true;
            return Action::Pause;
        }
        let route_name =
            rules.needs_route_name().then(|| property(host, &["xds", "route_name"])).flatten();
        let route_name = route_name.map(<[u8]>::to_vec);
        let policy = rules.needs_metadata_policy().then(|| metadata_policy(host)).flatten();
        request.route_name = route_name.as_deref();
        request.policy = policy.as_deref();

        let decision = decide_request(rules, &request, end_of_stream);
        self.route = decision.route;
        self.error_context = decision.error_context;
        self.is_connect = request.method == b"CONNECT";
        self.is_head = request.method == b"HEAD";
        self.requests_tunnel = request.opens_tunnel;
        self.buffers_request = decision.buffers_body;
        if self.buffers_request {
            self.request_body = BodyState::Buffering;
        }
        self.reason = decision.reply.as_ref().map(|_| Reason::BodyTooLarge);
        self.is_watch =
            rules.health.is_some() && Method::called_by(&request) == Some(Method::Watch);
        self.count_request(vm, config);
        self.report_request(host, config);
        if let Some(reply) = decision.reply {
            self.is_local_reply = true;
            self.reply_after_upload(vm, host, config, reply, request.content_length);
            return Action::Pause;
        }
        self.start_timer(vm, config, end_of_stream);
        for name in &decision.remove {
            let removed = host.remove_header(HeaderMap::Request, name);
            log_refusal(host, removed, name);
        }
        for (name, value) in decision.set {
            let set = host.set_header(HeaderMap::Request, name, value);
            log_refusal(host, set, name);
        }
        if self.may_learn_from_upload(rules, end_of_stream)
            && self.begins_to_hold(vm, Direction::Request)
        {
            return Action::Pause;
        }
        Action::Continue
    }

    /// Whether the upload can show if the host lets the filter hold headers, and the filter needs to
    /// know.
    fn may_learn_from_upload(&self, rules: &Rules, end_of_stream: bool) -> bool {
        let is_streamed = !end_of_stream && !self.requests_tunnel && !self.buffers_request;
        is_streamed && (rules.lingering.is_some() || self.policy(rules).holds_headers())
    }

    fn count_request(&mut self, vm: &mut Vm, config: &PluginConfig) {
        let slot = config.slot(self.route);
        self.is_counted = true;
        self.is_in_flight = !self.is_watch;
        if self.is_watch {
            vm.health_watches.add(self.context);
        } else {
            vm.in_flight += 1;
            let connection = self.connection;
            self.open = connection.map(|connection| vm.open_streams.add(connection, slot));
        }
        vm.metrics.count(slot, PerRoute::Requests);
        if let Some(reason) = self.reason {
            vm.metrics.count_failure(slot, reason);
        }
        if self.buffers_request {
            vm.metrics.count(slot, PerRoute::RequestBuffered);
        }
    }

    fn start_timer(&mut self, vm: &mut Vm, config: &Arc<PluginConfig>, end_of_stream: bool) {
        let policy = self.policy(&config.rules);
        if !policy.watches_streams() {
            return;
        }
        let waits_for = match self.request_body {
            BodyState::Buffering => WaitsFor::Buffering,
            BodyState::Streaming if end_of_stream || self.requests_tunnel => WaitsFor::Response,
            BodyState::Streaming => WaitsFor::Upload,
        };
        let owner = StreamOwner {
            config: config.clone(),
            route: self.route,
            error_context: self.error_context.clone(),
        };
        let timers = vm.timers.of_mut(self.plugin);
        let timer = timers.start(self.context, policy.idle_timeouts, waits_for, owner);
        self.timer = Some(timer);
        if policy.event_timeouts.any() {
            timers.watch_events(timer, policy.event_timeouts, waits_for);
        }
        if let Some(connection) = self.connection
            && policy.bound.as_ref().is_some_and(Bound::is_firm)
        {
            timers.allow_cut(timer, Cut::new(connection, timers.next_tick_ms()));
        }
    }

    /// Handles a health check or an admin request. Returns true if the request is one of them; the
    /// filter has then replied or awaits the body.
    fn is_for_filter(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        config: &PluginConfig,
        request: &RequestView<'_>,
        end_of_stream: bool,
    ) -> bool {
        let rules = &config.rules;
        let reply = match health::check(rules, &vm.drain, request, || now_ms(host)) {
            Some(HealthCheck::Http(status)) => {
                with_state(vm, host, config, false, |state, _| health::reply(status, state))
            }
            Some(HealthCheck::Grpc(method, status)) => {
                let reply = grpc_health::reply(method, status);
                self.grpc_health = reply.needs_grpc_body.then_some(status);
                reply
            }
            None => match admin::parse(rules, request, end_of_stream) {
                None => return false,
                Some(AdminRequest::ReadState) => {
                    with_state(vm, host, config, true, admin::state_reply)
                }
                Some(AdminRequest::Command(command)) => apply(vm, host, config, command),
                Some(AdminRequest::TooLarge) => admin::too_large_reply(),
                Some(AdminRequest::AwaitBody) => {
                    self.await_command(vm, host);
                    return true;
                }
            },
        };
        if end_of_stream || request.opens_tunnel {
            send(host, &reply);
        } else {
            self.reply_after_upload(vm, host, config, reply, request.content_length);
        }
        true
    }

    /// A chunk or the end of the request body arrived. `buffered` bytes are in the host's buffer.
    pub fn on_request_body(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        buffered: usize,
        end_of_stream: bool,
    ) -> Action {
        let Some(config) = self.config.clone() else { return Action::Continue };
        if let Some(awaited) = self.awaited {
            return self.on_awaited_body(vm, host, &config, awaited, buffered, end_of_stream);
        }
        self.learn_about_holding(vm, host, Direction::Request);
        let max_bytes = self.policy(&config.rules).max_bytes;
        let action = self.request_body.chunk(max_bytes, buffered, end_of_stream);
        // Envoy begins the body of an upgrade with an empty chunk, long before its client may send
        // anything.
        if action == Action::Continue && (buffered > 0 || end_of_stream) {
            self.with_timer(vm, |timers, timer| match end_of_stream {
                true => timers.upload_complete(timer),
                false => timers.upload_chunk(timer),
            });
        }
        action
    }

    /// The trailers of the request arrived, and with them its end.
    pub fn on_request_trailers(&mut self, vm: &mut Vm, host: &mut impl Host) -> Action {
        let Some(config) = self.config.clone() else { return Action::Continue };
        if let Some(awaited) = self.awaited {
            self.on_awaited_body(vm, host, &config, awaited, MAX_BODY, true);
            return Action::Pause;
        }
        self.learn_about_holding(vm, host, Direction::Request);
        self.with_timer(vm, IdleTimers::upload_complete);
        Action::Continue
    }
}

/// Applies a command and returns the reply to it.
pub(super) fn apply(
    vm: &mut Vm,
    host: &mut impl Host,
    config: &PluginConfig,
    command: Result<Command, RecordError>,
) -> LocalReply {
    let rules = &config.rules;
    let command = match command {
        Ok(command) => command,
        Err(error) => return admin::invalid_reply(&error),
    };
    let outcome = match rules.unknown_route(command.routes.as_deref()) {
        Some(name) => CommandOutcome::UnknownRoute(name.to_owned()),
        None => vm.apply_command(host, &command, rules),
    };
    if outcome == CommandOutcome::InForce {
        vm.metrics.add(General::AdminCommands, 1);
    }
    let reply = |state: &State<'_>, closed| admin::command_reply(&outcome, state, closed);
    with_state(vm, host, config, true, reply)
}

fn with_state<H: Host>(
    vm: &mut Vm,
    host: &mut H,
    config: &PluginConfig,
    is_full: bool,
    reply: impl FnOnce(&State<'_>, u64) -> LocalReply,
) -> LocalReply {
    let tick_ms = config.rules.refresh().as_millis();
    vm.with_state(host, &config.instance, tick_ms, is_full, reply)
}

pub(super) fn send(host: &mut impl Host, reply: &LocalReply) {
    let sent = reply.send(host);
    log_refusal(host, sent, "local reply");
}

/// Envoy's connection ids have 8 bytes, least significant first. If a host has no connection ids,
/// drains close no connection.
pub(super) fn connection_id(host: &mut impl Host) -> Option<u64> {
    Some(u64::from_le_bytes(property(host, &["connection", "id"])?.try_into().ok()?))
}

/// The policy in the metadata of the proxy's route, or else of its virtual host.
fn metadata_policy(host: &mut impl Host) -> Option<Vec<u8>> {
    let mut of = |part: &str| {
        property(host, &["xds", part, "filter_metadata", "sluice", "policy"]).map(<[u8]>::to_vec)
    };
    of("route_metadata").or_else(|| of("virtual_host_metadata"))
}
