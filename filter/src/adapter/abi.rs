//! The host functions of proxy-wasm ABI 0.2.1 that the filter uses, as safe functions.
#![expect(unsafe_code, reason = "the host functions are imports")]

use super::result::{NOT_FOUND, check, receive};
use crate::host::HostError;

mod imports {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(super) fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
        pub(super) fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
        pub(super) fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        pub(super) fn proxy_get_buffer_bytes(
            buffer: u32,
            start: usize,
            max: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_buffer_bytes(
            buffer: u32,
            start: usize,
            replaced: usize,
            data: *const u8,
            size: usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_pairs(
            map: u32,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_replace_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_remove_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
        ) -> u32;
        pub(super) fn proxy_get_property(
            path: *const u8,
            path_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_property(
            path: *const u8,
            path_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_size: usize,
            body: *const u8,
            body_size: usize,
            headers: *const u8,
            headers_size: usize,
            grpc_status: i32,
        ) -> u32;
        pub(super) fn proxy_continue_stream(stream: u32) -> u32;
        pub(super) fn proxy_close_stream(stream: u32) -> u32;
        pub(super) fn proxy_set_effective_context(context: u32) -> u32;
        pub(super) fn proxy_done() -> u32;
        pub(super) fn proxy_http_call(
            cluster: *const u8,
            cluster_size: usize,
            headers: *const u8,
            headers_size: usize,
            body: *const u8,
            body_size: usize,
            trailers: *const u8,
            trailers_size: usize,
            timeout: u32,
            call: *mut u32,
        ) -> u32;
        pub(super) fn proxy_get_shared_data(
            key: *const u8,
            key_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
            cas: *mut u32,
        ) -> u32;
        pub(super) fn proxy_set_shared_data(
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
            cas: u32,
        ) -> u32;
        pub(super) fn proxy_define_metric(
            kind: u32,
            name: *const u8,
            name_size: usize,
            id: *mut u32,
        ) -> u32;
        pub(super) fn proxy_increment_metric(id: u32, change: i64) -> u32;
        pub(super) fn proxy_record_metric(id: u32, value: u64) -> u32;
        pub(super) fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
        pub(super) fn proxy_call_foreign_function(
            name: *const u8,
            name_size: usize,
            argument: *const u8,
            argument_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
    }
}

/// The directions of a stream.
pub(super) const REQUEST_STREAM: u32 = 0;
pub(super) const RESPONSE_STREAM: u32 = 1;

/// A local reply without a gRPC status.
const NO_GRPC_STATUS: i32 = -1;

/// A serialized header map without fields.
const NO_FIELDS: [u8; 4] = [0; 4];

// SAFETY of every call below: the pointers and lengths come from slices and variables that live
// until the call returns. The host reads within the lengths, and writes only to the places for
// results and to memory that it has allocated in the module.

pub(super) fn log(level: u32, text: &str) -> Result<(), HostError> {
    check(unsafe { imports::proxy_log(level, text.as_ptr(), text.len()) })
}

pub(super) fn current_time() -> Result<u64, HostError> {
    let mut time = 0;
    check(unsafe { imports::proxy_get_current_time_nanoseconds(&mut time) })?;
    Ok(time)
}

pub(super) fn set_tick_period(ms: u32) -> Result<(), HostError> {
    check(unsafe { imports::proxy_set_tick_period_milliseconds(ms) })
}

pub(super) fn buffer(
    buffer: u32,
    start: usize,
    max: usize,
    into: &mut Vec<u8>,
) -> Result<(), HostError> {
    receive(into, |data, size| unsafe {
        imports::proxy_get_buffer_bytes(buffer, start, max, data, size)
    })?;
    Ok(())
}

/// Replaces the first `replaced` bytes of a buffer.
pub(super) fn set_buffer(buffer: u32, replaced: usize, bytes: &[u8]) -> Result<(), HostError> {
    let (data, size) = (bytes.as_ptr(), bytes.len());
    check(unsafe { imports::proxy_set_buffer_bytes(buffer, 0, replaced, data, size) })
}

pub(super) fn header_map(map: u32, into: &mut Vec<u8>) -> Result<(), HostError> {
    receive(into, |data, size| unsafe { imports::proxy_get_header_map_pairs(map, data, size) })?;
    Ok(())
}

pub(super) fn header(map: u32, name: &str, into: &mut Vec<u8>) -> Result<bool, HostError> {
    receive(into, |data, size| unsafe {
        imports::proxy_get_header_map_value(map, name.as_ptr(), name.len(), data, size)
    })
}

pub(super) fn replace_header(map: u32, name: &str, value: &str) -> Result<(), HostError> {
    check(unsafe {
        imports::proxy_replace_header_map_value(
            map,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

pub(super) fn remove_header(map: u32, name: &str) -> Result<(), HostError> {
    check(unsafe { imports::proxy_remove_header_map_value(map, name.as_ptr(), name.len()) })
}

pub(super) fn property(path: &[u8], into: &mut Vec<u8>) -> Result<bool, HostError> {
    receive(into, |data, size| unsafe {
        imports::proxy_get_property(path.as_ptr(), path.len(), data, size)
    })
}

pub(super) fn set_property(name: &str, value: &[u8]) -> Result<(), HostError> {
    check(unsafe {
        imports::proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Replies to the current stream. `headers` is a serialized map.
pub(super) fn send_local_response(
    status: u16,
    headers: &[u8],
    body: &[u8],
) -> Result<(), HostError> {
    check(unsafe {
        imports::proxy_send_local_response(
            status.into(),
            std::ptr::null(),
            0,
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    })
}

/// Resets the response of the current stream.
pub(super) fn close_response() -> Result<(), HostError> {
    check(unsafe { imports::proxy_close_stream(RESPONSE_STREAM) })
}

/// Continues a paused direction of the current stream.
pub(super) fn continue_stream(direction: u32) -> Result<(), HostError> {
    check(unsafe { imports::proxy_continue_stream(direction) })
}

pub(super) fn set_effective_context(context: u32) -> Result<(), HostError> {
    check(unsafe { imports::proxy_set_effective_context(context) })
}

pub(super) fn done() -> Result<(), HostError> {
    check(unsafe { imports::proxy_done() })
}

/// Starts a call. `headers` is a serialized map.
pub(super) fn http_call(
    cluster: &str,
    headers: &[u8],
    body: &[u8],
    timeout_ms: u32,
) -> Result<(), HostError> {
    let mut call = 0;
    check(unsafe {
        imports::proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            NO_FIELDS.as_ptr(),
            NO_FIELDS.len(),
            timeout_ms,
            &mut call,
        )
    })
}

/// Reads shared data; returns its CAS number.
pub(super) fn shared_data(key: &str, into: &mut Vec<u8>) -> Result<u32, HostError> {
    let mut cas = 0;
    receive(into, |data, size| unsafe {
        imports::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut cas)
    })?;
    Ok(cas)
}

pub(super) fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), HostError> {
    check(unsafe {
        imports::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
    })
}

pub(super) fn define_metric(kind: u32, name: &str) -> Result<u32, HostError> {
    let mut id = 0;
    check(unsafe { imports::proxy_define_metric(kind, name.as_ptr(), name.len(), &mut id) })?;
    Ok(id)
}

pub(super) fn increment_metric(id: u32, change: i64) -> Result<(), HostError> {
    check(unsafe { imports::proxy_increment_metric(id, change) })
}

pub(super) fn record_metric(id: u32, value: u64) -> Result<(), HostError> {
    check(unsafe { imports::proxy_record_metric(id, value) })
}

pub(super) fn metric(id: u32) -> Result<u64, HostError> {
    let mut value = 0;
    check(unsafe { imports::proxy_get_metric(id, &mut value) })?;
    Ok(value)
}

/// Calls a function that the ABI does not have. Fails if the host does not have it either.
pub(super) fn call_foreign_function(
    name: &str,
    argument: &[u8],
    into: &mut Vec<u8>,
) -> Result<(), HostError> {
    let is_found = receive(into, |data, size| unsafe {
        imports::proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            argument.as_ptr(),
            argument.len(),
            data,
            size,
        )
    })?;
    if is_found { Ok(()) } else { Err(HostError::Status(NOT_FOUND)) }
}
