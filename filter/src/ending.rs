//! Ends streams in a tick, outside of their own callbacks: with a reply if the response has not
//! begun, and otherwise with a reset.

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
/// drain cuts. Also returns whether more streams may be due.
pub(crate) fn end_streams(vm: &mut Vm, plugin: PluginId, now: Option<u64>) -> (Vec<Ending>, bool) {
    let timers = vm.timers.of_mut(plugin);
    let mut expired = timers.expire(now, MAX_ENDINGS);
    let drain = &vm.drain;
    let is_due = |connection: u64, owner: &StreamOwner| {
        let route = owner.route.and_then(|index| owner.config.rules.route_name(index));
        drain.closes(connection, route, || now)
    };
    let is_due = drain.active().map(|_| is_due);
    expired.extend(timers.cut(is_due, MAX_ENDINGS - expired.len()));
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
    let timeouts = rules.policy(owner.route).idle_timeouts;
    let (timeout, direction) = match reason {
        Reason::SendTimeout => (timeouts.send, "to"),
        _ => (timeouts.read, "from"),
    };
    let plain = || {
        let timeout = timeout.map_or_else(String::new, |timeout| timeout.to_string());
        format!("{}: no data {direction} the upstream for {timeout}\n", reason.word())
    };
    Ending::reply(context, rules.error_reply(owner.route, &owner.error_context, reason, 504, plain))
}
