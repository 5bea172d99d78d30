//! The memory for the values that host calls return.
//!
//! A host call allocates its value in the module with `malloc`. The filter makes one host call at a
//! time and each returns at most one value, so one buffer is enough. It is used again for the next
//! value.
#![expect(unsafe_code, reason = "the host writes into the memory of the module")]

use std::cell::RefCell;

use crate::host::HostError;

thread_local! {
    static RESULT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The largest buffer that is used again, in bytes. A configuration can have several megabytes.
const MAX_KEPT: usize = 64 * 1024;

/// The status of the ABI for a value that was not found.
pub(super) const NOT_FOUND: u32 = 1;

/// The status of the ABI for an error of the host.
const INTERNAL_FAILURE: u32 = 10;

/// The result of a host call that returned this status.
pub(super) fn check(status: u32) -> Result<(), HostError> {
    match status {
        0 => Ok(()),
        8 => Err(HostError::CasMismatch),
        other => Err(HostError::Status(other)),
    }
}

/// The host allocates memory for a value.
#[unsafe(export_name = "malloc")]
extern "C" fn allocate(size: usize) -> *mut u8 {
    RESULT.with_borrow_mut(|result| {
        result.clear();
        if result.capacity() < size || result.capacity() > MAX_KEPT {
            *result = Vec::with_capacity(size);
        }
        result.as_mut_ptr()
    })
}

/// Makes a host call that returns a value, and moves the value to `into`. Returns whether the host
/// found one; `into` is empty if not.
pub(super) fn receive(
    into: &mut Vec<u8>,
    call: impl FnOnce(&mut *mut u8, &mut usize) -> u32,
) -> Result<bool, HostError> {
    into.clear();
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    match check(call(&mut data, &mut size)) {
        Ok(()) => {}
        Err(HostError::Status(NOT_FOUND)) => return Ok(false),
        Err(error) => return Err(error),
    }
    if size == 0 {
        return Ok(true);
    }
    RESULT.with_borrow_mut(|result| {
        if !std::ptr::eq(result.as_ptr(), data) || size > result.capacity() {
            return Err(HostError::Status(INTERNAL_FAILURE));
        }
        // SAFETY: `data` is the start of this buffer, which `allocate` has lent to the host. The
        // capacity is at least `size`, and the host has written `size` bytes before it returned.
        unsafe { result.set_len(size) };
        std::mem::swap(into, result);
        Ok(true)
    })
}
