//! Built-in properties: the attributes of plugins, connections and exchanges.
//!
//! The encoding is Envoy's. Text is not changed. Integers and times (nanoseconds since the epoch)
//! have 8 bytes in little-endian order, and Booleans have one byte. Maps are serialized as header
//! maps.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::abi::Status;
use crate::context::{Context, Http, Kind};
use crate::headers::HeaderMap;
use crate::options::ConnectionInfo;
use crate::state::State;

type Value<'a> = Cow<'a, [u8]>;

/// Reads a property for the context in this slot. `path` has its names joined by zero bytes.
pub(crate) fn read_property<'a>(
    state: &'a State,
    slot: u32,
    path: &[u8],
) -> Result<Value<'a>, Status> {
    // C++ guests append a zero byte to the last name, too.
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    let context = state.contexts.at(slot);
    let filter_state = state.rules.properties_are_filter_state;
    let of_guest = context.guest_properties.find(path).map(Cow::Borrowed);
    if let Some(value) = of_guest.clone().filter(|_| !filter_state) {
        return Ok(value);
    }
    let of_plugin = state.contexts.plugin_of(slot).map(|plugin| &plugin.options.properties);
    let of_embedder = [context.stream_properties().map(Arc::as_ref), of_plugin];
    let of_embedder = of_embedder.into_iter().flatten();
    if let Some(value) = of_embedder.clone().find_map(|properties| properties.find(path)) {
        return Ok(Cow::Borrowed(value));
    }
    let mut names = path.splitn(3, |&byte| byte == 0);
    let names = [(); 3].map(|()| names.next().unwrap_or_default());
    let value = built_in(state, slot, context, names);
    if let Some(value) = value.or_else(|| of_guest.filter(|_| !path.contains(&0))) {
        return Ok(value);
    }
    let has_children = of_embedder.into_iter().any(|properties| properties.has_children(path));
    Err(match has_children && state.rules.property_with_children_fails {
        true => Status::SerializationFailure,
        false => Status::NotFound,
    })
}

fn built_in<'a>(
    state: &'a State,
    slot: u32,
    context: &'a Context,
    path: [&[u8]; 3],
) -> Option<Value<'a>> {
    let [first, second, third] = path;
    let plugin = || state.contexts.plugin_of(slot);
    match first {
        b"plugin_name" => return text(&plugin()?.options.name),
        b"plugin_root_id" => return text(&plugin()?.options.root_id),
        b"plugin_vm_id" => return text(&state.options.vm_id),
        _ => {}
    }
    let (info, opened) = context.stream_info()?;
    let connection = &*info.connection;
    let http = match &context.kind {
        Kind::Http(http) => Some(&**http),
        Kind::Plugin(_) | Kind::Tcp(_) => None,
    };
    match first {
        b"connection_id" => integer(connection.id),
        b"connection" => of_connection(connection, second),
        b"source" => of_peer(&connection.source, second),
        b"destination" => of_peer(&connection.destination, second),
        b"request" => of_request(http?, connection, opened, state.process.now(), second, third),
        b"response" => of_response(http?, state.rules.has_response_details, second, third),
        _ => None,
    }
}

fn of_connection<'a>(connection: &'a ConnectionInfo, name: &[u8]) -> Option<Value<'a>> {
    let tls = connection.tls.as_ref();
    match name {
        b"id" => integer(connection.id),
        b"mtls" => boolean(tls.is_some_and(|tls| tls.mutual)),
        b"tls_version" => text(&tls?.version),
        b"requested_server_name" => text(&tls?.server_name),
        _ => None,
    }
}

fn of_peer<'a>(address: &'a str, name: &[u8]) -> Option<Value<'a>> {
    match name {
        b"address" if !address.is_empty() => text(address),
        b"port" => integer(address.rsplit_once(':')?.1.parse().ok()?),
        _ => None,
    }
}

fn of_request<'a>(
    http: &'a Http,
    connection: &'a ConnectionInfo,
    opened: Duration,
    now: Duration,
    name: &[u8],
    header_name: &[u8],
) -> Option<Value<'a>> {
    match name {
        b"protocol" if !connection.protocol.is_empty() => return text(&connection.protocol),
        b"time" => return integer(nanos(opened)),
        b"duration" if http.closing => return integer(nanos(now.saturating_sub(opened))),
        b"size" => return integer(http.request.received()),
        b"total_size" => {
            let headers = http.request_headers().map_or(0, HeaderMap::byte_size);
            return integer(http.request.received() + headers as u64);
        }
        _ => {}
    }
    let headers = http.request_headers()?;
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
        b"headers" => entry(headers, header_name),
        _ => None,
    }
}

fn of_response<'a>(
    http: &'a Http,
    has_details: bool,
    name: &[u8],
    header_name: &[u8],
) -> Option<Value<'a>> {
    let details = http.details.as_ref();
    match name {
        b"code_details" if has_details => return text(&details?.details),
        b"flags" if has_details => return integer(details.map_or(0, |details| details.flags)),
        b"size" => return integer(http.response.received()),
        b"trailers" => return entry(http.response_trailers()?, header_name),
        _ => {}
    }
    let headers = http.response_headers()?;
    match name {
        b"code" => {
            let code = details.filter(|_| has_details).and_then(|details| details.code);
            integer(code.map(u64::from).or_else(|| headers.text(":status")?.parse().ok())?)
        }
        b"grpc_status" => {
            let status = |map: &HeaderMap| map.text("grpc-status")?.parse().ok();
            integer(http.response_trailers().and_then(status).or_else(|| status(headers))?)
        }
        b"total_size" => integer(http.response.received() + headers.byte_size() as u64),
        b"headers" => entry(headers, header_name),
        _ => None,
    }
}

/// The value of one header; without a name, the serialized map.
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

fn integer(value: u64) -> Option<Value<'static>> {
    Some(Cow::Owned(value.to_le_bytes().to_vec()))
}

fn boolean(value: bool) -> Option<Value<'static>> {
    Some(Cow::Borrowed(if value { &[1] } else { &[0] }))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
