//! Ends streams in a tick, outside of their own callbacks: with a reply if the response has not
//! begun, and otherwise with a reset.

use crate::config::Span;
use crate::host::{Host, HostError, log_refusal};
use crate::idle_timers::Expired;
use crate::reason::Reason;
use crate::reply::LocalReply;
use crate::vm::{PluginId, StreamOwner, Vm};

/// The most streams that one tick ends for one cause. Envoy sends the requested replies after the
/// callback, each nested in the one before. A few hundred of them exhaust its stack and end the VM.
pub(crate) const MAX_ENDINGS: usize = 32;

/// The end of a stream that a tick has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    context: u32,
    /// `None`: the stream is reset, because its response has begun or the filter cannot reply.
    reply: Option<LocalReply>,
}

impl Ending {
    pub(crate) fn reply(context: u32, reply: LocalReply) -> Self {
        Self { context, reply: Some(reply) }
    }

    pub(crate) fn reset(context: u32) -> Self {
        Self { context, reply: None }
    }

    /// Replies or resets. The host may call back into the stream before this method returns.
    pub fn carry_out(&self, host: &mut impl Host) {
        let (result, what) = match &self.reply {
            Some(reply) => (reply.send_to(host, self.context), "local reply"),
            None => (host.reset(self.context), "reset"),
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
    let (status, what) = match reason {
        Reason::DrainDeadline => (503, "no response before the proxy stops".to_owned()),
        Reason::SendTimeout => idle("to", policy.idle_timeouts.send),
        _ => idle("from", policy.idle_timeouts.read),
    };
    let plain = || format!("{}: {what}\n", reason.word());
    let reply = rules.error_reply(owner.route, &owner.error_context, reason, status, plain);
    Ending::reply(context, reply)
}
