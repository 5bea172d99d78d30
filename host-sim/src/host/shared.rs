//! Host calls on the state that VMs share: shared data and shared queues.

use crate::abi::Status;
use crate::memory::{
    CallResult, Guest, bytes, charge_copy, copy_bytes_to_guest, memory_and_state, write_u32,
};

pub(super) fn set(
    guest: &mut Guest<'_>,
    key: u32,
    key_size: u32,
    data: u32,
    size: u32,
    cas: u32,
) -> CallResult {
    charge_copy(guest, key_size as usize + size as usize)?;
    let (memory, state) = memory_and_state(guest)?;
    let (key, value) = (bytes(memory, key, key_size)?, bytes(memory, data, size)?);
    Ok(state.process.set_shared_data(&state.options.vm_id, key, value, cas)?)
}

pub(super) fn get(
    guest: &mut Guest<'_>,
    key: u32,
    key_size: u32,
    data: u32,
    size: u32,
    out: u32,
) -> CallResult {
    let (memory, state) = memory_and_state(guest)?;
    let key = bytes(memory, key, key_size)?;
    for result in [out, data, size] {
        bytes(memory, result, 4)?;
    }
    let found = state.process.shared_data(&state.options.vm_id, key);
    let (value, cas) = found.ok_or(Status::NotFound)?;
    copy_bytes_to_guest(guest, &value, data, size)?;
    write_u32(memory_and_state(guest)?.0, out, cas)
}

pub(super) fn register(guest: &mut Guest<'_>, name: u32, name_size: u32, out: u32) -> CallResult {
    let (memory, state) = memory_and_state(guest)?;
    let name = bytes(memory, name, name_size)?;
    bytes(memory, out, 4)?;
    // A queue outlives the stream that registers it, so its plugin is notified.
    let slot = state.effective.ok_or(Status::InternalFailure)?;
    let plugin = state.contexts.plugin_id(slot);
    let mut queues = state.process.queues_mut();
    let queue = queues.register(&state.options.vm_id, name, state.id, plugin)?;
    drop(queues);
    write_u32(memory, out, queue.0)
}

pub(super) fn resolve(
    guest: &mut Guest<'_>,
    vm: u32,
    vm_size: u32,
    name: u32,
    name_size: u32,
    out: u32,
) -> CallResult {
    let (memory, state) = memory_and_state(guest)?;
    let vm_id = String::from_utf8_lossy(bytes(memory, vm, vm_size)?);
    let name = bytes(memory, name, name_size)?;
    let vm_id = if vm_id.is_empty() { &state.options.vm_id } else { &*vm_id };
    let queue = state.process.queues_mut().resolve(vm_id, name).ok_or(Status::NotFound)?;
    write_u32(memory, out, queue.0)
}

pub(super) fn enqueue(guest: &mut Guest<'_>, queue: u32, data: u32, size: u32) -> CallResult {
    charge_copy(guest, size as usize)?;
    let (memory, state) = memory_and_state(guest)?;
    let item = bytes(memory, data, size)?;
    Ok(state.process.queues_mut().enqueue(queue, item)?)
}

pub(super) fn dequeue(guest: &mut Guest<'_>, queue: u32, data: u32, size: u32) -> CallResult {
    let (memory, _) = memory_and_state(guest)?;
    for result in [data, size] {
        bytes(memory, result, 4)?;
    }
    let item = guest.data().process.queues_mut().front(queue)?.to_vec();
    copy_bytes_to_guest(guest, &item, data, size)?;
    guest.data().process.queues_mut().pop(queue);
    Ok(())
}
