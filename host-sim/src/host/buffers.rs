//! Buffers: bodies, TCP data, configurations and the data of callbacks.

use crate::abi::{BufferType, Status};
use crate::context::Kind;
use crate::effect::Direction;
use crate::memory::{
    CallResult, Guest, bytes, charge_copy, charge_stream, consume_fuel, copy_to_guest,
    memory_and_state, write_u32,
};
use crate::state::{State, Subject};

pub(super) fn get(
    guest: &mut Guest<'_>,
    kind: u32,
    start: u32,
    max: u32,
    data: u32,
    size: u32,
) -> CallResult {
    let kind = BufferType::from_abi(kind).ok_or(Status::BadArgument)?;
    let state = guest.data();
    let total = readable(state, kind).ok_or(Status::NotFound)?.len();
    if !state.rules.buffer_range_truncates && start.checked_add(max).is_none() {
        return Err(Status::BadArgument.into());
    }
    let start = start as usize;
    if start > total && !state.rules.buffer_reads_past_end {
        return Err(Status::BadArgument.into());
    }
    let len = total.saturating_sub(start).min(max as usize);
    copy_to_guest(guest, len, data, size, |state, out| {
        // The allocator ran in between. It cannot call the host, so the buffer is unchanged.
        if let Some(buffer) = readable(state, kind) {
            out.copy_from_slice(&buffer[start..start + len]);
        }
    })
}

pub(super) fn status(guest: &mut Guest<'_>, kind: u32, size: u32, flags: u32) -> CallResult {
    let kind = BufferType::from_abi(kind).ok_or(Status::BadArgument)?;
    let (memory, state) = memory_and_state(guest)?;
    let total = readable(state, kind).ok_or(Status::NotFound)?.len();
    write_u32(memory, size, total as u32)?;
    write_u32(memory, flags, 0)
}

pub(super) fn set(
    guest: &mut Guest<'_>,
    kind: u32,
    start: u32,
    size: u32,
    data: u32,
    len: u32,
) -> CallResult {
    let kind = BufferType::from_abi(kind).ok_or(Status::BadArgument)?;
    let total = readable(guest.data(), kind).map_or(0, <[u8]>::len);
    consume_fuel(guest, total)?;
    charge_copy(guest, len as usize)?;
    charge_stream(guest, len as usize)?;
    let (memory, state) = memory_and_state(guest)?;
    let new = bytes(memory, data, len)?;
    let (limit, rules) = (state.limits.buffer_bytes, state.rules);
    let buffer = writable(state, kind)?;
    let start = (start as usize).min(total);
    let end = start.saturating_add(size as usize).min(total);
    if rules.buffer_rejects_inner_writes && start > 0 && start < total {
        return Err(Status::BadArgument.into());
    }
    if total - (end - start) + new.len() > limit {
        return Err(Status::InternalFailure.into());
    }
    buffer.splice(start..end, new.iter().copied());
    Ok(())
}

/// The buffer, if the guest can read it now.
fn readable(state: &State, kind: BufferType) -> Option<&[u8]> {
    let context = state.effective.map(|slot| &state.contexts.at(slot).kind);
    let missing = state.rules.missing_buffer_is_empty.then_some(&[][..]);
    match (kind, context, &state.subject) {
        (BufferType::HttpRequestBody, Some(Kind::Http(http)), _) => {
            http.open_body(Direction::Request).or(missing)
        }
        (BufferType::HttpResponseBody, Some(Kind::Http(http)), _) => {
            http.open_body(Direction::Response).or(missing)
        }
        (BufferType::DownstreamData, Some(Kind::Tcp(tcp)), _) => {
            tcp.downstream.open_bytes().or(missing)
        }
        (BufferType::UpstreamData, Some(Kind::Tcp(tcp)), _) => {
            tcp.upstream.open_bytes().or(missing)
        }
        (BufferType::HttpCallResponseBody, _, Subject::HttpCall { body, .. }) => Some(body),
        (BufferType::HttpCallResponseBody, _, _) => None,
        (BufferType::GrpcCallMessage, _, Subject::GrpcMessage(message)) => Some(message),
        (BufferType::VmConfiguration, _, Subject::VmConfiguration) => {
            Some(&state.options.vm_configuration)
        }
        // The VM configuration is one of the buffers that Envoy stores as pointers. It exists as
        // long as the VM.
        (BufferType::VmConfiguration, _, _) => {
            missing.map(|_| state.options.vm_configuration.as_slice())
        }
        (BufferType::PluginConfiguration, _, Subject::PluginConfiguration(configuration)) => {
            Some(configuration)
        }
        (BufferType::PluginConfiguration, _, _) => None,
        (BufferType::ForeignFunctionArguments, _, Subject::ForeignArguments(bytes)) => Some(bytes),
        // Envoy has one buffer for both.
        (BufferType::ForeignFunctionArguments, _, Subject::PluginConfiguration(configuration)) => {
            missing.map(|_| configuration.as_slice())
        }
        _ => missing,
    }
}

/// The buffer, if the guest can change it now. Only bodies, TCP data and, in Envoy, the messages of
/// gRPC calls can change.
fn writable(state: &mut State, kind: BufferType) -> CallResult<&mut Vec<u8>> {
    let exists = readable(state, kind).is_some();
    if kind == BufferType::GrpcCallMessage
        && state.rules.grpc_message_is_writable
        && let Subject::GrpcMessage(message) = &mut state.subject
    {
        return Ok(message);
    }
    let slot = state.effective.ok_or(Status::NotFound)?;
    let buffer = match (kind, &mut state.contexts.at_mut(slot).kind) {
        (BufferType::HttpRequestBody, Kind::Http(http)) => http.open_body_mut(Direction::Request),
        (BufferType::HttpResponseBody, Kind::Http(http)) => http.open_body_mut(Direction::Response),
        (BufferType::DownstreamData, Kind::Tcp(tcp)) => tcp.downstream.open_bytes_mut(),
        (BufferType::UpstreamData, Kind::Tcp(tcp)) => tcp.upstream.open_bytes_mut(),
        _ => None,
    };
    let refusal = if exists { Status::BadArgument } else { Status::NotFound };
    Ok(buffer.ok_or(refusal)?)
}
