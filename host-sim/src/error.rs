//! Errors of loading a module and of starting a VM or a plugin.

use thiserror::Error;

use crate::trap::Trap;

/// Why a module cannot be loaded. The module has to change; no option helps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// The bytes are not a WebAssembly module, or the module uses features that are not supported.
    #[error("not a WebAssembly module that can run here: {reason}")]
    Invalid {
        /// The compiler's message.
        reason: String,
    },
    /// The module exports no marker of a supported ABI.
    #[error("exports neither proxy_abi_version_0_2_0 nor proxy_abi_version_0_2_1, found {found}")]
    Abi {
        /// The marker that the module exports, or `no such marker`.
        found: String,
    },
    /// The module imports a function that no proxy-wasm host offers.
    #[error("imports {module}.{name}, which no proxy-wasm 0.2 host offers")]
    MissingImport {
        /// The module part of the import, such as `env`.
        module: String,
        /// The name of the import.
        name: String,
    },
    /// The module imports a host function with other parameters or results.
    #[error("imports a host function with the wrong type: {reason}")]
    ImportType {
        /// The function, the type in the module and the type in the specification.
        reason: String,
    },
    /// The module exports a callback with other parameters or results.
    #[error("exports {name} as {found}, expected {expected}")]
    ExportType {
        /// The name of the export.
        name: String,
        /// The type in the module.
        found: String,
        /// The type in the specification.
        expected: String,
    },
    /// The module does not export its memory or an allocator, so the host cannot pass data to it.
    #[error("does not export {name}")]
    MissingExport {
        /// The name of the missing export.
        name: &'static str,
    },
}

/// Why a VM could not be created.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VmError {
    /// A start function of the module trapped.
    #[error(transparent)]
    Trap(Box<Trap>),
    /// The module's initial memory or tables exceed the limits.
    #[error("cannot be instantiated: {reason}")]
    Instantiate {
        /// The runtime's message.
        reason: String,
    },
}

/// Why a plugin could not be started. Its context no longer exists. Other contexts of the VM are
/// not affected, unless the guest trapped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The callback returned false.
    #[error("{callback} refused the configuration")]
    Refused {
        /// `proxy_on_vm_start` or `proxy_on_configure`.
        callback: &'static str,
    },
    /// The guest trapped, in this call or before.
    #[error(transparent)]
    Trap(Box<Trap>),
}

/// How an HTTP call of a guest failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallFailure {
    /// No response arrived within the call's timeout.
    Timeout,
    /// The upstream refused the connection.
    Refused,
    /// The upstream closed the connection before its response began.
    Reset,
    /// The upstream sent bytes that are not a response.
    Protocol,
    /// The response was reset after it had begun. Envoy, like the ABI, passes this to the guest as
    /// a response without headers. A timeout after the headers is such a failure.
    IncompleteResponse,
}
