//! Buffers: bodies, data of connections, and what callbacks are called about.

use super::memory::{bytes, give, parts, pay, put_u32, spend};
use super::{Done, Fail, Guest};
use crate::abi::{BufferType, Status};
use crate::context::Kind;
use crate::state::{State, Subject};

pub(super) fn read(
    guest: &mut Guest<'_>,
    kind: u32,
    start: u32,
    max: u32,
    data: u32,
    size: u32,
) -> Done {
    let kind = BufferType::from_abi(kind).ok_or(Status::BadArgument)?;
    let state = guest.data();
    let total = readable(state, kind).ok_or(Status::NotFound)?.len();
    if !state.rules.buffer_range_wraps && start.checked_add(max).is_none() {
        return Err(Status::BadArgument.into());
    }
    let start = start as usize;
    let rest = total.checked_sub(start).ok_or(Status::BadArgument)?;
    let len = rest.min(max as usize);
    give(guest, len, data, size, |state, out| {
        // Nothing can have changed the buffer in between: the allocator cannot call the host.
        if let Some(buffer) = readable(state, kind) {
            out.copy_from_slice(&buffer[start..start + len]);
        }
    })
}

pub(super) fn status(guest: &mut Guest<'_>, kind: u32, size: u32, flags: u32) -> Done {
    let kind = BufferType::from_abi(kind).ok_or(Status::BadArgument)?;
    let (memory, state) = parts(guest)?;
    let total = readable(state, kind).ok_or(Status::NotFound)?.len();
    put_u32(memory, size, total as u32)?;
    put_u32(memory, flags, 0)
}

pub(super) fn write(
    guest: &mut Guest<'_>,
    kind: u32,
    start: u32,
    size: u32,
    data: u32,
    len: u32,
) -> Done {
    let kind = BufferType::from_abi(kind).ok_or(Status::BadArgument)?;
    let total = readable(guest.data(), kind).map_or(0, <[u8]>::len);
    spend(guest, total)?;
    pay(guest, len as usize)?;
    let (memory, state) = parts(guest)?;
    let new = bytes(memory, data, len)?;
    let (limit, parts_fixed) = (state.limits.buffer_bytes, state.rules.buffer_parts_fixed);
    let buffer = writable(state, kind)?;
    let start = (start as usize).min(total);
    let end = start.saturating_add(size as usize).min(total);
    if parts_fixed {
        let whole = start == 0 && end == total;
        let nothing_replaced = start == end && (start == 0 || start == total);
        if !whole && !nothing_replaced {
            return Err(Status::BadArgument.into());
        }
    }
    if total - (end - start) + new.len() > limit {
        return Err(Status::InternalFailure.into());
    }
    buffer.splice(start..end, new.iter().copied());
    Ok(())
}

/// The buffer, if the guest can see it now.
fn readable(state: &State, kind: BufferType) -> Option<&[u8]> {
    let context = state.current.map(|slot| &state.contexts.at(slot).kind);
    let envoy = state.rules.missing_buffer_is_empty;
    // What Envoy keeps as a pointer that may be null reads as empty there.
    let or_empty = |buffer: Option<&'static [u8]>| buffer.or(envoy.then_some(&[][..]));
    match (kind, context, &state.subject) {
        (BufferType::HttpRequestBody, Some(Kind::Http(http)), _) => {
            http.request.peek_body().or(or_empty(None))
        }
        (BufferType::HttpResponseBody, Some(Kind::Http(http)), _) => {
            http.response.peek_body().or(or_empty(None))
        }
        (BufferType::DownstreamData, Some(Kind::Tcp(tcp)), _) => {
            tcp.downstream.peek().or(or_empty(None))
        }
        (BufferType::UpstreamData, Some(Kind::Tcp(tcp)), _) => {
            tcp.upstream.peek().or(or_empty(None))
        }
        (BufferType::HttpCallResponseBody, _, Subject::HttpCall { body, .. }) => Some(body),
        (BufferType::HttpCallResponseBody, _, _) => None,
        (BufferType::GrpcCallMessage, _, Subject::GrpcMessage(message)) => Some(message),
        (BufferType::VmConfiguration, _, Subject::VmConfiguration) => {
            Some(&state.options.vm_configuration)
        }
        (BufferType::VmConfiguration, _, _) if envoy => Some(&state.options.vm_configuration),
        (BufferType::VmConfiguration, _, _) => None,
        (BufferType::PluginConfiguration, _, Subject::PluginConfiguration(configuration)) => {
            Some(configuration)
        }
        (BufferType::PluginConfiguration, _, _) => None,
        (BufferType::ForeignFunctionArguments, _, Subject::ForeignArguments(bytes)) => Some(bytes),
        _ => or_empty(None),
    }
}

/// The buffer, if the guest can change it now: bodies and data of connections alone.
fn writable(state: &mut State, kind: BufferType) -> Result<&mut Vec<u8>, Fail> {
    let known = readable(state, kind).is_some();
    let slot = state.current.ok_or(Status::NotFound)?;
    let buffer = match (kind, &mut state.contexts.at_mut(slot).kind) {
        (BufferType::HttpRequestBody, Kind::Http(http)) => http.request.open_body(),
        (BufferType::HttpResponseBody, Kind::Http(http)) => http.response.open_body(),
        (BufferType::DownstreamData, Kind::Tcp(tcp)) => tcp.downstream.open_data(),
        (BufferType::UpstreamData, Kind::Tcp(tcp)) => tcp.upstream.open_data(),
        _ => None,
    };
    let refusal = if known { Status::BadArgument } else { Status::NotFound };
    Ok(buffer.ok_or(refusal)?)
}
