//! One request and its response, from the request headers to the end of the stream.
//!
//! A [`Stream`] keeps what later callbacks need, because a host no longer has the request when the response
//! arrives. Every callback takes the state of the VM and the host. `request` and `response` decide, `report`
//! reports what was decided.

mod report;
mod request;
mod response;

use std::sync::Arc;

use crate::error_pages::ErrorContext;
use crate::host::{Host, property};
use crate::idle_timers::{IdleTimers, TimerId};
use crate::plugin::PluginConfig;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::rules::Rules;
use crate::vm::{PluginId, StreamOwner, Vm};

pub use request::{RequestDecision, decide_request};
pub use response::ResponseDecision;

/// Whether the host passes on what a callback is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Passes it on, and everything that was buffered before.
    Continue,
    /// Does not pass it on. A body is buffered.
    Pause,
}

/// One request and its response.
#[derive(Debug)]
pub struct Stream {
    context: u32,
    plugin: PluginId,
    /// `None` before the first configuration was accepted: the stream passes unchanged.
    config: Option<Arc<PluginConfig>>,

    route: Option<usize>,
    error_context: ErrorContext,
    /// The id of the client's connection, if the configuration takes part in drains.
    connection: Option<u64>,
    is_connect: bool,
    is_head: bool,
    /// Whether the request opens a tunnel, by CONNECT or by an upgrade.
    requests_tunnel: bool,
    /// Whether the stream counts as in flight. Health and admin requests do not.
    is_counted: bool,
    /// Whether this is an admin request whose body has not arrived.
    awaits_command: bool,
    request_body: BodyState,
    /// Whether the filter decided to buffer the request body. Stays true when the body has passed.
    buffers_request: bool,

    /// Its timers, if its policy has idle timeouts or lets a drain cut it.
    timer: Option<TimerId>,

    /// Whether the filter or the proxy replied instead of the upstream. Its policy does not apply to that reply.
    is_local_reply: bool,
    response: Option<ResponseDecision>,
    response_body: BodyState,
    /// The error page that replaces the proxy's body. Empty when it has been sent.
    page: Option<String>,
    /// Whether its response headers carry the drain marker.
    has_marker: bool,
    is_tunnel: bool,
    is_complete: bool,
    /// Why it failed, as far as that is known.
    reason: Option<Reason>,
}

/// What happens to the chunks of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum BodyState {
    #[default]
    Streaming,
    Buffering,
}

impl BodyState {
    /// A chunk or the end of the body arrived, and `buffered` bytes are in the host's buffer.
    fn chunk(&mut self, max_bytes: u64, buffered: usize, end_of_stream: bool) -> Action {
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
            route: None,
            error_context: ErrorContext::default(),
            connection: None,
            is_connect: false,
            is_head: false,
            requests_tunnel: false,
            is_counted: false,
            awaits_command: false,
            request_body: BodyState::Streaming,
            buffers_request: false,
            timer: None,
            is_local_reply: false,
            response: None,
            response_body: BodyState::Streaming,
            page: None,
            has_marker: false,
            is_tunnel: false,
            is_complete: false,
            reason: None,
        }
    }

    /// The stream is gone. Must be the last call, however the stream ended.
    pub fn end(&mut self, vm: &mut Vm) {
        if self.is_counted {
            vm.in_flight -= 1;
        }
        self.stop_waiting(vm);
        self.with_timer(vm, IdleTimers::remove);
        vm.timers.release(self.plugin);
    }

    fn policy<'r>(&self, rules: &'r Rules) -> &'r Policy {
        rules.policy(self.route)
    }

    /// Updates the timers of the stream, if it has any.
    fn with_timer<T>(
        &self,
        vm: &mut Vm,
        update: impl FnOnce(&mut IdleTimers<StreamOwner>, TimerId) -> T,
    ) -> Option<T> {
        let timer = self.timer?;
        Some(update(vm.timers.of_mut(self.plugin), timer))
    }

    /// Why a tick ended the stream, if it did.
    fn timer_reason(&self, vm: &Vm) -> Option<Reason> {
        vm.timers.of(self.plugin).end_reason(self.timer?)
    }

    /// Why the proxy failed the stream, if it did.
    fn proxy_reason(host: &mut impl Host) -> Option<Reason> {
        let details = property(host, &["response", "code_details"])?;
        Reason::from_details(&details)
    }

    fn count_failure(&self, vm: &mut Vm, config: &PluginConfig, reason: Reason) {
        vm.metrics.count_failure(config.slot(self.route), reason);
    }
}
