//! The guest's memory, as host functions see it.

use wasmtime::Trap;

use super::{Done, Fail, Guest};
use crate::abi::Status;
use crate::headers::HeaderMap;
use crate::state::{Mode, State};

/// Bytes that a host function may copy for nothing. What is longer is paid from the callback's
/// budget, a byte an instruction, or a loop around one host call would outlive any budget.
const FREE_COPY: usize = 1024;

/// The guest's memory and the host's state, both at once.
pub(super) fn parts<'a>(guest: &'a mut Guest<'_>) -> Result<(&'a mut [u8], &'a mut State), Fail> {
    let memory = guest.data().memory.ok_or(Status::InvalidMemoryAccess)?;
    Ok(memory.data_and_store_mut(guest))
}

/// The bytes at a pointer.
pub(super) fn bytes(memory: &[u8], at: u32, len: u32) -> Result<&[u8], Fail> {
    let start = at as usize;
    let end = start.checked_add(len as usize).ok_or(Status::InvalidMemoryAccess)?;
    Ok(memory.get(start..end).ok_or(Status::InvalidMemoryAccess)?)
}

/// The same, to be written.
pub(super) fn bytes_mut(memory: &mut [u8], at: u32, len: u32) -> Result<&mut [u8], Fail> {
    let start = at as usize;
    let end = start.checked_add(len as usize).ok_or(Status::InvalidMemoryAccess)?;
    Ok(memory.get_mut(start..end).ok_or(Status::InvalidMemoryAccess)?)
}

/// A serialized map at a pointer.
pub(super) fn map(memory: &[u8], state: &State, at: u32, len: u32) -> Result<HeaderMap, Fail> {
    let bytes = bytes(memory, at, len)?;
    let mut map = match HeaderMap::parse(bytes) {
        Some(map) => map,
        None if state.rules.malformed_pairs_are_empty => HeaderMap::new(),
        None => return Err(Status::BadArgument.into()),
    };
    if map.byte_size() > state.limits.header_bytes {
        return Err(Status::InternalFailure.into());
    }
    if state.rules.lower_case_names {
        map.lower_names();
    }
    Ok(map)
}

pub(super) fn put_u32(memory: &mut [u8], at: u32, value: u32) -> Done {
    bytes_mut(memory, at, 4)?.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

pub(super) fn put_u64(memory: &mut [u8], at: u32, value: u64) -> Done {
    bytes_mut(memory, at, 8)?.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// Pays for this many bytes that the guest passes. More than its whole memory is not paid for: it
/// will be refused.
pub(super) fn pay(guest: &mut Guest<'_>, bytes: usize) -> Done {
    if bytes <= FREE_COPY {
        return Ok(());
    }
    let memory = parts(guest)?.0.len();
    spend(guest, bytes.min(memory))
}

/// Takes the price of handling this many bytes from the callback's budget.
pub(super) fn spend(guest: &mut Guest<'_>, bytes: usize) -> Done {
    if bytes <= FREE_COPY {
        return Ok(());
    }
    let left = guest.get_fuel().map_err(Fail::Trap)?.checked_sub(bytes as u64);
    let left = left.ok_or_else(|| Fail::Trap(Trap::OutOfFuel.into()))?;
    guest.set_fuel(left).map_err(Fail::Trap)
}

/// Hands `len` bytes to the guest in memory of its own, and writes their place and number where it
/// wants them. Nothing is allocated for no bytes.
pub(super) fn give(
    guest: &mut Guest<'_>,
    len: usize,
    data: u32,
    size: u32,
    fill: impl FnOnce(&mut State, &mut [u8]),
) -> Done {
    {
        let (memory, _) = parts(guest)?;
        bytes(memory, data, 4)?;
        bytes(memory, size, 4)?;
    }
    let len_abi = u32::try_from(len).map_err(|_| Status::InternalFailure)?;
    spend(guest, len)?;
    let at = if len == 0 { 0 } else { allocate(guest, len_abi)? };
    let (memory, state) = parts(guest)?;
    if len > 0 {
        fill(state, bytes_mut(memory, at, len_abi)?);
    }
    put_u32(memory, data, at)?;
    put_u32(memory, size, len_abi)
}

/// The same for bytes that are not part of the state.
pub(super) fn give_bytes(guest: &mut Guest<'_>, value: &[u8], data: u32, size: u32) -> Done {
    give(guest, value.len(), data, size, |_, out| out.copy_from_slice(value))
}

fn allocate(guest: &mut Guest<'_>, len: u32) -> Result<u32, Fail> {
    let allocate = guest.data_mut().allocate.take().ok_or(Status::InvalidMemoryAccess)?;
    let mode = std::mem::replace(&mut guest.data_mut().mode, Mode::Allocating);
    let result = allocate.call(&mut *guest, (len,));
    let state = guest.data_mut();
    (state.mode, state.allocate) = (mode, Some(allocate));
    match result {
        Ok(0) => Err(Status::InvalidMemoryAccess.into()),
        Ok(at) => Ok(at),
        Err(error) => Err(Fail::Trap(error)),
    }
}
