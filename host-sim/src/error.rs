//! Errors of loading a module and of starting a VM or a plugin.

use thiserror::Error;

use crate::abi::AbiVersion;
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
    #[error(
        "exports neither proxy_abi_version_0_2_0 nor proxy_abi_version_0_2_1, found {found}{}",
        abi_note(found)
    )]
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
    /// The module imports a function that proxy-wasm hosts offer to modules of another version of
    /// the ABI only.
    #[error(
        "imports {module}.{name}, which hosts such as Envoy offer to modules of ABI {version} only; \
         the module declares ABI {declared}"
    )]
    ImportOfOtherAbi {
        /// The module part of the import, such as `env`.
        module: String,
        /// The name of the import.
        name: String,
        /// The version that has the function.
        version: &'static str,
        /// The version that the module declares.
        declared: AbiVersion,
    },
    /// The module, or a part of it, is larger than a limit.
    #[error("{what} has {found} {unit}, expected at most {limit}; raise {option}")]
    TooLarge {
        /// What is too large: the module, or a function by its index.
        what: String,
        /// The size.
        found: u64,
        /// What the size counts.
        unit: &'static str,
        /// The limit.
        limit: u64,
        /// The field of [`Limits`](crate::Limits), and the option of `sluice replay` that sets it.
        option: &'static str,
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

/// What else hosts do with a version of the ABI. As measured, Envoy 1.40 loads modules of 0.1.0.
fn abi_note(found: &str) -> &'static str {
    match found {
        "proxy_abi_version_0_1_0" => {
            ", which Envoy runs and this host does not; build the module with an SDK for ABI 0.2"
        }
        _ => "",
    }
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
