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
use crate::local_reply::grpc_status_of;
use crate::options::ConnectionInfo;
use crate::state::State;

type Value<'a> = Cow<'a, [u8]>;

/// The attributes of a stream that have fields but no value of their own. Measured on Envoy 1.40.
const MESSAGES: [&[u8]; 8] = [
    b"request",
    b"response",
    b"connection",
    b"source",
    b"destination",
    b"upstream",
    b"filter_state",
    b"xds",
];

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
    let value = built_in(state, slot, context, names).filter(|_| !is_too_long(path, names));
    let is_message =
        path.is_empty() || (context.stream_info().is_some() && MESSAGES.contains(&path));
    let of_guest = of_guest.filter(|_| !path.contains(&0) && !is_message);
    if let Some(value) = value.or(of_guest) {
        return Ok(value);
    }
    let has_children =
        is_message || of_embedder.into_iter().any(|properties| properties.has_children(path));
    Err(match has_children && state.rules.property_with_children_fails {
        true => Status::SerializationFailure,
        false => Status::NotFound,
    })
}

/// Whether the path continues below a value that has no fields. Maps of headers have fields.
fn is_too_long(path: &[u8], [first, second, _]: [&[u8]; 3]) -> bool {
    let names = path.split(|&byte| byte == 0).count();
    let of_map = matches!(second, b"headers" | b"trailers");
    match first {
        b"request" | b"response" if of_map => names > 3,
        b"request" | b"response" | b"connection" | b"source" | b"destination" => names > 2,
        _ => names > 1,
    }
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
        // Without metadata, the message is empty.
        b"metadata" if second.is_empty() && state.rules.property_with_children_fails => text(""),
        b"connection" => of_connection(connection, second),
        b"source" => of_peer(&connection.source, second),
        b"destination" => of_peer(&connection.destination, second),
        b"request" => {
            let announced = state.rules.request_size_is_announced;
            let now = state.process.now();
            of_request(http?, connection, opened, now, announced, [second, third])
        }
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
        b"requested_server_name" => text(tls.map_or("", |tls| &tls.server_name)),
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
    size_is_announced: bool,
    [name, header_name]: [&[u8]; 2],
) -> Option<Value<'a>> {
    match name {
        b"protocol" if !connection.protocol.is_empty() => return text(&connection.protocol),
        b"time" => return integer(nanos(opened)),
        b"duration" if http.closing => return integer(nanos(now.saturating_sub(opened))),
        b"size" => {
            let announced = http.request_headers().filter(|_| size_is_announced);
            let announced = announced.and_then(|headers| headers.text("content-length"));
            let size = announced.map(|length| length.parse().ok());
            return integer(size.unwrap_or(Some(http.request.received()))?);
        }
        b"total_size" => {
            let headers = http.request_headers().map_or(0, HeaderMap::byte_size);
            return integer(http.request.received() + headers as u64);
        }
        b"headers" => return entry(http.request_headers(), header_name),
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
        b"size" => return integer(http.response.forwarded()),
        b"headers" => return entry(http.response_headers(), header_name),
        b"trailers" => return entry(http.response_trailers(), header_name),
        b"total_size" => {
            let headers = http.response_headers().map_or(0, HeaderMap::byte_size);
            return integer(http.response.forwarded() + headers as u64);
        }
        _ => {}
    }
    let code = || details.filter(|_| has_details).and_then(|details| details.code).or(http.status);
    match name {
        b"code" => integer(code()?.into()),
        b"grpc_status" => {
            let status = |map: &HeaderMap| map.text("grpc-status")?.parse().ok();
            let maps = [http.response_trailers(), http.response_headers()];
            let sent = maps.into_iter().flatten().find_map(status);
            let derived = || code().filter(|_| has_details).map(|code| grpc_status_of(code).into());
            integer(sent.or_else(derived)?)
        }
        _ => None,
    }
}

/// The value of one header: repeated headers are joined by commas. Without a name, the serialized
/// map. A map that does not exist is empty.
fn entry<'a>(map: Option<&'a HeaderMap>, name: &[u8]) -> Option<Value<'a>> {
    if name.is_empty() {
        let map = map.filter(|map| !map.is_empty());
        let mut bytes = vec![0; map.map_or(EMPTY_MAP, HeaderMap::serialized_len)];
        if let Some(map) = map {
            map.serialize_into(&mut bytes);
        }
        return Some(Cow::Owned(bytes));
    }
    let all = map?.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
    all.map(|(_, value)| Cow::Borrowed(value)).reduce(|joined, value| {
        let mut joined = joined.into_owned();
        joined.push(b',');
        joined.extend_from_slice(&value);
        Cow::Owned(joined)
    })
}

/// The length of a serialized map without entries: only their number.
const EMPTY_MAP: usize = 4;

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
