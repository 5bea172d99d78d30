//! A filter as it comes from its author: compiled once, checked once, instantiated often.

use std::sync::Arc;

use thiserror::Error;
use wasmtime::{Config, Engine, ExternType, InstancePre, Linker, UnknownImportError};

use crate::abi::AbiVersion;
use crate::limits::Limits;
use crate::state::State;
use crate::{exports, host};

/// A proxy-wasm module that can be instantiated. Cheap to clone; clones share the machine code.
#[derive(Clone)]
pub struct Module {
    abi: AbiVersion,
    limits: Arc<Limits>,
    ready: InstancePre<State>,
}

/// Why a module cannot run here. The module's author, not its user, can do something about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ModuleError {
    /// The bytes are not a WebAssembly module that this host can run.
    #[error("not a WebAssembly module that can run here: {reason}")]
    Invalid {
        /// What the compiler says.
        reason: String,
    },
    /// No marker export of a supported ABI.
    #[error("exports neither proxy_abi_version_0_2_0 nor proxy_abi_version_0_2_1, found {found}")]
    Abi {
        /// The marker that is there, or that there is none.
        found: String,
    },
    /// It wants something from the host that no proxy-wasm host offers.
    #[error("imports {module}.{name}, which no proxy-wasm 0.2 host offers")]
    MissingImport {
        /// First part of the import's name.
        module: String,
        /// Second part.
        name: String,
    },
    /// It wants a host function with other parameters or results.
    #[error("imports a host function with another type: {reason}")]
    ImportType {
        /// Which function, the type that it wants and the one that the specification gives.
        reason: String,
    },
    /// It exports a callback with other parameters or results.
    #[error("exports {name} as {found}, expected {expected}")]
    ExportType {
        /// The export.
        name: String,
        /// The type that it has.
        found: String,
        /// The type that the specification gives.
        expected: String,
    },
    /// It lacks an export without which no host could hand data to it.
    #[error("does not export {name}")]
    MissingExport {
        /// The export.
        name: &'static str,
    },
}

impl Module {
    /// Compiles and checks a module; `limits` hold for every virtual machine made from it.
    ///
    /// # Errors
    /// [`ModuleError`] names what is wrong with the module; a missing import is named.
    pub fn new(wasm: &[u8], limits: &Limits) -> Result<Module, ModuleError> {
        let engine = Engine::new(&config(limits)).map_err(invalid)?;
        let module = wasmtime::Module::new(&engine, wasm).map_err(invalid)?;
        let abi = declared_abi(&module)?;
        exports::check(&module)?;
        check_memory(&module)?;
        let mut linker = Linker::new(&engine);
        host::link(&mut linker).map_err(invalid)?;
        let ready = linker.instantiate_pre(&module).map_err(import_error)?;
        Ok(Module { abi, limits: Arc::new(limits.clone()), ready })
    }

    /// The version of the ABI that the module declares.
    pub fn abi(&self) -> AbiVersion {
        self.abi
    }

    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    pub(crate) fn ready(&self) -> &InstancePre<State> {
        &self.ready
    }
}

/// Instructions are counted, not time: the same callback breaks off at the same place on every
/// machine, and no thread has to watch the clock.
fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .max_wasm_stack(limits.stack_bytes)
        .wasm_backtrace_max_frames(None)
        .wasm_memory64(false)
        .wasm_multi_memory(false);
    config
}

fn declared_abi(module: &wasmtime::Module) -> Result<AbiVersion, ModuleError> {
    let mut found = None;
    for export in module.exports() {
        match export.name() {
            "proxy_abi_version_0_2_1" => return Ok(AbiVersion::V0_2_1),
            "proxy_abi_version_0_2_0" => return Ok(AbiVersion::V0_2_0),
            name if name.starts_with("proxy_abi_version_") => found = Some(name.to_owned()),
            _ => {}
        }
    }
    Err(ModuleError::Abi { found: found.unwrap_or_else(|| "no such marker".to_owned()) })
}

fn check_memory(module: &wasmtime::Module) -> Result<(), ModuleError> {
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        return Err(ModuleError::MissingExport { name: "memory" });
    }
    if module.get_export("proxy_on_memory_allocate").is_none()
        && module.get_export("malloc").is_none()
    {
        return Err(ModuleError::MissingExport { name: "proxy_on_memory_allocate" });
    }
    Ok(())
}

fn invalid(error: wasmtime::Error) -> ModuleError {
    ModuleError::Invalid { reason: format!("{error:#}") }
}

fn import_error(error: wasmtime::Error) -> ModuleError {
    match error.downcast_ref::<UnknownImportError>() {
        Some(unknown) => ModuleError::MissingImport {
            module: unknown.module().to_owned(),
            name: unknown.name().to_owned(),
        },
        None => ModuleError::ImportType { reason: format!("{error:#}") },
    }
}
