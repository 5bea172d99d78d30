//! The guest's memory, as host functions access it.
//!
//! A pointer or length of the guest is checked here before it is used.

use wasmtime::{Caller, Trap};

use crate::abi::{MapType, Status};
use crate::headers::HeaderMap;
use crate::inline_headers::MapRules;
use crate::state::{Phase, State};

/// The guest that called a host function.
pub(crate) type Guest<'a> = Caller<'a, State>;

/// The result of a host function.
pub(crate) type CallResult<T = ()> = Result<T, CallError>;

/// Why a host function failed.
pub(crate) enum CallError {
    /// The host call returns this status.
    Status(Status),
    /// The running callback traps.
    Trap(wasmtime::Error),
}

impl From<Status> for CallError {
    fn from(status: Status) -> CallError {
        CallError::Status(status)
    }
}

/// Copies up to this many bytes do not consume fuel. Longer copies consume one instruction for each
/// byte; otherwise a loop of host calls could run for hours within its budget.
const FREE_COPY: usize = 1024;

/// The guest's memory and the host's state.
pub(crate) fn memory_and_state<'a>(
    guest: &'a mut Guest<'_>,
) -> CallResult<(&'a mut [u8], &'a mut State)> {
    let memory = guest.data().memory.ok_or(Status::InvalidMemoryAccess)?;
    Ok(memory.data_and_store_mut(guest))
}

/// The bytes at a pointer of the guest.
pub(crate) fn bytes(memory: &[u8], at: u32, len: u32) -> CallResult<&[u8]> {
    let start = at as usize;
    let end = start.checked_add(len as usize).ok_or(Status::InvalidMemoryAccess)?;
    Ok(memory.get(start..end).ok_or(Status::InvalidMemoryAccess)?)
}

/// The bytes at a pointer of the guest, for writing.
pub(crate) fn bytes_mut(memory: &mut [u8], at: u32, len: u32) -> CallResult<&mut [u8]> {
    let start = at as usize;
    let end = start.checked_add(len as usize).ok_or(Status::InvalidMemoryAccess)?;
    Ok(memory.get_mut(start..end).ok_or(Status::InvalidMemoryAccess)?)
}

/// Parses the serialized header map at a pointer of the guest, as a map of this kind.
pub(crate) fn header_map(
    memory: &[u8],
    state: &State,
    kind: MapType,
    at: u32,
    len: u32,
) -> CallResult<HeaderMap> {
    let bytes = bytes(memory, at, len)?;
    let mut map = match HeaderMap::parse(bytes) {
        Some(map) => map,
        None if state.rules.malformed_pairs_are_empty => HeaderMap::new(),
        None => return Err(Status::BadArgument.into()),
    };
    if map.serialized_len() > state.limits.header_bytes {
        return Err(Status::InternalFailure.into());
    }
    if state.rules.lower_case_names {
        map.lower_names();
    }
    MapRules::of(state.rules.inline_headers, kind).normalize(&mut map);
    Ok(map)
}

pub(crate) fn write_u32(memory: &mut [u8], at: u32, value: u32) -> CallResult {
    bytes_mut(memory, at, 4)?.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

pub(crate) fn write_u64(memory: &mut [u8], at: u32, value: u64) -> CallResult {
    bytes_mut(memory, at, 8)?.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// The fuel that each host call consumes, whatever it does. A host call takes about as long as this
/// many instructions, and copies of up to `FREE_COPY` bytes are part of it.
const CALL_FUEL: u64 = 100;

/// Consumes fuel for a host call that reads this many bytes of the guest's memory.
pub(crate) fn charge_call(guest: &mut Guest<'_>, bytes: usize) -> CallResult {
    guest.data_mut().cost.host_calls += 1;
    take_fuel(guest, CALL_FUEL)?;
    charge_copy(guest, bytes)
}

/// Consumes fuel for bytes that the guest passes to a host call. A length beyond the guest's memory
/// is charged as the whole memory; the call rejects it later.
pub(crate) fn charge_copy(guest: &mut Guest<'_>, bytes: usize) -> CallResult {
    if bytes <= FREE_COPY {
        return Ok(());
    }
    let memory = memory_and_state(guest)?.0.len();
    consume_fuel(guest, bytes.min(memory))
}

/// Consumes fuel for handling this many bytes.
pub(crate) fn consume_fuel(guest: &mut Guest<'_>, bytes: usize) -> CallResult {
    if bytes <= FREE_COPY {
        return Ok(());
    }
    take_fuel(guest, bytes as u64)
}

/// Consumes fuel, unless callbacks have a deadline instead. Then the guest traps after the host
/// call.
fn take_fuel(guest: &mut Guest<'_>, fuel: u64) -> CallResult {
    if guest.data().limits.callback_deadline.is_some() {
        return Ok(());
    }
    let left = guest.get_fuel().map_err(CallError::Trap)?.checked_sub(fuel);
    let left = left.ok_or_else(|| CallError::Trap(Trap::OutOfFuel.into()))?;
    guest.set_fuel(left).map_err(CallError::Trap)
}

/// Counts bytes that the guest adds to what its streams keep. Fails if they would keep too much.
pub(crate) fn charge_stream(guest: &mut Guest<'_>, bytes: usize) -> CallResult {
    // The call rejects a longer length later.
    let bytes = bytes.min(memory_and_state(guest)?.0.len());
    let exceeds =
        |state: &State| state.stream_bytes.saturating_add(bytes) > state.limits.stream_bytes;
    if exceeds(guest.data()) {
        // The number also contains what has been forwarded since it was counted.
        let contexts = guest.data().contexts.len();
        consume_fuel(guest, contexts.saturating_mul(CONTEXT_FUEL))?;
        let state = guest.data_mut();
        state.stream_bytes = state.contexts.kept_bytes();
        if exceeds(state) {
            return Err(Status::InternalFailure.into());
        }
    }
    guest.data_mut().stream_bytes += bytes;
    Ok(())
}

/// The fuel for counting the bytes of a context.
const CONTEXT_FUEL: usize = 64;

/// Allocates `len` bytes in the guest, lets `fill` write them, and writes pointer and length to
/// `data` and `size`. Without bytes, nothing is allocated and the pointer is 0.
pub(crate) fn copy_to_guest(
    guest: &mut Guest<'_>,
    len: usize,
    data: u32,
    size: u32,
    fill: impl FnOnce(&mut State, &mut [u8]),
) -> CallResult {
    {
        let (memory, _) = memory_and_state(guest)?;
        bytes(memory, data, 4)?;
        bytes(memory, size, 4)?;
    }
    let len_abi = u32::try_from(len).map_err(|_| Status::InternalFailure)?;
    consume_fuel(guest, len)?;
    let at = if len == 0 { 0 } else { allocate(guest, len_abi)? };
    let (memory, state) = memory_and_state(guest)?;
    if len > 0 {
        fill(state, bytes_mut(memory, at, len_abi)?);
    }
    write_u32(memory, data, at)?;
    write_u32(memory, size, len_abi)
}

/// [`copy_to_guest`] for bytes outside the state.
pub(crate) fn copy_bytes_to_guest(
    guest: &mut Guest<'_>,
    value: &[u8],
    data: u32,
    size: u32,
) -> CallResult {
    copy_to_guest(guest, value.len(), data, size, |_, out| out.copy_from_slice(value))
}

fn allocate(guest: &mut Guest<'_>, len: u32) -> CallResult<u32> {
    let allocate = guest.data_mut().allocate.take().ok_or(Status::InvalidMemoryAccess)?;
    let phase = std::mem::replace(&mut guest.data_mut().phase, Phase::Allocating);
    let result = allocate.call(&mut *guest, (len,));
    let state = guest.data_mut();
    (state.phase, state.allocate) = (phase, Some(allocate));
    match result {
        Ok(0) => Err(Status::InvalidMemoryAccess.into()),
        Ok(at) => Ok(at),
        Err(error) => Err(CallError::Trap(error)),
    }
}
