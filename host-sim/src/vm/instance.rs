//! Creating a VM and reading its state.

use wasmtime::Store;

use crate::attributes;
use crate::cost::Cost;
use crate::effect::Effect;
use crate::error::VmError;
use crate::exports::Exports;
use crate::ids::StreamId;
use crate::module::Module;
use crate::options::VmOptions;
use crate::process::Process;
use crate::properties;
use crate::state::{Phase, State};
use crate::trap::{HostTrap, Trap, TrapReason};

/// A running instance of a module, with its plugins and streams.
///
/// An event for a stream or plugin that has ended has no effect. After a local reply or a reset,
/// the embedder can therefore deliver the remaining events of the upstream as usual.
pub struct Vm {
    pub(super) store: Store<State>,
    pub(super) exports: Exports,
    /// The trap after which no more guest code runs.
    pub(super) trap: Option<Trap>,
    /// Whether `proxy_on_vm_start` has been called.
    pub(super) started: bool,
}

impl Vm {
    /// Instantiates a module and calls its start functions.
    ///
    /// # Errors
    /// [`VmError`] if a start function traps, or the initial memory or tables exceed the limits.
    pub fn new(module: &Module, process: &Process, options: VmOptions) -> Result<Vm, VmError> {
        let instance = module.instance();
        let state = State::new(process, options, module.limits().clone());
        let mut store = Store::new(instance.module().engine(), state);
        store.limiter(|state| &mut state.store_limits);
        begin_callback(&mut store);
        let instance = instance.instantiate(&mut store);
        end_callback(&mut store);
        let instance = instance.map_err(|error| match error.downcast_ref::<wasmtime::Trap>() {
            Some(_) => VmError::Trap(trap_in("start", &error, &store)),
            None => VmError::Instantiate { reason: format!("{error:#}") },
        })?;
        let exports = Exports::new(module.exports(), &instance, &mut store);
        let memory = instance.get_memory(&mut store, "memory");
        let state = store.data_mut();
        state.memory = memory;
        state.allocate = exports.allocate.clone().or_else(|| exports.malloc.clone());
        start(&mut store, &exports).map_err(VmError::Trap)?;
        store.data_mut().phase = Phase::Running;
        Ok(Vm { store, exports, trap: None, started: false })
    }

    /// The id of the VM, unique in its process.
    pub fn id(&self) -> u64 {
        self.store.data().id
    }

    /// The trap that ended the VM, if there was one. Its streams fail at their next event, with a
    /// local reply or a reset as the profile defines.
    pub fn trap(&self) -> Option<&Trap> {
        self.trap.as_ref()
    }

    /// Reads a property as the guest of the stream would.
    pub fn property<S: AsRef<[u8]>>(&self, stream: StreamId, path: &[S]) -> Option<Vec<u8>> {
        let state = self.store.data();
        let slot = state.contexts.stream_slot(stream)?;
        let value = attributes::read_property(state, slot, &properties::join(path)).ok()?;
        Some(value.into_owned())
    }

    /// Appends the effects since the last call to `into`, in order.
    pub fn drain_effects(&mut self, into: &mut Vec<Effect>) {
        self.store.data_mut().drain_effects(into);
    }

    /// The number of log lines that were dropped because of
    /// [`Limits::log_bytes`](crate::Limits::log_bytes).
    pub fn dropped_logs(&self) -> u64 {
        self.store.data().dropped_logs
    }

    /// The number of log lines that were dropped since the last call of this method.
    pub(crate) fn take_dropped_logs(&mut self) -> u64 {
        let state = self.state();
        let new = state.dropped_logs - state.reported_drops;
        state.reported_drops = state.dropped_logs;
        new
    }

    /// The size of the guest's linear memory in bytes. Linear memory never shrinks, so this is also
    /// its maximum.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// The work of the guest so far. A benchmark or a test can compare it exactly, because the same
    /// events always cost the same.
    pub fn cost(&self) -> Cost {
        self.store.data().cost
    }

    pub(super) fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }
}

/// Gives the next callback its full budget, or what the process has left of it.
pub(super) fn begin_callback(store: &mut Store<State>) {
    let state = store.data_mut();
    if let Some(epochs) = state.limits.callback_deadline {
        return store.set_epoch_deadline(epochs);
    }
    let budget = state.limits.callback_budget.min(state.process.instructions_left());
    state.fuel = budget;
    store.set_fuel(budget).expect(CONSUMES_FUEL);
}

/// Counts the instructions of a callback that [`begin_callback`] preceded.
pub(super) fn end_callback(store: &mut Store<State>) {
    if store.data().limits.callback_deadline.is_some() {
        return;
    }
    let left = store.get_fuel().expect(CONSUMES_FUEL);
    let state = store.data_mut();
    let used = state.fuel.saturating_sub(left);
    state.cost.instructions += used;
    state.process.count_instructions(used);
}

const CONSUMES_FUEL: &str = "the engine is configured to consume fuel";

/// Calls the start functions of the module: `_initialize` and `main`, or `_start`.
fn start(store: &mut Store<State>, exports: &Exports) -> Result<(), Box<Trap>> {
    if let Some(initialize) = &exports.initialize {
        begin_callback(store);
        let result = initialize.call(&mut *store, ());
        end_callback(store);
        result.map_err(|error| trap_in("_initialize", &error, store))?;
        if let Some(main) = &exports.main {
            begin_callback(store);
            let result = main.call(&mut *store, (0, 0));
            end_callback(store);
            result.map_err(|error| trap_in("main", &error, store))?;
        }
    } else if let Some(command) = &exports.start {
        begin_callback(store);
        let result = command.call(&mut *store, ());
        end_callback(store);
        match result {
            Ok(()) => {}
            Err(error) if is_exit_with_success(&error) => {}
            Err(error) => return Err(trap_in("_start", &error, store)),
        }
    }
    Ok(())
}

fn is_exit_with_success(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref(), Some(HostTrap(TrapReason::Exit(0))))
}

fn trap_in(callback: &'static str, error: &wasmtime::Error, store: &Store<State>) -> Box<Trap> {
    let reason = store.data().trap_reason(error);
    Box::new(Trap { stream: None, callback, reason })
}
