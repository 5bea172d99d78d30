//! The callbacks that a guest exports, with their types.
//!
//! The types are checked when the module is loaded, so that calling a callback costs no check.

use wasmtime::{AsContextMut, Instance, ModuleExport, TypedFunc, ValType, WasmParams, WasmResults};

use crate::error::ModuleError;

/// The result of a callback: an action (0 continues, other values pause), a Boolean or a pointer.
type Answer = u32;

macro_rules! callbacks {
    ($($field:ident = $name:literal: ($($argument:ty),*) -> $result:ty;)*) => {
        /// The callbacks of a guest; `None` if the guest does not export them.
        pub(crate) struct Exports {
            $(pub(crate) $field: Option<TypedFunc<($($argument,)*), $result>>,)*
        }

        /// Where the callbacks are in the instances of a module.
        #[derive(Clone)]
        pub(crate) struct ExportIndexes {
            $($field: Option<ModuleExport>,)*
        }

        impl ExportIndexes {
            /// Looks up the callbacks of a module. [`check`] must have accepted their types.
            pub(crate) fn new(module: &wasmtime::Module) -> ExportIndexes {
                ExportIndexes { $($field: module.get_export_index($name),)* }
            }
        }

        impl Exports {
            /// The callbacks of an instance.
            pub(crate) fn new(
                indexes: &ExportIndexes,
                instance: &Instance,
                mut store: impl AsContextMut,
            ) -> Exports {
                Exports { $($field: function(&indexes.$field, instance, &mut store),)* }
            }
        }

        /// The name, the number of parameters and whether there is a result. All types are `i32`.
        const SIGNATURES: &[(&str, usize, bool)] = &[
            $(($name, <[&str]>::len(&[$(stringify!($argument)),*]), size_of::<$result>() > 0),)*
        ];
    };
}

fn function<P: WasmParams, R: WasmResults>(
    index: &Option<ModuleExport>,
    instance: &Instance,
    mut store: impl AsContextMut,
) -> Option<TypedFunc<P, R>> {
    let export = instance.get_module_export(&mut store, index.as_ref()?)?;
    export.into_func()?.typed(&store).ok()
}

callbacks! {
    on_context_create = "proxy_on_context_create": (u32, u32) -> ();
    on_vm_start = "proxy_on_vm_start": (u32, u32) -> Answer;
    on_configure = "proxy_on_configure": (u32, u32) -> Answer;
    on_tick = "proxy_on_tick": (u32) -> ();
    on_done = "proxy_on_done": (u32) -> Answer;
    on_log = "proxy_on_log": (u32) -> ();
    on_delete = "proxy_on_delete": (u32) -> ();
    on_new_connection = "proxy_on_new_connection": (u32) -> Answer;
    on_downstream_data = "proxy_on_downstream_data": (u32, u32, u32) -> Answer;
    on_upstream_data = "proxy_on_upstream_data": (u32, u32, u32) -> Answer;
    on_downstream_close = "proxy_on_downstream_connection_close": (u32, u32) -> ();
    on_upstream_close = "proxy_on_upstream_connection_close": (u32, u32) -> ();
    on_request_headers = "proxy_on_request_headers": (u32, u32, u32) -> Answer;
    on_request_body = "proxy_on_request_body": (u32, u32, u32) -> Answer;
    on_request_trailers = "proxy_on_request_trailers": (u32, u32) -> Answer;
    on_response_headers = "proxy_on_response_headers": (u32, u32, u32) -> Answer;
    on_response_body = "proxy_on_response_body": (u32, u32, u32) -> Answer;
    on_response_trailers = "proxy_on_response_trailers": (u32, u32) -> Answer;
    on_http_call_response = "proxy_on_http_call_response": (u32, u32, u32, u32, u32) -> ();
    on_grpc_initial_metadata = "proxy_on_grpc_receive_initial_metadata": (u32, u32, u32) -> ();
    on_grpc_receive = "proxy_on_grpc_receive": (u32, u32, u32) -> ();
    on_grpc_trailing_metadata = "proxy_on_grpc_receive_trailing_metadata": (u32, u32, u32) -> ();
    on_grpc_close = "proxy_on_grpc_close": (u32, u32, u32) -> ();
    on_queue_ready = "proxy_on_queue_ready": (u32, u32) -> ();
    on_foreign_function = "proxy_on_foreign_function": (u32, u32, u32) -> ();
    initialize = "_initialize": () -> ();
    start = "_start": () -> ();
    main = "main": (u32, u32) -> Answer;
    allocate = "proxy_on_memory_allocate": (u32) -> Answer;
    malloc = "malloc": (u32) -> Answer;
}

/// The callbacks of HTTP streams.
const HTTP: [&str; 6] = [
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
];

/// The callbacks of TCP streams.
const TCP: [&str; 5] = [
    "proxy_on_new_connection",
    "proxy_on_downstream_data",
    "proxy_on_upstream_data",
    "proxy_on_downstream_connection_close",
    "proxy_on_upstream_connection_close",
];

/// Whether the module has callbacks of TCP streams, but none of HTTP streams.
pub(crate) fn is_tcp_only(module: &wasmtime::Module) -> bool {
    let exports = |names: &[&str]| names.iter().any(|name| module.get_export(name).is_some());
    exports(&TCP) && !exports(&HTTP)
}

/// Checks that the callbacks of the module have the types that the ABI defines.
pub(crate) fn check(module: &wasmtime::Module) -> Result<(), ModuleError> {
    for &(name, params, result) in SIGNATURES {
        let Some(export) = module.get_export(name) else { continue };
        // A `main` of another type is not the one of the ABI. It is never called.
        if name == "main" {
            continue;
        }
        let found = match export.func() {
            Some(function) => {
                let is_i32 = |kind: ValType| matches!(kind, ValType::I32);
                let matches = function.params().len() == params
                    && function.params().all(is_i32)
                    && function.results().len() == usize::from(result)
                    && function.results().all(is_i32);
                if matches {
                    continue;
                }
                describe(
                    &function.params().map(|kind| kind.to_string()).collect::<Vec<_>>(),
                    &function.results().map(|kind| kind.to_string()).collect::<Vec<_>>(),
                )
            }
            None => "an export that is not a function".to_owned(),
        };
        let expected = describe(&vec!["i32"; params], &vec!["i32"; usize::from(result)]);
        return Err(ModuleError::ExportType { name: name.to_owned(), found, expected });
    }
    Ok(())
}

fn describe<S: AsRef<str>>(params: &[S], results: &[S]) -> String {
    let list = |kinds: &[S]| {
        let names: Vec<&str> = kinds.iter().map(AsRef::as_ref).collect();
        format!("({})", names.join(", "))
    };
    format!("{} -> {}", list(params), list(results))
}
