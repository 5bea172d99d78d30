//! Loading a module: compiled and checked once, then instantiated for each VM.

use std::sync::Arc;

use wasmtime::{Config, Engine, ExternType, InstancePre, Linker, UnknownImportError};

use crate::abi::AbiVersion;
use crate::error::ModuleError;
use crate::exports::ExportIndexes;
use crate::limits::Limits;
use crate::module_cache::ModuleCache;
use crate::state::State;
use crate::{exports, host, module_size};

/// A compiled proxy-wasm module. Clones share the machine code.
#[derive(Clone)]
pub struct Module {
    abi: AbiVersion,
    limits: Arc<Limits>,
    tcp_only: bool,
    from_cache: bool,
    instance: InstancePre<State>,
    exports: Arc<ExportIndexes>,
}

impl Module {
    /// Compiles and checks a module. `limits` apply to each VM of the module.
    ///
    /// # Errors
    /// [`ModuleError`] if the bytes are not a proxy-wasm module of ABI 0.2.
    pub fn new(wasm: &[u8], limits: &Limits) -> Result<Module, ModuleError> {
        Module::load(wasm, limits, None)
    }

    /// As [`new`](Self::new), but compiles the module only if `cache` does not have it.
    ///
    /// # Errors
    /// As `new`. A cache that cannot be read or written is not an error.
    pub fn with_cache(
        wasm: &[u8],
        limits: &Limits,
        cache: &ModuleCache,
    ) -> Result<Module, ModuleError> {
        Module::load(wasm, limits, Some(cache))
    }

    fn load(
        wasm: &[u8],
        limits: &Limits,
        cache: Option<&ModuleCache>,
    ) -> Result<Module, ModuleError> {
        module_size::check(wasm, limits)?;
        let engine = Engine::new(&engine_config(limits)).map_err(invalid)?;
        let (module, from_cache) = match cache {
            Some(cache) => cache.load_or_compile(&engine, wasm),
            None => wasmtime::Module::new(&engine, wasm).map(|module| (module, false)),
        }
        .map_err(invalid)?;
        let abi = declared_abi(&module)?;
        exports::check(&module)?;
        check_memory(&module)?;
        let tcp_only = exports::is_tcp_only(&module);
        let mut linker = Linker::new(&engine);
        host::link(&mut linker).map_err(invalid)?;
        check_imports(&module, abi)?;
        let instance = linker.instantiate_pre(&module).map_err(import_error)?;
        let exports = Arc::new(ExportIndexes::new(&module));
        let limits = Arc::new(limits.clone());
        Ok(Module { abi, limits, tcp_only, from_cache, instance, exports })
    }

    /// The version of the ABI that the module declares.
    pub fn abi(&self) -> AbiVersion {
        self.abi
    }

    /// Whether the module has callbacks of TCP connections, but none of HTTP exchanges. Such a module
    /// does nothing in an HTTP filter chain.
    pub fn is_tcp_only(&self) -> bool {
        self.tcp_only
    }

    /// Whether a [`ModuleCache`] had the machine code, so that nothing was compiled.
    pub fn is_from_cache(&self) -> bool {
        self.from_cache
    }

    /// Advances the epoch of [`Limits::callback_deadline`] for all VMs of the module. Any thread can
    /// call this while callbacks run: usually one that sleeps for an interval, advances the epoch,
    /// and repeats. The library starts no such thread. If nothing advances the epoch, no callback
    /// exceeds its deadline.
    pub fn advance_epoch(&self) {
        self.instance.module().engine().increment_epoch();
    }

    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    pub(crate) fn instance(&self) -> &InstancePre<State> {
        &self.instance
    }

    pub(crate) fn exports(&self) -> &ExportIndexes {
        &self.exports
    }
}

/// By default, the budget of a callback is a number of instructions, not a time. A callback that
/// exceeds it traps at the same instruction on every machine.
fn engine_config(limits: &Limits) -> Config {
    let mut config = Config::new();
    let has_deadline = limits.callback_deadline.is_some();
    config
        .consume_fuel(!has_deadline)
        .epoch_interruption(has_deadline)
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

/// The functions that hosts offer to modules of one version of the ABI only. Measured with Envoy
/// 1.40, and in agreement with the specifications.
const OF_ONE_ABI: [(&str, &str); 5] = [
    ("proxy_get_log_level", "0.2.1"),
    ("proxy_get_configuration", "0.1.0"),
    ("proxy_continue_request", "0.1.0"),
    ("proxy_continue_response", "0.1.0"),
    ("proxy_clear_route_cache", "0.1.0"),
];

/// Checks that the module does not import functions of another version of the ABI.
fn check_imports(module: &wasmtime::Module, abi: AbiVersion) -> Result<(), ModuleError> {
    let own = abi.to_string();
    for import in module.imports().filter(|import| import.module() == "env") {
        let other = OF_ONE_ABI.iter().find(|(name, _)| *name == import.name());
        if let Some((name, version)) = other.filter(|(_, version)| *version != own) {
            return Err(ModuleError::ImportOfOtherAbi {
                module: import.module().to_owned(),
                name: (*name).to_owned(),
                version,
                declared: abi,
            });
        }
    }
    Ok(())
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
