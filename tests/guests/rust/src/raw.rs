//! Host calls whose status the specification logs. The SDK panics on most statuses.

use std::ptr::null_mut;

use proxy_wasm::types::{BufferType, MapType};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        length: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_record_metric(metric: u32, value: u64) -> u32;
    fn proxy_increment_metric(metric: u32, offset: i64) -> u32;
    fn proxy_get_metric(metric: u32, value: *mut u64) -> u32;
}

/// The bytes that a host call returned, or its status.
type Value = Result<Vec<u8>, u32>;

fn value(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Value {
    let (mut data, mut size) = (null_mut(), 0);
    match call(&mut data, &mut size) {
        0 if data.is_null() => Ok(Vec::new()),
        // SAFETY: the host has allocated the data with `proxy_on_memory_allocate` of the SDK, which
        // returns a `Vec` of this size.
        0 => Ok(unsafe { Vec::from_raw_parts(data, size, size) }),
        status => Err(status),
    }
}

pub(crate) fn header(map: MapType, name: &str) -> Value {
    // SAFETY: the pointers are valid for the call.
    value(|data, size| unsafe {
        proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    })
}

pub(crate) fn add_header(map: MapType, name: &str, text: &str) -> u32 {
    // SAFETY: the pointers are valid for the call.
    unsafe {
        proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), text.as_ptr(), text.len())
    }
}

pub(crate) fn buffer(buffer: BufferType, start: usize, length: usize) -> Value {
    // SAFETY: the pointers are valid for the call.
    value(|data, size| unsafe { proxy_get_buffer_bytes(buffer as u32, start, length, data, size) })
}

pub(crate) fn property(path: &str) -> Value {
    let path = path.replace('.', "\0");
    // SAFETY: the pointers are valid for the call.
    value(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

pub(crate) fn record_metric(metric: u32, value: u64) -> u32 {
    // SAFETY: the call has no pointers.
    unsafe { proxy_record_metric(metric, value) }
}

pub(crate) fn increment_metric(metric: u32, offset: i64) -> u32 {
    // SAFETY: the call has no pointers.
    unsafe { proxy_increment_metric(metric, offset) }
}

pub(crate) fn get_metric(metric: u32) -> Result<u64, u32> {
    let mut value = 0;
    // SAFETY: the pointer is valid for the call.
    match unsafe { proxy_get_metric(metric, &mut value) } {
        0 => Ok(value),
        status => Err(status),
    }
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

/// Sends a local reply with an HTTP status and a gRPC status. The SDK sends only one of both.
pub(crate) fn reply(status: u32, body: &str, grpc_status: i32) -> u32 {
    // One pair: the number of pairs, the lengths of name and value, and both with a zero byte.
    let headers = b"\x01\0\0\0\x07\0\0\0\x01\0\0\0x-reply\x001\0";
    // SAFETY: the pointers are valid for the call.
    unsafe {
        proxy_send_local_response(
            status,
            b"guest".as_ptr(),
            5,
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    }
}
