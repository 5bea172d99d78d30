//! Calling the guest, and applying its actions afterwards.

use wasmtime::{TypedFunc, WasmParams, WasmResults};

use super::instance::{Vm, begin_callback, end_callback};
use crate::abi::StreamType;
use crate::actions::Action;
use crate::context::Kind;
use crate::effect::{Direction, Effect, ReplySource, ResetCause};
use crate::exports::Exports;
use crate::state::Phase;
use crate::trap::Trap;

/// The most calls that fail at once and are reported after one event.
const MAX_FAILED_CALLS: usize = 32;

/// The status `UNAVAILABLE` of gRPC.
const GRPC_UNAVAILABLE: u32 = 14;

/// The guest has trapped, in this callback or before. The stream is handled already.
pub(super) struct Trapped;

impl Vm {
    /// Calls a callback for the context in this slot. Returns `None` if the guest does not export
    /// it.
    pub(super) fn call_guest<P: WasmParams, R: WasmResults>(
        &mut self,
        slot: u32,
        name: &'static str,
        callback: impl Fn(&Exports) -> &Option<TypedFunc<P, R>>,
        params: P,
    ) -> Result<Option<R>, Trapped> {
        if self.trap.is_some() {
            return Err(Trapped);
        }
        let Some(function) = callback(&self.exports) else { return Ok(None) };
        self.store.data_mut().effective = Some(slot);
        begin_callback(&mut self.store);
        let result = function.call(&mut self.store, params);
        end_callback(&mut self.store);
        let state = self.store.data_mut();
        state.cost.callbacks += 1;
        state.effective = None;
        match result {
            Ok(result) => Ok(Some(result)),
            Err(error) => {
                self.on_trap(slot, name, &error);
                Err(Trapped)
            }
        }
    }

    /// Applies the actions of the guest, and reports calls that failed at once.
    pub(super) fn apply_actions(&mut self) {
        self.apply_first_actions(usize::MAX);
        // The guest can start another such call in the callback.
        for _ in 0..MAX_FAILED_CALLS {
            let Some((call, plugin)) = self.state().failed_calls.pop_front() else { return };
            self.call_grpc_close(plugin, call, GRPC_UNAVAILABLE, "Cluster not available");
            self.apply_first_actions(usize::MAX);
        }
        self.state().failed_calls.clear();
    }

    /// Applies at most `count` actions.
    pub(super) fn apply_first_actions(&mut self, count: usize) {
        for _ in 0..count {
            let Some((context, action)) = self.state().actions.pop() else { return };
            let contexts = &mut self.state().contexts;
            // The context may have ended since.
            let Some(slot) = contexts.slot_of(context) else { continue };
            match contexts.at(slot).kind {
                Kind::Http(_) => self.apply_to_http(slot, action),
                Kind::Tcp(_) => self.apply_to_tcp(slot, action),
                Kind::Plugin(_) => self.finish_context(slot),
            }
        }
    }

    fn apply_to_http(&mut self, slot: u32, action: Action) {
        match action {
            Action::Continue(StreamType::HttpRequest) => {
                self.continue_flow(slot, Direction::Request);
            }
            Action::Continue(_) => self.continue_flow(slot, Direction::Response),
            Action::Close(_) => self.reset_stream(slot, ResetCause::Guest),
            Action::Reply(reply) => self.send_local_reply(slot, *reply, ReplySource::Guest),
            Action::Done => self.finish_context(slot),
        }
    }

    fn on_trap(&mut self, slot: u32, callback: &'static str, error: &wasmtime::Error) {
        let state = self.store.data_mut();
        state.phase = Phase::Running;
        state.actions.clear();
        let reason = state.trap_reason(error);
        let trap = Trap { stream: state.contexts.stream_id(slot), callback, reason };
        state.effects.push(Effect::Trap(Box::new(trap.clone())));
        self.trap = Some(trap);
        self.fail_stream(slot);
    }

    /// After a trap, ends the stream in this slot with a local reply or a reset. Returns whether
    /// the stream has failed, now or before. A stream that bypasses the guest does not fail.
    pub(super) fn fail_stream(&mut self, slot: u32) -> bool {
        if self.trap.is_none() || self.state().contexts.at(slot).bypasses_guest {
            return false;
        }
        match self.state().contexts.at(slot).kind {
            Kind::Http(_) => self.fail_http(slot),
            Kind::Tcp(_) => self.fail_tcp(slot),
            Kind::Plugin(_) => {}
        }
        true
    }
}
