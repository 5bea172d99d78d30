//! One worker's instance of a module: events go in, effects come out.

mod calls;
mod http;
mod plugins;
mod reply;
mod run;
mod tcp;

use thiserror::Error;
use wasmtime::Store;

use crate::abi::LogLevel;
use crate::attributes;
use crate::effect::Effect;
use crate::exports::Exports;
use crate::module::Module;
use crate::process::Process;
use crate::state::{Mode, State};
use crate::stream::StreamId;
use crate::trap::{HostTrap, Trap, TrapReason};

/// A running instance of a module, with its plugin contexts and streams.
///
/// An event that names a stream or plugin which has ended does nothing: after a local reply or a
/// reset, what the upstream still sends may simply be passed on.
pub struct Vm {
    store: Store<State>,
    exports: Exports,
    /// Why no guest code runs any more.
    trap: Option<Trap>,
    /// `proxy_on_vm_start` has been called.
    started: bool,
}

/// What a virtual machine is made with.
#[derive(Clone, Debug)]
pub struct VmOptions {
    /// The worker to which it belongs; foreign functions learn it.
    pub worker: u32,
    /// Property `plugin_vm_id`; virtual machines with the same one share data and queues.
    pub vm_id: String,
    /// Handed to `proxy_on_vm_start`.
    pub vm_configuration: Vec<u8>,
    /// Lines below this level are not logged, and the guest can ask for it.
    pub log_level: LogLevel,
    /// What WASI's environment holds.
    pub env: Vec<(String, String)>,
}

impl Default for VmOptions {
    fn default() -> VmOptions {
        VmOptions {
            worker: 0,
            vm_id: String::new(),
            vm_configuration: Vec::new(),
            log_level: LogLevel::Info,
            env: Vec::new(),
        }
    }
}

/// Why there is no virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VmError {
    /// The module's start function trapped.
    #[error(transparent)]
    Trap(Box<Trap>),
    /// The module asks for more memory or tables at its start than the limits allow.
    #[error("cannot be instantiated: {reason}")]
    Instantiate {
        /// What the runtime says.
        reason: String,
    },
}

/// Why a plugin did not start. Its context is gone; others in the same virtual machine are not
/// touched, unless it trapped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// The guest answered false.
    #[error("{callback} refused the configuration")]
    Refused {
        /// `proxy_on_vm_start` or `proxy_on_configure`.
        callback: &'static str,
    },
    /// The guest broke, now or before.
    #[error(transparent)]
    Trap(Box<Trap>),
}

/// How a call that a guest sent came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// There was no answer within the call's timeout.
    Timeout,
    /// The upstream could not be reached, or closed the connection before it answered.
    Reset,
    /// The answer began and broke off. Every host delivers that as one without headers, Envoy too.
    BrokenOff,
}

impl Vm {
    /// Instantiates a module and runs its start functions.
    ///
    /// # Errors
    /// [`VmError`] if it traps or wants more than its limits at once.
    pub fn new(module: &Module, process: &Process, options: VmOptions) -> Result<Vm, VmError> {
        let ready = module.ready();
        let state = State::new(process, options, module.limits().clone());
        let mut store = Store::new(ready.module().engine(), state);
        store.limiter(|state| &mut state.growth);
        run::refuel(&mut store);
        let instance = ready.instantiate(&mut store).map_err(|error| {
            match error.downcast_ref::<wasmtime::Trap>() {
                Some(_) => VmError::Trap(trap_in("start", &error, &store)),
                None => VmError::Instantiate { reason: format!("{error:#}") },
            }
        })?;
        let exports = Exports::of(&instance, &mut store);
        let memory = instance.get_memory(&mut store, "memory");
        let state = store.data_mut();
        state.memory = memory;
        state.allocate = exports.allocate.clone().or_else(|| exports.malloc.clone());
        start(&mut store, &exports).map_err(|trap| VmError::Trap(Box::new(trap)))?;
        store.data_mut().mode = Mode::Running;
        Ok(Vm { store, exports, trap: None, started: false })
    }

    /// A number that no other virtual machine of the process has.
    pub fn id(&self) -> u64 {
        self.store.data().vm
    }

    /// The trap that ended the virtual machine, if one did. Its streams are then answered or cut, as
    /// the profile has it, at the next event that names them.
    pub fn trap(&self) -> Option<&Trap> {
        self.trap.as_ref()
    }

    /// A property as the stream's guest would read it: one that it stored, or one that the host knows.
    pub fn property<S: AsRef<[u8]>>(&self, stream: StreamId, path: &[S]) -> Option<Vec<u8>> {
        let state = self.store.data();
        let slot = state.contexts.stream_slot(stream)?;
        let value = attributes::read(state, slot, &crate::properties::join(path)).ok()?;
        Some(value.into_owned())
    }

    /// Moves what came out since the last call to the end of `into`, in order.
    pub fn drain_effects(&mut self, into: &mut Vec<Effect>) {
        self.store.data_mut().drain_effects(into);
    }

    /// Log lines that were dropped because [`Limits::log_bytes`](crate::Limits::log_bytes) was used up.
    pub fn dropped_logs(&self) -> u64 {
        self.store.data().dropped_logs
    }

    /// Bytes of the guest's linear memory as it is now. WebAssembly gives none back, so that this is
    /// also the most that it ever was.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }
}

/// Runs the module's start functions: a reactor's, or else a command's.
fn start(store: &mut Store<State>, exports: &Exports) -> Result<(), Trap> {
    let trapped =
        |callback, store: &Store<State>, error: &wasmtime::Error| *trap_in(callback, error, store);
    if let Some(initialize) = &exports.initialize {
        run::refuel(store);
        initialize.call(&mut *store, ()).map_err(|error| trapped("_initialize", store, &error))?;
        if let Some(main) = &exports.main {
            run::refuel(store);
            main.call(&mut *store, (0, 0)).map_err(|error| trapped("main", store, &error))?;
        }
    } else if let Some(command) = &exports.start {
        run::refuel(store);
        match command.call(&mut *store, ()) {
            Ok(()) => {}
            // A command that ends well may say so.
            Err(error) if is_clean_exit(&error) => {}
            Err(error) => return Err(trapped("_start", store, &error)),
        }
    }
    Ok(())
}

fn is_clean_exit(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref(), Some(HostTrap(TrapReason::Exit(0))))
}

fn trap_in(callback: &'static str, error: &wasmtime::Error, store: &Store<State>) -> Box<Trap> {
    let reason = TrapReason::from_error(error, &store.data().limits);
    Box::new(Trap { stream: None, callback, reason })
}
