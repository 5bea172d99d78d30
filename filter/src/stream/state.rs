//! The type of a stream, and the state that its callbacks share.

use std::sync::Arc;

use crate::boundary::Framing;
use crate::decision::ResponseDecision;
use crate::error_pages::ErrorContext;
use crate::events::EventReader;
use crate::grpc_health::ServingStatus;
use crate::holding::Finding;
use crate::host::{Direction, Host, property};
use crate::idle_timers::{IdleTimers, TimerId};
use crate::plugin_config::PluginConfig;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::rules::Rules;
use crate::vm::{PluginId, StreamOwner, Vm};
use crate::waiting::OpenId;

/// Whether the host forwards the headers, chunk or trailers of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Forwards them, and everything that was buffered before.
    Continue,
    /// Does not forward them. A body is buffered.
    Pause,
    /// Does not forward a chunk, and forgets it. The host then needs no room for it in its buffer.
    Discard,
}

/// One request and its response.
#[derive(Debug)]
pub struct Stream {
    pub(super) context: u32,
    pub(super) plugin: PluginId,
    /// `None` before the first configuration was accepted: the stream passes unchanged.
    pub(super) config: Option<Arc<PluginConfig>>,

    /// Whether its request headers reached the filter. If not, the proxy or an earlier filter
    /// replied, and [`on_log`](Self::on_log) is the only callback.
    pub(super) has_request: bool,
    pub(super) route: Option<usize>,
    pub(super) error_context: ErrorContext,
    /// The id of the client's connection, if the configuration takes part in drains.
    pub(super) connection: Option<u64>,
    pub(super) is_connect: bool,
    pub(super) is_head: bool,
    /// Whether the request opens a tunnel, by CONNECT or by an upgrade.
    pub(super) requests_tunnel: bool,
    /// Whether the stream is in the metrics. Health and admin requests that the filter replies to
    /// are not.
    pub(super) is_counted: bool,
    /// Whether the stream is in flight. Counted streams are, except gRPC health checks with `Watch`
    /// that the upstream replies to: they have no end.
    pub(super) is_in_flight: bool,
    /// Its place among the open streams, if a drain can close its connection.
    pub(super) open: Option<OpenId>,
    /// Whether this is such a `Watch`.
    pub(super) is_watch: bool,
    /// The state that the reply to a gRPC health check reports, if a message can report it.
    pub(super) grpc_health: Option<ServingStatus>,
    /// What a request that the filter replies to waits for.
    pub(super) awaited: Option<Awaited>,
    pub(super) request_body: BodyState,
    /// Whether the filter decided to buffer the request body. Stays true after the body was
    /// forwarded.
    pub(super) buffers_request: bool,

    /// Its timers, if its policy has idle timeouts or lets a drain end it.
    pub(super) timer: Option<TimerId>,

    /// Whether the filter or the proxy replied instead of the upstream. Its policy does not apply
    /// to that reply.
    pub(super) is_local_reply: bool,
    pub(super) response: Option<ResponseDecision>,
    /// Its events, if timeouts count them.
    pub(super) events: Option<Box<Events>>,
    /// The direction whose headers were held to learn about the host.
    pub(super) trial: Option<Direction>,
    pub(super) response_body: BodyState,
    /// The error page or the gRPC message that replaces the body. Empty when it has been sent.
    pub(super) page: Option<String>,
    /// Whether the response ends with the trailers of a successful gRPC call.
    pub(super) adds_grpc_trailers: bool,
    /// Whether its response headers carry the drain marker.
    pub(super) has_marker: bool,
    pub(super) is_tunnel: bool,
    pub(super) is_complete: bool,
    /// Why it failed, as far as that is known.
    pub(super) reason: Option<Reason>,
}

/// The events of a response.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) reader: EventReader,
    pub(super) has_event: bool,
    /// The bytes in the host's buffer that the reader has read: those of a buffered body.
    pub(super) kept_bytes: usize,
}

impl Events {
    pub(super) fn new(framing: Framing) -> Self {
        Self { reader: EventReader::new(framing), has_event: false, kept_bytes: 0 }
    }
}

/// What a request that the filter replies to waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// An admin request: for its command, in the body.
    Command,
    /// For the rest of an upload that the filter discards, at most `left` bytes.
    Rest {
        /// The bytes after which the filter does not wait any more.
        left: u64,
    },
}

/// Whether the chunks of a body are forwarded or buffered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum BodyState {
    #[default]
    Streaming,
    Buffering,
}

impl BodyState {
    /// A chunk or the end of the body arrived, and `buffered` bytes are in the host's buffer.
    pub(super) fn chunk(&mut self, max_bytes: u64, buffered: usize, end_of_stream: bool) -> Action {
        // A body that exceeds its declared length should be impossible. Buffering it could lose it.
        let fits = u64::try_from(buffered).is_ok_and(|buffered| buffered <= max_bytes);
        if *self == Self::Buffering && !end_of_stream && fits {
            return Action::Pause;
        }
        *self = Self::Streaming;
        Action::Continue
    }
}

impl Stream {
    pub(crate) fn new(config: Option<Arc<PluginConfig>>, plugin: PluginId, context: u32) -> Self {
        Self {
            context,
            plugin,
            config,
            has_request: false,
            route: None,
            error_context: ErrorContext::default(),
            connection: None,
            is_connect: false,
            is_head: false,
            requests_tunnel: false,
            is_counted: false,
            is_in_flight: false,
            open: None,
            is_watch: false,
            grpc_health: None,
            awaited: None,
            request_body: BodyState::Streaming,
            buffers_request: false,
            timer: None,
            is_local_reply: false,
            response: None,
            events: None,
            trial: None,
            response_body: BodyState::Streaming,
            page: None,
            adds_grpc_trailers: false,
            has_marker: false,
            is_tunnel: false,
            is_complete: false,
            reason: None,
        }
    }

    /// Releases the stream. Must be the last call, however the stream ended.
    pub fn end(&mut self, vm: &mut Vm) {
        if self.is_in_flight {
            vm.in_flight -= 1;
        }
        if let Some(open) = self.open.take() {
            vm.open_streams.remove(open);
        }
        if self.is_watch {
            vm.health_watches.remove(self.context);
        }
        self.stop_waiting(vm);
        if self.trial.is_some() {
            vm.timers.holding_mut(self.plugin).stream_ended(self.context);
        }
        self.with_timer(vm, IdleTimers::remove);
        vm.timers.release(self.plugin);
    }

    pub(super) fn policy<'r>(&self, rules: &'r Rules) -> &'r Policy {
        rules.policy(self.route)
    }

    /// Updates the timers of the stream, if it has any.
    pub(super) fn with_timer<T>(
        &self,
        vm: &mut Vm,
        update: impl FnOnce(&mut IdleTimers<StreamOwner>, TimerId) -> T,
    ) -> Option<T> {
        let timer = self.timer?;
        Some(update(vm.timers.of_mut(self.plugin), timer))
    }

    /// Whether to hold the headers of a message whose policy asks for it. The host may not be able
    /// to, or nothing is known about it and another message is tried.
    pub(super) fn begins_to_hold(&mut self, vm: &mut Vm, direction: Direction) -> bool {
        let holding = vm.timers.holding_mut(self.plugin);
        let holds = holding.begin(self.context, direction, self.timer);
        if holds && holding.is_trying() {
            self.trial = Some(direction);
        }
        holds
    }

    /// A part of a body arrived. Learns about the host if the headers were held for that.
    pub(super) fn learn_about_holding(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        direction: Direction,
    ) {
        if self.trial != Some(direction) {
            return;
        }
        self.trial = None;
        let holding = vm.timers.holding_mut(self.plugin);
        let finding = holding.body_arrived(self.context, || host.now_ns().ok());
        if finding == Finding::Impossible {
            vm.report_impossible_holding(host);
        }
    }

    /// Why a tick ended the stream, if it did.
    pub(super) fn timer_reason(&self, vm: &Vm) -> Option<Reason> {
        vm.timers.of(self.plugin).end_reason(self.timer?)
    }

    /// Why the proxy failed the stream, if it did.
    pub(super) fn proxy_reason(host: &mut impl Host) -> Option<Reason> {
        let details = property(host, &["response", "code_details"])?;
        Reason::from_details(details)
    }

    pub(super) fn count_failure(&self, vm: &mut Vm, config: &PluginConfig, reason: Reason) {
        vm.metrics.count_failure(config.slot(self.route), reason);
    }
}
