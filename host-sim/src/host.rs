//! The host functions: everything that a guest can import.
//!
//! A host function checks its arguments, changes the [`State`] and returns a status. No argument
//! can make it panic: pointers are checked against the guest's memory, lengths are bounded, and
//! unknown numbers are rejected.

mod buffers;
mod calls;
mod grpc_service;
mod headers;
mod metrics;
mod properties;
mod shared;
mod streams;
mod system;
mod wasi;

use wasmtime::Linker;

use crate::abi::Status;
use crate::memory::{CallError, CallResult, Guest, charge_call};
use crate::state::State;

/// Converts a result to the number that the guest receives.
fn status(result: CallResult) -> wasmtime::Result<u32> {
    match result {
        Ok(()) => Ok(Status::Ok as u32),
        Err(CallError::Status(status)) => Ok(status as u32),
        Err(CallError::Trap(error)) => Err(error),
    }
}

/// Defines host functions in the module `env`. All except logging are rejected while the module
/// starts or its allocator runs. Each call consumes fuel, also for the bytes that it reads: their
/// lengths are listed after `reads`, unless the function charges them itself.
macro_rules! define {
    ($linker:ident, $(
        $name:literal => $function:path, ($($argument:ident: $kind:ty),*) $(reads $($size:ident)+)?;
    )*) => {$(
        $linker.func_wrap(
            "env",
            $name,
            |mut guest: Guest<'_>, $($argument: $kind),*| -> wasmtime::Result<u32> {
                guest.data().check_phase($name).map_err(wasmtime::Error::new)?;
                let read = 0 $($(+ $size as usize)+)?;
                status(
                    charge_call(&mut guest, read)
                        .and_then(|()| $function(&mut guest, $($argument),*)),
                )
            },
        )?;
    )*};
}

/// Adds all functions of ABI 0.2.1, and the functions of WASI preview 1 that Envoy offers.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    define! { linker,
        "proxy_get_log_level" => system::log_level, (out: u32);
        "proxy_get_current_time_nanoseconds" => system::current_time, (out: u32);
        "proxy_set_tick_period_milliseconds" => system::set_tick_period, (period: u32);

        "proxy_get_buffer_bytes" => buffers::get, (
            kind: u32, start: u32, max: u32, data: u32, size: u32
        );
        "proxy_set_buffer_bytes" => buffers::set, (
            kind: u32, start: u32, size: u32, data: u32, len: u32
        );
        "proxy_get_buffer_status" => buffers::status, (kind: u32, size: u32, flags: u32);

        "proxy_get_header_map_size" => headers::size, (kind: u32, out: u32);
        "proxy_get_header_map_pairs" => headers::pairs, (kind: u32, data: u32, size: u32);
        "proxy_set_header_map_pairs" => headers::set_pairs, (kind: u32, data: u32, size: u32);
        "proxy_get_header_map_value" => headers::value, (
            kind: u32, key: u32, key_size: u32, data: u32, size: u32
        ) reads key_size;
        "proxy_add_header_map_value" => headers::add, (
            kind: u32, key: u32, key_size: u32, data: u32, size: u32
        ) reads key_size size;
        "proxy_replace_header_map_value" => headers::replace, (
            kind: u32, key: u32, key_size: u32, data: u32, size: u32
        ) reads key_size size;
        "proxy_remove_header_map_value" => headers::remove, (kind: u32, key: u32, key_size: u32) reads key_size;

        "proxy_continue_stream" => streams::continue_stream, (kind: u32);
        "proxy_close_stream" => streams::close, (kind: u32);
        "proxy_get_status" => streams::call_status, (code: u32, data: u32, size: u32);
        "proxy_send_local_response" => streams::local_reply, (
            code: u32, details: u32, details_size: u32, body: u32, body_size: u32, pairs: u32,
            pairs_size: u32, grpc: u32
        ) reads details_size;
        "proxy_set_effective_context" => streams::set_effective_context, (context: u32);
        "proxy_done" => streams::done, ();

        "proxy_http_call" => calls::http, (
            upstream: u32, upstream_size: u32, headers: u32, headers_size: u32, body: u32,
            body_size: u32, trailers: u32, trailers_size: u32, timeout: u32, out: u32
        ) reads upstream_size;
        "proxy_grpc_call" => calls::grpc_unary, (
            upstream: u32, upstream_size: u32, service: u32, service_size: u32, method: u32,
            method_size: u32, metadata: u32, metadata_size: u32, message: u32, message_size: u32,
            timeout: u32, out: u32
        ) reads upstream_size service_size method_size;
        "proxy_grpc_stream" => calls::grpc_stream, (
            upstream: u32, upstream_size: u32, service: u32, service_size: u32, method: u32,
            method_size: u32, metadata: u32, metadata_size: u32, out: u32
        ) reads upstream_size service_size method_size;
        "proxy_grpc_send" => calls::grpc_send, (call: u32, message: u32, size: u32, end: u32);
        "proxy_grpc_cancel" => calls::grpc_cancel, (call: u32);
        "proxy_grpc_close" => calls::grpc_close, (call: u32);

        "proxy_set_shared_data" => shared::set, (
            key: u32, key_size: u32, data: u32, size: u32, cas: u32
        );
        "proxy_get_shared_data" => shared::get, (
            key: u32, key_size: u32, data: u32, size: u32, cas: u32
        ) reads key_size;
        "proxy_register_shared_queue" => shared::register, (name: u32, name_size: u32, out: u32) reads name_size;
        "proxy_resolve_shared_queue" => shared::resolve, (
            vm: u32, vm_size: u32, name: u32, name_size: u32, out: u32
        ) reads vm_size name_size;
        "proxy_enqueue_shared_queue" => shared::enqueue, (queue: u32, data: u32, size: u32);
        "proxy_dequeue_shared_queue" => shared::dequeue, (queue: u32, data: u32, size: u32);

        "proxy_define_metric" => metrics::define, (kind: u32, name: u32, name_size: u32, out: u32) reads name_size;
        "proxy_record_metric" => metrics::record, (metric: u32, value: u64);
        "proxy_increment_metric" => metrics::increment, (metric: u32, delta: i64);
        "proxy_get_metric" => metrics::get, (metric: u32, out: u32);

        "proxy_get_property" => properties::get, (path: u32, path_size: u32, data: u32, size: u32) reads path_size;
        "proxy_set_property" => properties::set, (path: u32, path_size: u32, data: u32, size: u32);
        "proxy_call_foreign_function" => properties::call_foreign_function, (
            name: u32, name_size: u32, arguments: u32, arguments_size: u32, data: u32, size: u32
        ) reads name_size;
    }
    linker.func_wrap(
        "env",
        "proxy_log",
        |mut guest: Guest<'_>, level: u32, text: u32, size: u32| {
            status(
                charge_call(&mut guest, 0)
                    .and_then(|()| system::log(&mut guest, level, text, size)),
            )
        },
    )?;
    link_emscripten(linker)?;
    wasi::link(linker)
}

/// The functions that modules of Emscripten import. As measured, Envoy 1.40 offers them too.
fn link_emscripten(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "pthread_equal", |a: u32, b: u32| u32::from(a == b))?;
    linker.func_wrap("env", "emscripten_notify_memory_growth", |_memory: u32| {})?;
    Ok(())
}
