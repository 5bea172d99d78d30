//! The functions that a guest exports: its callbacks, typed once so that calling one is a jump.

use wasmtime::{AsContextMut, Instance, TypedFunc, ValType};

use crate::module::ModuleError;

/// An action: 0 continues, everything else pauses.
type Answer = u32;

macro_rules! callbacks {
    ($($(#[$doc:meta])* $field:ident = $name:literal: ($($argument:ty),*) -> $result:ty;)*) => {
        /// A guest's callbacks. All are optional.
        pub(crate) struct Exports {
            $($(#[$doc])* pub(crate) $field: Option<TypedFunc<($($argument,)*), $result>>,)*
        }

        impl Exports {
            /// Looks the callbacks up; [`check`] has found their types right.
            pub(crate) fn of(instance: &Instance, mut store: impl AsContextMut) -> Exports {
                Exports {
                    $($field: instance.get_typed_func(&mut store, $name).ok(),)*
                }
            }
        }

        /// Name, number of parameters, and whether there is a result, of every callback. All are
        /// 32 bits wide.
        const SIGNATURES: &[(&str, usize, bool)] = &[
            $(($name, <[&str]>::len(&[$(stringify!($argument)),*]), size_of::<$result>() > 0),)*
        ];
    };
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

/// Whether every callback that the module exports has the type that the ABI gives it.
pub(crate) fn check(module: &wasmtime::Module) -> Result<(), ModuleError> {
    for &(name, params, result) in SIGNATURES {
        let Some(export) = module.get_export(name) else { continue };
        // Programs export a `main` of their own shape; one of another type is not the ABI's.
        if name == "main" {
            continue;
        }
        let found = match export.func() {
            Some(function) => {
                let narrow = |kind: ValType| matches!(kind, ValType::I32);
                let fits = function.params().len() == params
                    && function.params().all(narrow)
                    && function.results().len() == usize::from(result)
                    && function.results().all(narrow);
                if fits {
                    continue;
                }
                describe(
                    &function.params().map(|kind| kind.to_string()).collect::<Vec<_>>(),
                    &function.results().map(|kind| kind.to_string()).collect::<Vec<_>>(),
                )
            }
            None => "something that is no function".to_owned(),
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
