//! Properties that the host knows: the standard attributes of plugins, connections and exchanges.
//!
//! Values are bytes as Envoy writes them: text as it is, integers and times (nanoseconds since the
//! epoch) as 8 bytes little-endian, truth as one byte, maps serialized like header maps.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::abi::Status;
use crate::context::{Context, Http, Kind};
use crate::headers::HeaderMap;
use crate::state::State;
use crate::stream::ConnectionInfo;

type Value<'a> = Cow<'a, [u8]>;

/// The value of a path, its names joined by zero bytes, as the guest in this context reads it.
pub(crate) fn read<'a>(state: &'a State, slot: u32, path: &[u8]) -> Result<Value<'a>, Status> {
    // C++ guests end the last name with a zero byte as well.
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    let context = state.contexts.at(slot);
    let filter_state = state.rules.properties_are_filter_state;
    let stored = context.stored.find(path).map(Cow::Borrowed);
    if let Some(value) = stored.clone().filter(|_| !filter_state) {
        return Ok(value);
    }
    let plugin = state.contexts.plugin(context.plugin).map(|plugin| &plugin.options.properties);
    let supplied = [context.extra().map(Arc::as_ref), plugin];
    let supplied = supplied.into_iter().flatten();
    if let Some(value) = supplied.clone().find_map(|properties| properties.find(path)) {
        return Ok(Cow::Borrowed(value));
    }
    let mut names = path.splitn(3, |&byte| byte == 0);
    let names = [(); 3].map(|()| names.next().unwrap_or_default());
    let value = known(state, context, names);
    if let Some(value) = value.or_else(|| stored.filter(|_| !path.contains(&0))) {
        return Ok(value);
    }
    let node = supplied.into_iter().any(|properties| properties.has_below(path));
    Err(match node && state.rules.property_node_fails {
        true => Status::SerializationFailure,
        false => Status::NotFound,
    })
}

fn known<'a>(state: &'a State, context: &'a Context, path: [&[u8]; 3]) -> Option<Value<'a>> {
    let [first, second, third] = path;
    let plugin = || state.contexts.plugin(context.plugin);
    match first {
        b"plugin_name" => return text(&plugin()?.options.name),
        b"plugin_root_id" => return text(&plugin()?.options.root_id),
        b"plugin_vm_id" => return text(&state.options.vm_id),
        _ => {}
    }
    let (info, opened) = context.info()?;
    let connection = &*info.connection;
    let http = match &context.kind {
        Kind::Http(http) => Some(&**http),
        Kind::Plugin(_) | Kind::Tcp(_) | Kind::Free => None,
    };
    match first {
        b"connection_id" => number(connection.id),
        b"connection" => of_connection(connection, second),
        b"source" => of_peer(&connection.source, second),
        b"destination" => of_peer(&connection.destination, second),
        b"request" => of_request(http?, connection, opened, state.process.now(), second, third),
        b"response" => of_response(http?, state.rules.response_details, second, third),
        _ => None,
    }
}

fn of_connection<'a>(connection: &'a ConnectionInfo, name: &[u8]) -> Option<Value<'a>> {
    let tls = connection.tls.as_ref();
    match name {
        b"id" => number(connection.id),
        b"mtls" => truth(tls.is_some_and(|tls| tls.mutual)),
        b"tls_version" => text(&tls?.version),
        b"requested_server_name" => text(&tls?.server_name),
        _ => None,
    }
}

fn of_peer<'a>(address: &'a str, name: &[u8]) -> Option<Value<'a>> {
    match name {
        b"address" if !address.is_empty() => text(address),
        b"port" => number(address.rsplit_once(':')?.1.parse().ok()?),
        _ => None,
    }
}

fn of_request<'a>(
    http: &'a Http,
    connection: &'a ConnectionInfo,
    opened: Duration,
    now: Duration,
    name: &[u8],
    third: &[u8],
) -> Option<Value<'a>> {
    match name {
        b"protocol" if !connection.protocol.is_empty() => return text(&connection.protocol),
        b"time" => return number(nanos(opened)),
        b"duration" if http.closing => return number(nanos(now.saturating_sub(opened))),
        b"size" => return number(http.request.received()),
        b"total_size" => {
            let headers = http.request_map().map_or(0, HeaderMap::byte_size);
            return number(http.request.received() + headers as u64);
        }
        _ => {}
    }
    let headers = http.request_map()?;
    let header = |name: &str| headers.find(name).map(Cow::Borrowed);
    match name {
        b"path" => header(":path"),
        b"url_path" => headers.find(":path").map(|path| Cow::Borrowed(split_query(path).0)),
        b"query" => headers.find(":path").map(|path| Cow::Borrowed(split_query(path).1)),
        b"host" => header(":authority"),
        b"scheme" => header(":scheme"),
        b"method" => header(":method"),
        b"referer" => header("referer"),
        b"useragent" => header("user-agent"),
        b"id" => header("x-request-id"),
        b"headers" => entry(headers, third),
        _ => None,
    }
}

fn of_response<'a>(http: &'a Http, detailed: bool, name: &[u8], third: &[u8]) -> Option<Value<'a>> {
    let details = http.details.as_ref();
    match name {
        b"code_details" if detailed => return text(&details?.details),
        b"flags" if detailed => return number(details.map_or(0, |details| details.flags)),
        b"size" => return number(http.response.received()),
        b"trailers" => return entry(http.response_trailers()?, third),
        _ => {}
    }
    let headers = http.response_map()?;
    match name {
        b"code" => {
            let code = details.filter(|_| detailed).and_then(|details| details.code);
            number(code.map(u64::from).or_else(|| headers.text(":status")?.parse().ok())?)
        }
        b"grpc_status" => {
            let status = |map: &HeaderMap| map.text("grpc-status")?.parse().ok();
            number(http.response_trailers().and_then(status).or_else(|| status(headers))?)
        }
        b"total_size" => number(http.response.received() + headers.byte_size() as u64),
        b"headers" => entry(headers, third),
        _ => None,
    }
}

/// One value of a map, or with no name the whole of it.
fn entry<'a>(map: &'a HeaderMap, name: &[u8]) -> Option<Value<'a>> {
    if !name.is_empty() {
        return map.find(name).map(Cow::Borrowed);
    }
    let mut bytes = vec![0; map.serialized_len()];
    map.serialize_into(&mut bytes);
    Some(Cow::Owned(bytes))
}

fn split_query(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|&byte| byte == b'?') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, &[]),
    }
}

fn text(text: &str) -> Option<Value<'_>> {
    Some(Cow::Borrowed(text.as_bytes()))
}

fn number(number: u64) -> Option<Value<'static>> {
    Some(Cow::Owned(number.to_le_bytes().to_vec()))
}

fn truth(truth: bool) -> Option<Value<'static>> {
    Some(Cow::Borrowed(if truth { &[1] } else { &[0] }))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
