//! Shared data and shared queues.

use super::memory::{bytes, give_bytes, parts, pay, put_u32};
use super::{Done, Guest};
use crate::abi::Status;

pub(super) fn set(
    guest: &mut Guest<'_>,
    key: u32,
    key_size: u32,
    data: u32,
    size: u32,
    cas: u32,
) -> Done {
    pay(guest, key_size as usize + size as usize)?;
    let (memory, state) = parts(guest)?;
    let (key, value) = (bytes(memory, key, key_size)?, bytes(memory, data, size)?);
    Ok(state.process.data().set(&state.options.vm_id, key, value, cas)?)
}

pub(super) fn get(
    guest: &mut Guest<'_>,
    key: u32,
    key_size: u32,
    data: u32,
    size: u32,
    out: u32,
) -> Done {
    let (memory, state) = parts(guest)?;
    let key = bytes(memory, key, key_size)?;
    let found = state.process.shared_data(&state.options.vm_id, key);
    let (value, cas) = found.ok_or(Status::NotFound)?;
    bytes(memory, out, 4)?;
    give_bytes(guest, &value, data, size)?;
    put_u32(parts(guest)?.0, out, cas)
}

pub(super) fn register(guest: &mut Guest<'_>, name: u32, name_size: u32, out: u32) -> Done {
    let (memory, state) = parts(guest)?;
    let name = bytes(memory, name, name_size)?;
    bytes(memory, out, 4)?;
    // A stream's queue outlives it, so it is its plugin that is told.
    let slot = state.current.ok_or(Status::InternalFailure)?;
    let plugin = state.contexts.plugin_id(slot);
    let mut queues = state.process.queues();
    let queue = queues.register(&state.options.vm_id, name, state.vm, plugin)?;
    drop(queues);
    put_u32(memory, out, queue.0)
}

pub(super) fn resolve(
    guest: &mut Guest<'_>,
    vm: u32,
    vm_size: u32,
    name: u32,
    name_size: u32,
    out: u32,
) -> Done {
    let (memory, state) = parts(guest)?;
    let vm_id = String::from_utf8_lossy(bytes(memory, vm, vm_size)?);
    let name = bytes(memory, name, name_size)?;
    let vm_id = if vm_id.is_empty() { &state.options.vm_id } else { &*vm_id };
    let queue = state.process.queues().resolve(vm_id, name).ok_or(Status::NotFound)?;
    put_u32(memory, out, queue.0)
}

pub(super) fn enqueue(guest: &mut Guest<'_>, queue: u32, data: u32, size: u32) -> Done {
    pay(guest, size as usize)?;
    let (memory, state) = parts(guest)?;
    let item = bytes(memory, data, size)?;
    Ok(state.process.queues().enqueue(queue, item)?)
}

pub(super) fn dequeue(guest: &mut Guest<'_>, queue: u32, data: u32, size: u32) -> Done {
    let item = guest.data().process.queues().front(queue)?.to_vec();
    give_bytes(guest, &item, data, size)?;
    guest.data().process.queues().pop(queue);
    Ok(())
}
