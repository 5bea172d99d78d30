//! The streams of this plugin that a tick has to look at, and how it ends those whose time has come.

use std::cell::RefCell;
use std::rc::Rc;

use super::root::Active;
use super::{host, vm};
use crate::error_pages::ErrorContext;
use crate::live::{Live, Over, Slot};
use crate::reason::Reason;
use crate::stream::Stream;

/// What an answer to a stream needs that is given from outside of its callbacks.
#[derive(Clone)]
pub(super) struct Owner {
    active: Rc<Active>,
    route: Option<usize>,
    asker: ErrorContext,
}

/// The streams of one plugin. It is never borrowed during a host call that ends a stream: hosts call back from within it.
pub(super) type Streams = Rc<RefCell<Live<Owner>>>;

/// A stream's place among them, which it leaves at its end.
pub(super) struct Watch {
    streams: Streams,
    slot: Slot,
}

impl Watch {
    pub(super) fn begin(
        streams: &Streams,
        active: &Rc<Active>,
        stream: &Stream,
        context: u32,
        ended: bool,
    ) -> Self {
        let route = stream.route();
        let limits = active.config.policy(route).idle_timeouts;
        let owner = Owner { active: Rc::clone(active), route, asker: stream.asker().clone() };
        let waits = stream.waits(ended);
        let slot = streams.borrow_mut().begin(context, limits, waits, owner);
        Self { streams: Rc::clone(streams), slot }
    }

    /// Whether nothing more of its response may pass, not even its end.
    pub(super) fn is_ending(&self) -> bool {
        self.with(|streams, slot| streams.cut(slot).is_some_and(|cut| cut.is_ending()))
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Live<Owner>, Slot) -> T) -> T {
        act(&mut self.streams.borrow_mut(), self.slot)
    }

    /// Why the filter ended this stream, if it did.
    pub(super) fn over(&self) -> Option<Reason> {
        self.streams.borrow().over(self.slot)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.with(Live::end);
    }
}

/// How many streams a tick ends for one cause. Envoy carries out what a callback asked for when it has returned, each reply within the one before: some
/// hundred of them exhaust the stack and take the whole VM along.
pub(super) const AT_ONCE: usize = 32;

/// A tick at `now`: ends streams that were idle for too long, and those that a drain cuts. Whether more are left to be ended.
pub(super) fn tick(streams: &Streams, now: Option<u64>) -> bool {
    let mut over = streams.borrow_mut().tick(now, AT_ONCE);
    vm::with(|vm| {
        let is_due = |connection: u64, owner: &Owner| {
            let route = owner.route.and_then(|index| owner.active.config.route_name(index));
            vm.worker.closes(connection, route, || now)
        };
        let is_due = vm.worker.in_force().map(|_| is_due);
        over.extend(streams.borrow_mut().drain(is_due, AT_ONCE - over.len()));
        for ended in &over {
            vm.metrics.ended(ended.owner.active.slot(ended.owner.route), ended.reason);
        }
    });
    let more = over.len() == AT_ONCE;
    over.into_iter().for_each(finish);
    more
}

fn finish(over: Over<Owner>) {
    let Over { context, reason, begun, owner } = over;
    if begun {
        return host::cut(context);
    }
    let config = &owner.active.config;
    let limits = config.policy(owner.route).idle_timeouts;
    let limit = if reason == Reason::SendTimeout { limits.send } else { limits.read };
    let plain = || {
        let limit = limit.map_or_else(String::new, |limit| limit.to_string());
        let towards = if reason == Reason::SendTimeout { "went to" } else { "came from" };
        format!("{}: nothing {towards} the upstream for {limit}\n", reason.word())
    };
    host::reply_to(context, &config.error_reply(owner.route, &owner.asker, reason, 504, plain));
}
