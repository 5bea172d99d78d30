//! Calls that a guest makes on its own account: HTTP, and gRPC unary or as a stream.

use std::time::Duration;

use super::memory::{bytes, map, parts, pay, put_u32};
use super::{Done, Fail, Guest, grpc_service};
use crate::abi::Status;
use crate::effect::{Effect, GrpcOpen, HttpCall};
use crate::headers::HeaderMap;
use crate::state::{CallKind, State};
use crate::stream::CallId;

#[expect(clippy::too_many_arguments, reason = "the ABI's own parameter list")]
pub(super) fn http(
    guest: &mut Guest<'_>,
    upstream: u32,
    upstream_size: u32,
    headers: u32,
    headers_size: u32,
    body: u32,
    body_size: u32,
    trailers: u32,
    trailers_size: u32,
    timeout: u32,
    out: u32,
) -> Done {
    pay(guest, headers_size as usize + body_size as usize + trailers_size as usize)?;
    let (memory, state) = parts(guest)?;
    let upstream = text(memory, upstream, upstream_size)?;
    let mut headers = map(memory, state, headers, headers_size)?;
    let body = bytes(memory, body, body_size)?.to_vec();
    let trailers = map(memory, state, trailers, trailers_size)?;
    bytes(memory, out, 4)?;
    if timeout > i32::MAX as u32
        || !state.process.knows_upstream(&upstream)
        || [":method", ":path", ":authority"].iter().any(|name| headers.find(name).is_none())
    {
        return Err(Status::BadArgument.into());
    }
    if state.rules.http_call_adds_length && !body.is_empty() {
        headers.set("content-length", body.len().to_string());
    }
    state.charge(headers.byte_size() + body.len() + trailers.byte_size() + upstream.len())?;
    let call = open(state, CallKind::Http)?;
    let timeout = timeout_of(timeout);
    let plugin = plugin_of(state)?;
    state.effects.push(Effect::HttpCall(Box::new(HttpCall {
        call,
        plugin: state.contexts.plugin_id(plugin),
        upstream,
        headers,
        body,
        trailers,
        timeout,
    })));
    put_u32(memory, out, call.0)
}

#[expect(clippy::too_many_arguments, reason = "the ABI's own parameter list")]
pub(super) fn grpc_unary(
    guest: &mut Guest<'_>,
    upstream: u32,
    upstream_size: u32,
    service: u32,
    service_size: u32,
    method: u32,
    method_size: u32,
    metadata: u32,
    metadata_size: u32,
    message: u32,
    message_size: u32,
    timeout: u32,
    out: u32,
) -> Done {
    pay(guest, metadata_size as usize + message_size as usize)?;
    let (memory, _) = parts(guest)?;
    let message = bytes(memory, message, message_size)?.to_vec();
    let target = Target {
        upstream: (upstream, upstream_size),
        service: (service, service_size),
        method: (method, method_size),
        metadata: (metadata, metadata_size),
    };
    grpc_open(guest, target, Some(message), timeout_of(timeout), out)
}

#[expect(clippy::too_many_arguments, reason = "the ABI's own parameter list")]
pub(super) fn grpc_stream(
    guest: &mut Guest<'_>,
    upstream: u32,
    upstream_size: u32,
    service: u32,
    service_size: u32,
    method: u32,
    method_size: u32,
    metadata: u32,
    metadata_size: u32,
    out: u32,
) -> Done {
    pay(guest, metadata_size as usize)?;
    let target = Target {
        upstream: (upstream, upstream_size),
        service: (service, service_size),
        method: (method, method_size),
        metadata: (metadata, metadata_size),
    };
    grpc_open(guest, target, None, None, out)
}

/// What both ways to open a gRPC call name, as pointers and lengths.
struct Target {
    upstream: (u32, u32),
    service: (u32, u32),
    method: (u32, u32),
    metadata: (u32, u32),
}

fn grpc_open(
    guest: &mut Guest<'_>,
    target: Target,
    message: Option<Vec<u8>>,
    timeout: Option<Duration>,
    out: u32,
) -> Done {
    let (memory, state) = parts(guest)?;
    let upstream = bytes(memory, target.upstream.0, target.upstream.1)?;
    let upstream = if state.rules.grpc_upstream_is_message {
        grpc_service::upstream(upstream).ok_or(Status::ParseFailure)?
    } else {
        String::from_utf8_lossy(upstream).into_owned()
    };
    let service = text(memory, target.service.0, target.service.1)?;
    let method = text(memory, target.method.0, target.method.1)?;
    let metadata: HeaderMap = map(memory, state, target.metadata.0, target.metadata.1)?;
    bytes(memory, out, 4)?;
    if !state.process.knows_upstream(&upstream) {
        return Err(state.rules.unknown_grpc_upstream.into());
    }
    let message_size = message.as_ref().map_or(0, Vec::len);
    state.charge(upstream.len() + metadata.byte_size() + message_size)?;
    let unary = message.is_some();
    let kind = if unary { CallKind::GrpcUnary } else { CallKind::GrpcStream { closed: false } };
    let call = open(state, kind)?;
    let plugin = plugin_of(state)?;
    state.effects.push(Effect::GrpcOpen(Box::new(GrpcOpen {
        call,
        plugin: state.contexts.plugin_id(plugin),
        upstream: upstream.into_bytes(),
        service,
        method,
        metadata,
        message,
        timeout,
    })));
    put_u32(memory, out, call.0)
}

pub(super) fn grpc_send(
    guest: &mut Guest<'_>,
    call: u32,
    message: u32,
    size: u32,
    end: u32,
) -> Done {
    pay(guest, size as usize)?;
    let (memory, state) = parts(guest)?;
    let message = bytes(memory, message, size)?;
    match grpc_kind(state, call)? {
        CallKind::GrpcStream { closed: false } => {}
        _ => return Err(Status::BadArgument.into()),
    }
    state.charge(message.len())?;
    let end = end != 0;
    state.effects.push(Effect::GrpcSend { call: CallId(call), message: message.to_vec(), end });
    if end && let Some(call) = state.calls.pending.get_mut(&call) {
        call.kind = CallKind::GrpcStream { closed: true };
    }
    Ok(())
}

pub(super) fn grpc_cancel(guest: &mut Guest<'_>, call: u32) -> Done {
    let state = guest.data_mut();
    grpc_kind(state, call)?;
    state.calls.pending.remove(&call);
    state.effects.push(Effect::GrpcCancel { call: CallId(call) });
    Ok(())
}

pub(super) fn grpc_close(guest: &mut Guest<'_>, call: u32) -> Done {
    let state = guest.data_mut();
    match grpc_kind(state, call)? {
        // Ended already; the peer's end is still to come.
        CallKind::GrpcStream { closed: true } => return Ok(()),
        CallKind::GrpcStream { closed: false } => {
            if let Some(call) = state.calls.pending.get_mut(&call) {
                call.kind = CallKind::GrpcStream { closed: true };
            }
        }
        CallKind::GrpcUnary | CallKind::Http => {
            state.calls.pending.remove(&call);
        }
    }
    state.effects.push(Effect::GrpcClose { call: CallId(call) });
    Ok(())
}

fn grpc_kind(state: &State, call: u32) -> Result<CallKind, Fail> {
    let plugin = plugin_of(state)?;
    match state.calls.pending.get(&call) {
        Some(call) if call.kind == CallKind::Http => Err(Status::BadArgument.into()),
        Some(call) if call.plugin == plugin => Ok(call.kind),
        _ => Err(Status::NotFound.into()),
    }
}

fn open(state: &mut State, kind: CallKind) -> Result<CallId, Fail> {
    let plugin = plugin_of(state)?;
    let limit = state.limits.pending_calls;
    let call = state.calls.open(plugin, kind, limit).ok_or(Status::InternalFailure)?;
    Ok(CallId(call))
}

fn plugin_of(state: &State) -> Result<u32, Fail> {
    let slot = state.current.ok_or(Status::InternalFailure)?;
    Ok(state.contexts.at(slot).plugin)
}

fn text(memory: &[u8], at: u32, len: u32) -> Result<String, Fail> {
    Ok(String::from_utf8_lossy(bytes(memory, at, len)?).into_owned())
}

/// A timeout of 0 is none.
fn timeout_of(millis: u32) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis.into()))
}
