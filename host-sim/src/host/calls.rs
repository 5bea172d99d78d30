//! Calls of the guest to upstreams: HTTP, and gRPC (unary or stream).

use std::time::Duration;

use super::grpc_service;
use crate::abi::{MapType, Status};
use crate::effect::{Effect, GrpcOpen, HttpCall};
use crate::headers::HeaderMap;
use crate::ids::CallId;
use crate::memory::{
    CallError, CallResult, Guest, bytes, charge_copy, header_map, memory_and_state, write_u32,
};
use crate::state::{Call, CallKind, IdKind, State};
use crate::trap::{HostTrap, TrapReason};

#[expect(clippy::too_many_arguments, reason = "the ABI defines the parameters")]
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
) -> CallResult {
    charge_copy(guest, headers_size as usize + body_size as usize + trailers_size as usize)?;
    let (memory, state) = memory_and_state(guest)?;
    let upstream = text(memory, upstream, upstream_size)?;
    let kind = MapType::HttpRequestHeaders;
    let mut headers = header_map(memory, state, kind, headers, headers_size)?;
    let body = bytes(memory, body, body_size)?.to_vec();
    let kind = MapType::HttpRequestTrailers;
    let trailers = header_map(memory, state, kind, trailers, trailers_size)?;
    bytes(memory, out, 4)?;
    if timeout > i32::MAX as u32
        || !state.process.has_upstream(&upstream)
        || [":method", ":path", ":authority"].iter().any(|name| headers.find(name).is_none())
    {
        return Err(Status::BadArgument.into());
    }
    if state.rules.http_call_adds_length && !body.is_empty() {
        headers.set("content-length", body.len().to_string());
    }
    let timeout = timeout_of(timeout);
    add_router_headers(state, &mut headers, timeout);
    state
        .charge_effect(headers.byte_size() + body.len() + trailers.byte_size() + upstream.len())?;
    let call = insert(state, CallKind::Http)?;
    let plugin = plugin_slot(state)?;
    state.effects.push(Effect::HttpCall(Box::new(HttpCall {
        call,
        plugin: state.contexts.plugin_id(plugin),
        upstream,
        headers,
        body,
        trailers,
        timeout,
    })));
    write_u32(memory, out, call.0)
}

#[expect(clippy::too_many_arguments, reason = "the ABI defines the parameters")]
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
) -> CallResult {
    charge_copy(guest, metadata_size as usize + message_size as usize)?;
    let (memory, _) = memory_and_state(guest)?;
    let message = bytes(memory, message, message_size)?.to_vec();
    let target = Target {
        upstream: (upstream, upstream_size),
        service: (service, service_size),
        method: (method, method_size),
        metadata: (metadata, metadata_size),
    };
    grpc_open(guest, target, Some(message), timeout_of(timeout), out)
}

#[expect(clippy::too_many_arguments, reason = "the ABI defines the parameters")]
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
) -> CallResult {
    charge_copy(guest, metadata_size as usize)?;
    let target = Target {
        upstream: (upstream, upstream_size),
        service: (service, service_size),
        method: (method, method_size),
        metadata: (metadata, metadata_size),
    };
    grpc_open(guest, target, None, None, out)
}

/// The parameters of both gRPC calls, as pointers and lengths.
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
) -> CallResult {
    let (memory, state) = memory_and_state(guest)?;
    let upstream = bytes(memory, target.upstream.0, target.upstream.1)?;
    let parsed = match state.rules.grpc_upstream_may_be_message {
        true => grpc_service::upstream(upstream),
        false => None,
    };
    let (upstream, is_message) = match parsed {
        Some(Some(name)) => (name, true),
        // As measured, Envoy 1.40 aborts the process: "panic: unset oneof".
        Some(None) => {
            let reason = TrapReason::ProxyAborts { call: "a gRPC call without a target" };
            return Err(CallError::Trap(wasmtime::Error::new(HostTrap(reason))));
        }
        None => (String::from_utf8_lossy(upstream).into_owned(), false),
    };
    let service = text(memory, target.service.0, target.service.1)?;
    let method = text(memory, target.method.0, target.method.1)?;
    let (at, size) = target.metadata;
    let mut metadata = header_map(memory, state, MapType::HttpRequestHeaders, at, size)?;
    bytes(memory, out, 4)?;
    let unary = message.is_some();
    let kind = if unary { CallKind::GrpcUnary } else { CallKind::OPEN_STREAM };
    if !state.process.has_upstream(&upstream) {
        if is_message {
            // Envoy starts the call, which fails at once.
            let plugin = plugin_slot(state)?;
            let call = state.calls.next_id(kind);
            state.failed_calls.push_back((call, plugin));
            return Err(Status::InternalFailure.into());
        }
        return Err(Status::ParseFailure.into());
    }
    let message_size = message.as_ref().map_or(0, Vec::len);
    let names = upstream.len() + service.len() + method.len();
    state.charge_effect(names + metadata.byte_size() + message_size)?;
    add_router_headers(state, &mut metadata, timeout);
    let call = insert(state, kind)?;
    let plugin = plugin_slot(state)?;
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
    write_u32(memory, out, call.0)
}

pub(super) fn grpc_send(
    guest: &mut Guest<'_>,
    id: u32,
    message: u32,
    size: u32,
    end: u32,
) -> CallResult {
    charge_copy(guest, size as usize)?;
    let (memory, state) = memory_and_state(guest)?;
    let message = bytes(memory, message, size)?;
    if matches!(state.calls.id_kind(id), IdKind::GrpcUnary | IdKind::Other) {
        return Err(Status::BadArgument.into());
    }
    match grpc_kind(state, id)? {
        CallKind::GrpcStream { closed: false, .. } => {}
        // Envoy drops what follows the end.
        CallKind::GrpcStream { .. } if state.rules.late_grpc_message_is_ok => {
            return Ok(());
        }
        _ => return Err(Status::BadArgument.into()),
    }
    state.charge_effect(message.len())?;
    let end = end != 0;
    state.effects.push(Effect::GrpcSend { call: CallId(id), message: message.to_vec(), end });
    if end {
        state.calls.close_stream(id);
    }
    Ok(())
}

pub(super) fn grpc_cancel(guest: &mut Guest<'_>, id: u32) -> CallResult {
    let state = guest.data_mut();
    grpc_kind(state, id)?;
    state.calls.remove(id);
    state.effects.push(Effect::GrpcCancel { call: CallId(id) });
    Ok(())
}

pub(super) fn grpc_close(guest: &mut Guest<'_>, id: u32) -> CallResult {
    let state = guest.data_mut();
    match grpc_kind(state, id)? {
        // The guest's side has ended. The call stays until the upstream ends its side.
        CallKind::GrpcStream { ended: true, .. } => {
            state.calls.remove(id);
            return Ok(());
        }
        CallKind::GrpcStream { closed: true, .. } => return Ok(()),
        CallKind::GrpcStream { closed: false, .. } => state.calls.close_stream(id),
        CallKind::GrpcUnary | CallKind::Http => state.calls.remove(id),
    }
    state.effects.push(Effect::GrpcClose { call: CallId(id) });
    Ok(())
}

/// The kind of a gRPC call of the current plugin.
fn grpc_kind(state: &State, id: u32) -> CallResult<CallKind> {
    let plugin = plugin_slot(state)?;
    match state.calls.get(id) {
        _ if state.calls.id_kind(id) == IdKind::Other => Err(Status::BadArgument.into()),
        Some(call) if call.kind == CallKind::Http => Err(Status::BadArgument.into()),
        Some(call) if call.plugin == plugin => Ok(call.kind),
        _ => Err(Status::NotFound.into()),
    }
}

fn insert(state: &mut State, kind: CallKind) -> CallResult<CallId> {
    let call = Call { plugin: plugin_slot(state)?, kind };
    let id = state.calls.insert(call, state.limits.pending_calls);
    Ok(CallId(id.ok_or(Status::InternalFailure)?))
}

fn plugin_slot(state: &State) -> CallResult<u32> {
    let slot = state.effective.ok_or(Status::InternalFailure)?;
    Ok(state.contexts.at(slot).plugin)
}

fn text(memory: &[u8], at: u32, len: u32) -> CallResult<String> {
    Ok(String::from_utf8_lossy(bytes(memory, at, len)?).into_owned())
}

/// Adds the headers of Envoy's router to a call.
fn add_router_headers(state: &State, headers: &mut HeaderMap, timeout: Option<Duration>) {
    if !state.rules.router_adds_call_headers {
        return;
    }
    headers.set("x-envoy-internal", "true");
    if let Some(timeout) = timeout {
        headers.set("x-envoy-expected-rq-timeout-ms", timeout.as_millis().to_string());
    }
}

/// A timeout of 0 means no timeout.
fn timeout_of(millis: u32) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis.into()))
}
