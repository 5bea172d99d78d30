//! Ends streams in a tick, outside of their own callbacks: with a reply if the response has not
//! begun, and otherwise with a reset. A tick can also continue a stream whose headers were held.

use crate::config::Span;
use crate::host::{Direction, Host, HostError, log_refusal};
use crate::idle_timers::Expired;
use crate::reason::Reason;
use crate::reply::LocalReply;
use crate::vm::{PluginId, StreamOwner, Vm};

/// The most streams that one tick ends for one cause. Envoy sends the requested replies after the
/// callback, each nested in the one before. A few hundred of them exhaust its stack and end the VM.
pub(crate) const MAX_ENDINGS: usize = 32;

/// The end of a stream, or its continuation, that a tick has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    context: u32,
    effect: Effect,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Effect {
    Reply(LocalReply),
    /// The response has begun, or the filter cannot reply.
    Reset,
    /// The headers of this direction are forwarded, and the stream goes on.
    Continue(Direction),
}

impl Ending {
    pub(crate) fn reply(context: u32, reply: LocalReply) -> Self {
        Self { context, effect: Effect::Reply(reply) }
    }

    pub(crate) fn reset(context: u32) -> Self {
        Self { context, effect: Effect::Reset }
    }

    pub(crate) fn continuation(context: u32, direction: Direction) -> Self {
        Self { context, effect: Effect::Continue(direction) }
    }

    /// Replies, resets or continues. The host may call back into the stream before this method returns.
    pub fn carry_out(&self, host: &mut impl Host) {
        let (result, what) = match &self.effect {
            Effect::Reply(reply) => (reply.send_to(host, self.context), "local reply"),
            Effect::Reset => (host.reset(self.context), "reset"),
            Effect::Continue(direction) => {
                (host.continue_stream(self.context, *direction), "continuation of a stream")
            }
        };
        // Only the host knows whether the stream still exists.
        if result != Err(HostError::NoStream) {
            log_refusal(host, result, what);
        }
    }
}

/// Returns the endings of a tick at `now`: streams that were idle for too long, and streams that a
/// drain ends. Also returns whether more streams may be due.
pub(crate) fn end_streams(vm: &mut Vm, plugin: PluginId, now: Option<u64>) -> (Vec<Ending>, bool) {
    let timers = vm.timers.of_mut(plugin);
    let mut expired = timers.expire(now, MAX_ENDINGS);
    let drain = &vm.drain;
    let is_draining = drain.active().is_some();
    let cut = timers.cut(is_draining, MAX_ENDINGS - expired.len(), |cut, owner, time| {
        let rules = &owner.config.rules;
        let bound = rules.policy(owner.route).bound.as_ref()?;
        cut.tick(time, bound, |connection| {
            let route = owner.route.and_then(|index| rules.route_name(index));
            now?.checked_sub(drain.due_ms(connection, route)?)
        })
    });
    expired.extend(cut);
    for Expired { reason, owner, .. } in &expired {
        vm.metrics.count_failure(owner.config.slot(owner.route), *reason);
    }
    let has_more = expired.len() == MAX_ENDINGS;
    (expired.into_iter().map(ending).collect(), has_more)
}

fn ending(expired: Expired<StreamOwner>) -> Ending {
    let Expired { context, reason, has_response, owner } = expired;
    if has_response {
        return Ending::reset(context);
    }
    let rules = &owner.config.rules;
    let policy = rules.policy(owner.route);
    let idle = |direction, timeout: Option<Span>| {
        let timeout = timeout.map_or_else(String::new, |timeout| timeout.to_string());
        (504, format!("no data {direction} the upstream for {timeout}"))
    };
    let event = |kind, timeout: Option<Span>| {
        let timeout = timeout.map_or_else(String::new, |timeout| timeout.to_string());
        (504, format!("no {kind} event from the upstream for {timeout}"))
    };
    let (status, what) = match reason {
        Reason::DrainDeadline => (503, "no response before the proxy stops".to_owned()),
        Reason::SendTimeout => idle("to", policy.idle_timeouts.send),
        Reason::FirstEventTimeout => event("first", policy.event_timeouts.first),
        Reason::EventGapTimeout => event("further", policy.event_timeouts.gap),
        _ => idle("from", policy.idle_timeouts.read),
    };
    let plain = || format!("{}: {what}\n", reason.word());
    let reply = rules.error_reply(owner.route, &owner.error_context, reason, status, plain);
    Ending::reply(context, reply)
}
