//! Properties and foreign functions: what a host offers beside the ABI.

use super::memory::{bytes, give_bytes, parts, pay, put_u32};
use super::{Done, Guest};
use crate::abi::Status;
use crate::attributes;
use crate::process::ForeignCall;

pub(super) fn get(guest: &mut Guest<'_>, path: u32, path_size: u32, data: u32, size: u32) -> Done {
    let (memory, state) = parts(guest)?;
    let path = bytes(memory, path, path_size)?;
    let slot = state.current.ok_or(Status::NotFound)?;
    let value = attributes::read(state, slot, path)?.into_owned();
    give_bytes(guest, &value, data, size)
}

pub(super) fn set(guest: &mut Guest<'_>, path: u32, path_size: u32, data: u32, size: u32) -> Done {
    pay(guest, path_size as usize + size as usize)?;
    let (memory, state) = parts(guest)?;
    let (path, value) = (bytes(memory, path, path_size)?, bytes(memory, data, size)?);
    let slot = state.current.ok_or(Status::NotFound)?;
    if state.rules.properties_are_filter_state && state.contexts.stream_id(slot).is_none() {
        return Err(Status::NotFound.into());
    }
    let stored = &mut state.contexts.at_mut(slot).stored;
    if stored.bytes() + path.len() + value.len() > state.limits.property_bytes {
        return Err(Status::InternalFailure.into());
    }
    stored.set(path, value.to_vec());
    Ok(())
}

pub(super) fn call_foreign(
    guest: &mut Guest<'_>,
    name: u32,
    name_size: u32,
    arguments: u32,
    arguments_size: u32,
    data: u32,
    size: u32,
) -> Done {
    pay(guest, arguments_size as usize)?;
    let (memory, state) = parts(guest)?;
    let name = bytes(memory, name, name_size)?;
    let arguments = bytes(memory, arguments, arguments_size)?;
    let function = state.process.foreign_function(name).ok_or(Status::NotFound)?;
    let slot = state.current.ok_or(Status::NotFound)?;
    let call = ForeignCall {
        vm: state.vm,
        worker: state.options.worker,
        plugin: state.contexts.plugin_id(slot),
        stream: state.contexts.stream_id(slot),
    };
    let results = function(&call, arguments)?;
    // Results are optional: a guest that does not want them passes no place for them.
    match (data, size) {
        (0, 0) => Ok(()),
        (0, size) => put_u32(parts(guest)?.0, size, results.len() as u32),
        (data, size) => give_bytes(guest, &results, data, size),
    }
}
