//! Header maps: which maps the guest can read and write, and when.

use crate::abi::{MapType, Status};
use crate::context::{Http, Kind};
use crate::headers::HeaderMap;
use crate::inline_headers::MapRules;
use crate::memory::{
    CallResult, Guest, bytes, charge_copy, charge_stream, consume_fuel, copy_to_guest, header_map,
    memory_and_state, write_u32,
};
use crate::state::{State, Subject};

/// The bytes of an entry besides its name and its value.
const ENTRY_BYTES: usize = 10;

pub(super) fn size(guest: &mut Guest<'_>, kind: u32, out: u32) -> CallResult {
    let kind = MapType::from_abi(kind).ok_or(Status::BadArgument)?;
    let (memory, state) = memory_and_state(guest)?;
    // Envoy uses the map that the guest can change, and adds it if it can.
    if state.rules.only_open_maps_have_size {
        writable(state, kind)?;
    }
    let map = readable(state, kind).ok_or(Status::BadArgument)?;
    let size = match state.rules.map_size_excludes_lengths {
        true => map.byte_size(),
        false => map.serialized_len(),
    };
    write_u32(memory, out, size as u32)
}

pub(super) fn pairs(guest: &mut Guest<'_>, kind: u32, data: u32, size: u32) -> CallResult {
    let kind = MapType::from_abi(kind).ok_or(Status::BadArgument)?;
    let state = guest.data();
    let len = match readable(state, kind) {
        Some(map) => map.serialized_len(),
        None if state.rules.missing_map_is_empty => 0,
        None => return Err(Status::BadArgument.into()),
    };
    copy_to_guest(guest, len, data, size, |state, out| {
        // The allocator ran in between. It cannot call the host, so the map is unchanged.
        if let Some(map) = readable(state, kind) {
            map.serialize_into(out);
        }
    })
}

pub(super) fn set_pairs(guest: &mut Guest<'_>, kind: u32, data: u32, size: u32) -> CallResult {
    let kind = MapType::from_abi(kind).ok_or(Status::BadArgument)?;
    charge_copy(guest, size as usize)?;
    charge_stream(guest, size as usize)?;
    let (memory, state) = memory_and_state(guest)?;
    let new = header_map(memory, state, kind, data, size)?;
    *writable(state, kind)? = new;
    Ok(())
}

pub(super) fn value(
    guest: &mut Guest<'_>,
    kind: u32,
    key: u32,
    key_size: u32,
    data: u32,
    size: u32,
) -> CallResult {
    let kind = MapType::from_abi(kind).ok_or(Status::BadArgument)?;
    // A lookup can compare all names.
    let scanned = readable(guest.data(), kind).map_or(0, HeaderMap::serialized_len);
    consume_fuel(guest, scanned)?;
    let (memory, state) = memory_and_state(guest)?;
    let name = bytes(memory, key, key_size)?;
    let name = MapRules::of(state.rules.inline_headers, kind).name(name);
    let map = readable(state, kind).ok_or_else(|| missing(state))?;
    let range = map.value_range(name).ok_or(Status::NotFound)?;
    copy_to_guest(guest, range.len(), data, size, |state, out| {
        if let Some(map) = readable(state, kind) {
            out.copy_from_slice(map.value_at(range));
        }
    })
}

pub(super) fn add(
    guest: &mut Guest<'_>,
    kind: u32,
    key: u32,
    key_size: u32,
    data: u32,
    size: u32,
) -> CallResult {
    change(guest, kind, (key, key_size), (data, size), |rules, map, name, value| {
        rules.add(map, name, value);
    })
}

pub(super) fn replace(
    guest: &mut Guest<'_>,
    kind: u32,
    key: u32,
    key_size: u32,
    data: u32,
    size: u32,
) -> CallResult {
    change(guest, kind, (key, key_size), (data, size), |rules, map, name, value| {
        rules.replace(map, name, value);
    })
}

pub(super) fn remove(guest: &mut Guest<'_>, kind: u32, key: u32, key_size: u32) -> CallResult {
    change(guest, kind, (key, key_size), (0, 0), |rules, map, name, _| {
        map.remove(rules.name(name));
    })
}

fn change(
    guest: &mut Guest<'_>,
    kind: u32,
    (key, key_size): (u32, u32),
    (data, size): (u32, u32),
    change: impl FnOnce(&MapRules, &mut HeaderMap, &[u8], &[u8]),
) -> CallResult {
    let kind = MapType::from_abi(kind).ok_or(Status::BadArgument)?;
    // A change can move all entries of the map.
    let moved = readable(guest.data(), kind).map_or(0, HeaderMap::serialized_len);
    consume_fuel(guest, moved)?;
    charge_stream(guest, key_size as usize + size as usize + ENTRY_BYTES)?;
    let (memory, state) = memory_and_state(guest)?;
    let (name, value) = (bytes(memory, key, key_size)?, bytes(memory, data, size)?);
    let (limit, lower) = (state.limits.header_bytes, state.rules.lower_case_names);
    let rules = MapRules::of(state.rules.inline_headers, kind);
    let map = writable(state, kind)?;
    if map.serialized_len() + name.len() + value.len() > limit {
        return Err(Status::InternalFailure.into());
    }
    change(&rules, map, name, value);
    if lower {
        map.lower_names();
    }
    Ok(())
}

/// The map, if the guest can read it now.
fn readable(state: &State, kind: MapType) -> Option<&HeaderMap> {
    match (kind, &state.subject) {
        (MapType::HttpCallResponseHeaders, Subject::HttpCall { headers, .. }) => Some(headers),
        (MapType::HttpCallResponseTrailers, Subject::HttpCall { trailers, .. }) => {
            let exists = !trailers.is_empty() || !state.rules.empty_call_trailers_are_missing;
            Some(trailers).filter(|_| exists)
        }
        (MapType::GrpcCallInitialMetadata, Subject::GrpcInitialMetadata(map))
        | (MapType::GrpcCallTrailingMetadata, Subject::GrpcTrailingMetadata(map)) => Some(map),
        _ => match &state.contexts.at(state.effective?).kind {
            Kind::Http(http) if http.shows_logged_maps => logged(http, kind, state),
            Kind::Http(http) => http.open_map(kind),
            Kind::Plugin(_) | Kind::Tcp(_) => None,
        },
    }
}

/// The result of reading a map that does not exist.
fn missing(state: &State) -> Status {
    let logs_itself = state.in_log.is_some() && state.in_log == state.effective;
    match state.rules.missing_map_in_log_is_not_found && logs_itself {
        true => Status::NotFound,
        false => Status::BadArgument,
    }
}

/// The map as `on_log` reads it: as it was forwarded, or would have been.
fn logged<'a>(http: &'a Http, kind: MapType, state: &State) -> Option<&'a HeaderMap> {
    let [request, request_trailers, response, response_trailers] = &http.logged;
    if let Some(open) = http.open_map(kind).filter(|_| kind != MapType::HttpRequestTrailers) {
        return Some(open);
    }
    match kind {
        MapType::HttpRequestHeaders => Some(request),
        MapType::HttpRequestTrailers => {
            Some(request_trailers).filter(|_| state.rules.request_trailers_in_log)
        }
        MapType::HttpResponseHeaders => Some(response),
        MapType::HttpResponseTrailers => Some(response_trailers),
        _ => None,
    }
    .filter(|map| !map.is_empty())
}

/// The map, if the guest can change it now. Responses to calls of the guest are read-only.
fn writable(state: &mut State, kind: MapType) -> CallResult<&mut HeaderMap> {
    let slot = state.effective.ok_or(Status::BadArgument)?;
    let end_is_shared = state.rules.end_of_stream_is_shared;
    let http = state.contexts.http(slot).ok_or(Status::BadArgument)?;
    Ok(http.map_mut(kind, end_is_shared).ok_or(Status::BadArgument)?)
}
