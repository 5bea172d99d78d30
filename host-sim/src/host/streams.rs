//! Host calls that continue, close and reply to streams.

use crate::abi::{MapType, Status, StreamType};
use crate::actions::Action;
use crate::context::Kind;
use crate::details::ResponseDetails;
use crate::local_reply::LocalReply;
use crate::memory::{
    CallResult, Guest, bytes, charge_copy, copy_to_guest, header_map, memory_and_state, write_u32,
};

pub(super) fn continue_stream(guest: &mut Guest<'_>, kind: u32) -> CallResult {
    let kind = StreamType::from_abi(kind).ok_or(Status::BadArgument)?;
    let state = guest.data_mut();
    let (rules, slot) = (state.rules, state.effective.ok_or(Status::BadArgument)?);
    match (kind, &state.contexts.at(slot).kind) {
        (StreamType::Upstream, _) if !rules.upstream_continues => Err(Status::Unimplemented.into()),
        (StreamType::HttpRequest | StreamType::HttpResponse, Kind::Http(_))
        | (StreamType::Downstream | StreamType::Upstream, Kind::Tcp(_)) => {
            state.defer(slot, Action::Continue(kind))?;
            if kind == StreamType::HttpRequest
                && rules.continue_keeps_access
                && let Some(http) = state.contexts.http(slot)
            {
                http.request_continued = true;
            }
            Ok(())
        }
        _ if rules.foreign_stream_is_ok => Ok(()),
        _ => Err(Status::Unimplemented.into()),
    }
}

pub(super) fn close(guest: &mut Guest<'_>, kind: u32) -> CallResult {
    let kind = StreamType::from_abi(kind).ok_or(Status::BadArgument)?;
    let state = guest.data_mut();
    let (rules, slot) = (state.rules, state.effective.ok_or(Status::BadArgument)?);
    match (kind, &state.contexts.at(slot).kind) {
        (StreamType::HttpRequest | StreamType::HttpResponse, Kind::Http(_))
        | (StreamType::Downstream | StreamType::Upstream, Kind::Tcp(_)) => {
            state.defer(slot, Action::Close(kind))?;
            // The details exist at once; the reset follows.
            if let Some(http) = state.contexts.http(slot).filter(|http| http.details.is_none()) {
                http.add_details(ResponseDetails::new("wasm_close_stream", 0));
            }
            Ok(())
        }
        _ if rules.foreign_stream_is_ok => Ok(()),
        _ => Err(Status::Unimplemented.into()),
    }
}

pub(super) fn call_status(guest: &mut Guest<'_>, code: u32, data: u32, size: u32) -> CallResult {
    let (memory, state) = memory_and_state(guest)?;
    let (number, len) = (state.call_status.0, state.call_status.1.len());
    write_u32(memory, code, number)?;
    copy_to_guest(guest, len, data, size, |state, out| {
        out.copy_from_slice(state.call_status.1.as_bytes());
    })
}

#[expect(clippy::too_many_arguments, reason = "the ABI defines the parameters")]
pub(super) fn local_reply(
    guest: &mut Guest<'_>,
    code: u32,
    details: u32,
    details_size: u32,
    body: u32,
    body_size: u32,
    pairs: u32,
    pairs_size: u32,
    grpc: u32,
) -> CallResult {
    charge_copy(guest, body_size as usize + pairs_size as usize)?;
    let (memory, state) = memory_and_state(guest)?;
    let details = String::from_utf8_lossy(bytes(memory, details, details_size)?);
    let body = bytes(memory, body, body_size)?;
    let headers = header_map(memory, state, MapType::HttpResponseHeaders, pairs, pairs_size)?;
    let rules = state.rules;
    let slot = state.effective.ok_or(Status::BadArgument)?;
    state.pauses_callback |= rules.reply_pauses_callback;
    let Some(http) = state.contexts.http(slot) else {
        return if rules.foreign_stream_is_ok { Ok(()) } else { Err(Status::BadArgument.into()) };
    };
    if http.response.headers_left() && !rules.late_reply_resets {
        return Err(Status::BadArgument.into());
    }
    let reply = LocalReply {
        status: code,
        headers,
        body: body.to_vec().into(),
        // 16 is the highest gRPC status. SDKs pass -1 for "no gRPC status".
        grpc_status: (grpc <= 16).then_some(grpc),
        details: details.into_owned().into(),
    };
    Ok(state.defer(slot, Action::Reply(Box::new(reply)))?)
}

pub(super) fn set_effective_context(guest: &mut Guest<'_>, context: u32) -> CallResult {
    let state = guest.data_mut();
    state.effective = Some(state.contexts.slot_of(context).ok_or(Status::BadArgument)?);
    Ok(())
}

pub(super) fn done(guest: &mut Guest<'_>) -> CallResult {
    let state = guest.data_mut();
    let slot = state.effective.ok_or(Status::NotFound)?;
    if !state.contexts.at(slot).awaits_done {
        return Err(Status::NotFound.into());
    }
    Ok(state.defer(slot, Action::Done)?)
}
