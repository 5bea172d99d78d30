//! Continuing, closing and answering streams. What is asked here is done after the callback.

use super::memory::{bytes, give, map, parts, pay, put_u32};
use super::{Done, Guest};
use crate::abi::{Status, StreamType};
use crate::context::Kind;
use crate::local_reply::LocalReply;

pub(super) fn resume(guest: &mut Guest<'_>, kind: u32) -> Done {
    let kind = StreamType::from_abi(kind).ok_or(Status::BadArgument)?;
    let state = guest.data_mut();
    let (rules, slot) = (state.rules, state.current.ok_or(Status::BadArgument)?);
    match (kind, &state.contexts.at(slot).kind) {
        (StreamType::Upstream, _) if !rules.upstream_continues => Err(Status::Unimplemented.into()),
        (StreamType::HttpRequest, Kind::Http(_)) => {
            state.touch(slot).continue_request = true;
            Ok(())
        }
        (StreamType::HttpResponse, Kind::Http(_)) => {
            state.touch(slot).continue_response = true;
            Ok(())
        }
        (StreamType::Downstream, Kind::Tcp(_)) => {
            state.touch(slot).continue_downstream = true;
            Ok(())
        }
        (StreamType::Upstream, Kind::Tcp(_)) => {
            state.touch(slot).continue_upstream = true;
            Ok(())
        }
        _ if rules.foreign_stream_is_ok => Ok(()),
        _ => Err(Status::Unimplemented.into()),
    }
}

pub(super) fn close(guest: &mut Guest<'_>, kind: u32) -> Done {
    let kind = StreamType::from_abi(kind).ok_or(Status::BadArgument)?;
    let state = guest.data_mut();
    let (rules, slot) = (state.rules, state.current.ok_or(Status::BadArgument)?);
    match (kind, &state.contexts.at(slot).kind) {
        (StreamType::HttpRequest | StreamType::HttpResponse, Kind::Http(_)) => {
            state.touch(slot).reset = true;
            Ok(())
        }
        (StreamType::Downstream, Kind::Tcp(_)) => {
            state.touch(slot).close_downstream = true;
            Ok(())
        }
        (StreamType::Upstream, Kind::Tcp(_)) => {
            state.touch(slot).close_upstream = true;
            Ok(())
        }
        _ if rules.foreign_stream_is_ok => Ok(()),
        _ => Err(Status::Unimplemented.into()),
    }
}

pub(super) fn call_status(guest: &mut Guest<'_>, code: u32, data: u32, size: u32) -> Done {
    let (memory, state) = parts(guest)?;
    let (number, len) = (state.status.0, state.status.1.len());
    put_u32(memory, code, number)?;
    give(guest, len, data, size, |state, out| out.copy_from_slice(state.status.1.as_bytes()))
}

#[expect(clippy::too_many_arguments, reason = "the ABI's own parameter list")]
pub(super) fn reply(
    guest: &mut Guest<'_>,
    code: u32,
    details: u32,
    details_size: u32,
    body: u32,
    body_size: u32,
    pairs: u32,
    pairs_size: u32,
    grpc: u32,
) -> Done {
    pay(guest, body_size as usize + pairs_size as usize)?;
    let (memory, state) = parts(guest)?;
    let details = String::from_utf8_lossy(bytes(memory, details, details_size)?);
    let body = bytes(memory, body, body_size)?;
    let headers = map(memory, state, pairs, pairs_size)?;
    let rules = state.rules;
    let slot = state.current.ok_or(Status::BadArgument)?;
    let Some(http) = state.contexts.http(slot) else {
        return if rules.foreign_stream_is_ok { Ok(()) } else { Err(Status::BadArgument.into()) };
    };
    if http.response.headers_left() && !rules.late_reply_resets {
        return Err(Status::BadArgument.into());
    }
    state.charge(body.len() + headers.byte_size() + details.len())?;
    let reply = LocalReply {
        status: code,
        headers,
        body: body.to_vec().into(),
        // SDKs write "no gRPC status" as all ones; 16 is the last that exists.
        grpc_status: (grpc <= 16).then_some(grpc),
        details: details.into_owned().into(),
    };
    state.touch(slot).reply = Some(Box::new(reply));
    Ok(())
}

pub(super) fn act_for(guest: &mut Guest<'_>, context: u32) -> Done {
    let state = guest.data_mut();
    state.current = Some(state.contexts.slot_of(context).ok_or(Status::BadArgument)?);
    Ok(())
}

pub(super) fn done(guest: &mut Guest<'_>) -> Done {
    let state = guest.data_mut();
    let slot = state.current.ok_or(Status::NotFound)?;
    if !state.contexts.at(slot).awaits_done {
        return Err(Status::NotFound.into());
    }
    state.touch(slot).done = true;
    Ok(())
}
