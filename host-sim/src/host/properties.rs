//! Host calls that read and set properties or call a foreign function of the embedder.

use crate::abi::Status;
use crate::attributes;
use crate::memory::{
    CallResult, Guest, bytes, charge_copy, charge_stream, consume_fuel, copy_bytes_to_guest,
    memory_and_state, write_u32,
};
use crate::process::ForeignCall;

/// The bytes of a property besides its path and its value.
const PROPERTY_BYTES: usize = 128;

pub(super) fn get(
    guest: &mut Guest<'_>,
    path: u32,
    path_size: u32,
    data: u32,
    size: u32,
) -> CallResult {
    let (memory, state) = memory_and_state(guest)?;
    bytes(memory, path, path_size)?;
    for result in [data, size] {
        bytes(memory, result, 4)?;
    }
    let slot = state.effective.ok_or(Status::NotFound)?;
    // A property can be a header, or the copy of a whole map.
    let scanned = state.contexts.map_bytes(slot);
    consume_fuel(guest, scanned)?;
    let (memory, state) = memory_and_state(guest)?;
    let path = bytes(memory, path, path_size)?;
    let value = attributes::read_property(state, slot, path)?.into_owned();
    copy_bytes_to_guest(guest, &value, data, size)
}

pub(super) fn set(
    guest: &mut Guest<'_>,
    path: u32,
    path_size: u32,
    data: u32,
    size: u32,
) -> CallResult {
    charge_copy(guest, path_size as usize + size as usize)?;
    charge_stream(guest, path_size as usize + size as usize + PROPERTY_BYTES)?;
    let moved = guest.data().effective.map(|slot| guest.data().contexts.at(slot));
    let moved = moved.map_or(0, |context| context.guest_properties.cost());
    consume_fuel(guest, moved)?;
    let (memory, state) = memory_and_state(guest)?;
    let (path, value) = (bytes(memory, path, path_size)?, bytes(memory, data, size)?);
    let slot = state.effective.ok_or(Status::NotFound)?;
    if state.rules.properties_are_filter_state && state.contexts.stream_id(slot).is_none() {
        return Err(Status::NotFound.into());
    }
    let properties = &mut state.contexts.at_mut(slot).guest_properties;
    if properties.cost_with(path, value) > state.limits.property_bytes {
        return Err(Status::InternalFailure.into());
    }
    properties.set(path, value.to_vec());
    Ok(())
}

pub(super) fn call_foreign_function(
    guest: &mut Guest<'_>,
    name: u32,
    name_size: u32,
    arguments: u32,
    arguments_size: u32,
    data: u32,
    size: u32,
) -> CallResult {
    charge_copy(guest, arguments_size as usize)?;
    let (memory, state) = memory_and_state(guest)?;
    let name = bytes(memory, name, name_size)?;
    let arguments = bytes(memory, arguments, arguments_size)?;
    let function = state.process.foreign_function(name).ok_or(Status::NotFound)?;
    let slot = state.effective.ok_or(Status::NotFound)?;
    let call = ForeignCall {
        vm: state.id,
        worker: state.options.worker,
        plugin: state.contexts.plugin_id(slot),
        stream: state.contexts.stream_id(slot),
    };
    let result = function(&call, arguments)?;
    // The guest can pass null pointers if it does not need the result.
    match (data, size) {
        (0, 0) => Ok(()),
        (0, size) => write_u32(memory_and_state(guest)?.0, size, result.len() as u32),
        (data, size) => copy_bytes_to_guest(guest, &result, data, size),
    }
}
