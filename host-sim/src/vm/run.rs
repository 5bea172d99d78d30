//! Entering the guest, and doing afterwards what it asked for.
//!
//! While a callback runs, the host functions only note what the guest wants (continue, reply, cut).
//! It is done when the callback has returned, so that the guest is never entered twice at once.

use wasmtime::{Store, TypedFunc, WasmParams, WasmResults};

use super::Vm;
use crate::context::{Kind, Pending};
use crate::effect::{Direction, Effect, ReplySource, ResetCause};
use crate::exports::Exports;
use crate::state::{Mode, State};
use crate::trap::{Trap, TrapReason};

/// The guest trapped, now or before; what that means for the stream has been seen to.
pub(super) struct Broken;

/// Gives the next callback its whole budget.
pub(super) fn refuel(store: &mut Store<State>) {
    let budget = store.data().limits.callback_budget;
    store.set_fuel(budget).expect("the engine is configured to count instructions");
}

impl Vm {
    /// Calls a callback of the context in this slot. `None` if the guest does not have it.
    pub(super) fn enter<P: WasmParams, R: WasmResults>(
        &mut self,
        slot: u32,
        name: &'static str,
        callback: impl Fn(&Exports) -> &Option<TypedFunc<P, R>>,
        params: P,
    ) -> Result<Option<R>, Broken> {
        if self.trap.is_some() {
            return Err(Broken);
        }
        let Some(function) = callback(&self.exports) else { return Ok(None) };
        self.store.data_mut().current = Some(slot);
        refuel(&mut self.store);
        let result = function.call(&mut self.store, params);
        self.store.data_mut().current = None;
        match result {
            Ok(result) => Ok(Some(result)),
            Err(error) => {
                self.break_down(slot, name, &error);
                Err(Broken)
            }
        }
    }

    /// Does what guests asked for during the callbacks since the last time.
    pub(super) fn settle(&mut self) {
        while let Some(slot) = self.state().touched.pop_front() {
            let pending = std::mem::take(&mut self.state().contexts.at_mut(slot).pending);
            match self.state().contexts.at(slot).kind {
                Kind::Http(_) => self.settle_http(slot, pending),
                Kind::Tcp(_) => self.settle_tcp(slot, pending),
                Kind::Plugin(_) if pending.done => self.conclude(slot),
                Kind::Plugin(_) | Kind::Free => {}
            }
        }
    }

    fn settle_http(&mut self, slot: u32, pending: Pending) {
        if pending.reset {
            self.cut(slot, ResetCause::Guest);
        } else if let Some(reply) = pending.reply {
            self.reply(slot, *reply, ReplySource::Guest);
        }
        if pending.continue_request {
            self.resume(slot, Direction::Request);
        }
        if pending.continue_response {
            self.resume(slot, Direction::Response);
        }
        if pending.done {
            self.conclude(slot);
        }
    }

    /// Ends the virtual machine after a trap.
    fn break_down(&mut self, slot: u32, callback: &'static str, error: &wasmtime::Error) {
        let state = self.store.data_mut();
        state.mode = Mode::Running;
        state.touched.clear();
        let reason = TrapReason::from_error(error, &state.limits);
        let trap = Trap { stream: state.contexts.stream_id(slot), callback, reason };
        state.effects.push(Effect::Trap(Box::new(trap.clone())));
        self.trap = Some(trap);
        self.doom(slot);
    }

    /// After a trap: answers or cuts the stream in this slot, once. Says whether it did, or had.
    pub(super) fn doom(&mut self, slot: u32) -> bool {
        if self.trap.is_none() || self.fails_open(slot) {
            return false;
        }
        match self.state().contexts.at(slot).kind {
            Kind::Http(_) => self.doom_http(slot),
            Kind::Tcp(_) => self.doom_tcp(slot),
            Kind::Plugin(_) | Kind::Free => {}
        }
        true
    }

    /// Whether streams of this plugin go on without a guest that has trapped.
    fn fails_open(&mut self, slot: u32) -> bool {
        let contexts = &self.state().contexts;
        let plugin = contexts.plugin(contexts.at(slot).plugin);
        plugin.is_some_and(|plugin| plugin.options.fail_open)
    }
}
