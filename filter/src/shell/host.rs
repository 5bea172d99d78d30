//! The host calls that the filter makes, each reduced to what the filter wants to know.

use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType, Status};

use crate::drain::store::Ask;
use crate::hygiene::MARKER;
use crate::metrics::Kind;
use crate::reply::LocalReply;
use crate::rules::ControlStore;

/// A value in shared data, and the number under which it may be replaced.
pub(super) type Shared = (Option<Vec<u8>>, Option<u32>);

/// A write lost against another one: read again.
pub(super) struct Outdated;

pub(super) fn log(level: LogLevel, message: &str) {
    // A host that cannot log cannot be told so either.
    let _ = hostcalls::log(level, message);
}

pub(super) fn now_ms() -> Option<u64> {
    now_ns().map(|ns| ns / 1_000_000)
}

/// Nanoseconds since the Unix epoch.
pub(super) fn now_ns() -> Option<u64> {
    let now = hostcalls::get_current_time().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(now.as_nanos()).ok()
}

pub(super) fn configuration(size: usize) -> Vec<u8> {
    if size == 0 {
        return Vec::new();
    }
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size)
        .ok()
        .flatten()
        .unwrap_or_default()
}

pub(super) fn property(path: &[&str]) -> Option<Vec<u8>> {
    hostcalls::get_property(path.to_vec()).ok().flatten()
}

/// Envoy counts connections in 8 bytes, least first; a host that has no such thing has no drain by connections.
pub(super) fn connection_id() -> Option<u64> {
    Some(u64::from_le_bytes(property(&["connection", "id"])?.try_into().ok()?))
}

pub(super) fn request_headers() -> Vec<(String, Vec<u8>)> {
    hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap_or_default()
}

pub(super) fn response_headers() -> Vec<(String, Vec<u8>)> {
    hostcalls::get_map_bytes(MapType::HttpResponseHeaders).unwrap_or_default()
}

pub(super) fn set_request_header(name: &str, value: Option<&str>) {
    report(hostcalls::set_map_value(MapType::HttpRequestHeaders, name, value), name);
}

pub(super) fn set_response_header(name: &str, value: Option<&str>) {
    report(hostcalls::set_map_value(MapType::HttpResponseHeaders, name, value), name);
}

/// Whether the response still carries the closing marker. Only for a response whose head the filter has seen.
pub(super) fn is_marked() -> bool {
    matches!(hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, MARKER), Ok(Some(_)))
}

/// Why a response came, or broke off, in the host's words, if it has such.
pub(super) fn detail() -> Option<Vec<u8>> {
    property(&["response", "code_details"])
}

pub(super) fn response_status() -> Option<u16> {
    let status = hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, ":status");
    std::str::from_utf8(&status.ok()??).ok()?.parse().ok()
}

/// Whether the response declares a length.
pub(super) fn has_length() -> bool {
    let length = hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, "content-length");
    matches!(length, Ok(Some(_)))
}

/// Bytes of the response's piece, or of all that is held.
pub(super) fn response_body(start: usize, size: usize) -> Vec<u8> {
    let body = hostcalls::get_buffer(BufferType::HttpResponseBody, start, size);
    body.ok().flatten().unwrap_or_default()
}

/// Puts something else in the place of all `size` bytes that are there.
pub(super) fn replace_response_body(size: usize, body: &[u8]) {
    report(hostcalls::set_buffer(BufferType::HttpResponseBody, 0, size, body), "response body");
}

pub(super) fn reply(reply: &LocalReply) {
    let grpc_status = reply.grpc_status.map(|status| status.to_string());
    let mut headers = vec![("content-type", &*reply.content_type)];
    headers.extend(grpc_status.as_deref().map(|status| ("grpc-status", status)));
    let body = Some(reply.body.as_bytes());
    let sent = hostcalls::send_http_response(u32::from(reply.status), headers, body);
    report(sent, "local response");
}

/// Cuts a stream of this plugin from outside of its callbacks, so that its client can tell. Whether there still is such a stream, only the
/// host knows.
pub(super) fn cut(context: u32) {
    if hostcalls::set_effective_context(context).is_ok() {
        report(hostcalls::reset_http_response(), "cut");
    }
}

/// What has come of the request body, up to `size` bytes.
pub(super) fn request_body(size: usize) -> Vec<u8> {
    hostcalls::get_buffer(BufferType::HttpRequestBody, 0, size).ok().flatten().unwrap_or_default()
}

/// Answers a stream of this plugin from outside of its callbacks. Whether there still is such a stream, only the host knows.
pub(super) fn reply_to(context: u32, answer: &LocalReply) {
    if hostcalls::set_effective_context(context).is_ok() {
        reply(answer);
    }
}

/// Asks a store. Its answer comes to the plugin; without a promise of one this is false.
pub(super) fn call(control: &ControlStore, ask: &Ask) -> bool {
    let mut headers = vec![
        (":method", ask.method),
        (":path", ask.path.as_str()),
        (":authority", &control.authority),
    ];
    if ask.body.is_some() {
        headers.push(("content-type", "application/json"));
    }
    let body = ask.body.as_deref().map(str::as_bytes);
    let timeout = Duration::from_millis(control.timeout.as_millis());
    hostcalls::dispatch_http_call(control.cluster.as_str(), headers, body, vec![], timeout).is_ok()
}

/// The status and the body, of at most `size` bytes, of the answer to a [`call`].
pub(super) fn answer(size: usize) -> (u16, Vec<u8>) {
    let status = hostcalls::get_map_value(MapType::HttpCallResponseHeaders, ":status");
    let status = status.ok().flatten().and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size);
    (status, body.ok().flatten().unwrap_or_default())
}

pub(super) fn shared(key: &str) -> Shared {
    hostcalls::get_shared_data(key).unwrap_or_default()
}

/// A number that no value has in practice: hosts count up from 1 with every write.
///
/// The ABI has no "if it is not there": the number 0, which a key without a value has, writes over whatever came in between. Envoy compares
/// a number with that of a value that is there, and creates one that is not; so a number which is none makes the first write conditional, too.
const UNUSED: u32 = u32::MAX;

/// Writes `value` if nobody has since the read that gave `cas`. A host that refuses to create a value under [`UNUSED`] is asked to write it
/// whatever is there: no condition holds for the first write then.
pub(super) fn set_shared(key: &str, value: &str, cas: Option<u32>) -> Result<(), Outdated> {
    let write = |cas| hostcalls::set_shared_data(key, Some(value.as_bytes()), cas);
    let written = match write(Some(cas.unwrap_or(UNUSED))) {
        Err(Status::CasMismatch) if cas.is_none() && shared(key).1.is_none() => write(None),
        other => other,
    };
    match written {
        Err(Status::CasMismatch) => Err(Outdated),
        other => {
            report(other, key);
            Ok(())
        }
    }
}

pub(super) fn define_metric(kind: Kind, name: &str) -> Option<u32> {
    let kind = match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    hostcalls::define_metric(kind, name).ok()
}

pub(super) fn add_to_metric(id: u32, change: i64) {
    report(hostcalls::increment_metric(id, change), "metric");
}

pub(super) fn set_metric(id: u32, value: u64) {
    report(hostcalls::record_metric(id, value), "metric");
}

pub(super) fn metric(id: u32) -> Option<u64> {
    hostcalls::get_metric(id).ok()
}

/// Whether the host knows the function and took the argument.
pub(super) fn tell(function: &str, argument: &[u8]) -> bool {
    hostcalls::call_foreign_function(function, Some(argument)).is_ok()
}

pub(super) fn set_property(name: &str, value: &str) {
    report(hostcalls::set_property(vec![name], Some(value.as_bytes())), name);
}

pub(super) fn tick_every(ms: u64) {
    report(hostcalls::set_tick_period(Duration::from_millis(ms)), "tick period");
}

/// What a refusal of the host leaves undone is logged; the stream goes on without it.
fn report(result: Result<(), Status>, what: &str) {
    if let Err(status) = result {
        log(LogLevel::Warn, &format!("the host refused {what}: status {}", status as u32));
    }
}
