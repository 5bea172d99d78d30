//! HAR 1.2, the file format in which browsers export the requests of a page.
//!
//! A browser measures everything between itself and the upstream, so the trace assigns all waiting
//! time to the upstream. A HAR file contains the bodies. A trace needs only their sizes, so the
//! import drops them.

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Read};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::Value;
use sluice_sim::trace::{MAX_BODY_BYTES, is_control, is_target, is_token};

use super::error::ImportError;
use super::imported::{Imported, LeftOut};
use super::record::{
    Attempt, Connection, Exchange, Expect, Headers, Open, Record, Request, TraceDuration, body,
};
use crate::request_url::RequestUrl;

/// The response headers that can change a decision of the filter.
const RESPONSE_HEADERS: [&str; 3] = ["content-length", "content-type", "x-accel-buffering"];

/// Request headers that are not imported, because each hop chooses the framing.
const OMITTED_REQUEST_HEADERS: [&str; 3] = ["connection", "host", "transfer-encoding"];

/// The longest duration, in milliseconds; the same as in a trace.
const MAX_MILLIS: f64 = 1e12;

#[derive(Debug, Deserialize)]
struct Har {
    log: Log,
}

#[derive(Debug, Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    started_date_time: Timestamp,
    request: HarRequest,
    response: HarResponse,
    #[serde(default)]
    timings: Timings,
    /// The number of a socket, or in some browsers the port of the server.
    #[serde(default, deserialize_with = "number_or_text")]
    connection: Option<String>,
    /// Chromium: the response came from the cache.
    #[serde(rename = "_fromCache")]
    from_cache: Option<Value>,
    #[serde(default)]
    cache: Cache,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cache {
    /// Firefox: the response came from this entry of the cache. Other browsers have no entries.
    after_request: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HarRequest {
    method: String,
    url: String,
    #[serde(default)]
    http_version: String,
    #[serde(default)]
    headers: Vec<Header>,
    #[serde(default)]
    body_size: Option<f64>,
    post_data: Option<PostData>,
}

#[derive(Debug, Deserialize)]
struct PostData {
    /// The length of the text, in bytes.
    #[serde(default, deserialize_with = "length")]
    text: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HarResponse {
    status: i64,
    #[serde(default)]
    http_version: String,
    #[serde(default)]
    headers: Vec<Header>,
    #[serde(default)]
    content: Content,
    #[serde(default)]
    body_size: Option<f64>,
    /// Chromium: the response came from a service worker.
    #[serde(rename = "_fetchedViaServiceWorker", default)]
    from_worker: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Content {
    #[serde(default)]
    size: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Timings {
    blocked: Millis,
    dns: Millis,
    connect: Millis,
    send: Millis,
    wait: Millis,
    receive: Millis,
}

/// Milliseconds. A phase that did not happen is -1 or `null`, which becomes zero.
#[derive(Debug, Default, Clone, Copy)]
struct Millis(Duration);

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = Option::<f64>::deserialize(deserializer)?.unwrap_or(0.0).max(0.0);
        if millis > MAX_MILLIS {
            return Err(D::Error::custom(format_args!("found {millis:e}, expected milliseconds")));
        }
        // Browsers measure microseconds at best; further digits are rounding errors.
        Ok(Self(Duration::from_micros((millis * 1000.0).round() as u64)))
    }
}

fn length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| text.len() as u64))
}

fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Option::<Value>::deserialize(deserializer)? {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    })
}

/// Adds the entries of a HAR file to `imported`. Errors name the file as `name`, and records after
/// its file name and their position.
pub(super) fn read(
    name: &str,
    mut input: impl BufRead,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    skip_byte_order_mark(&mut input)
        .map_err(|source| ImportError::Read { name: name.to_owned(), source })?;
    let har = parse(input).map_err(|(field, source)| match source.io_error_kind() {
        Some(kind) => ImportError::Read { name: name.to_owned(), source: kind.into() },
        None => ImportError::Har { name: name.to_owned(), field, source },
    })?;
    let file_name = name.rsplit('/').next().unwrap_or(name);
    for (index, entry) in har.log.entries.into_iter().enumerate() {
        let record = entry.record(format!("{file_name}:{index}"));
        imported.add(record).map_err(ImportError::Sort)?;
    }
    Ok(())
}

/// Some programs begin a text with a byte order mark, which is not valid JSON.
fn skip_byte_order_mark(input: &mut impl BufRead) -> io::Result<()> {
    if input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    Ok(())
}

/// Parses a whole file. An error has the path of its field.
fn parse(input: impl Read) -> Result<Har, (String, serde_json::Error)> {
    let mut json = serde_json::Deserializer::from_reader(input);
    let har = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "file".to_owned() } else { path };
        (field, error.into_inner())
    })?;
    json.end().map_err(|error| ("file".to_owned(), error))?;
    Ok(har)
}

impl Entry {
    fn record(self, id: String) -> Result<Record, LeftOut> {
        let is_set = |value: &Option<Value>| {
            value.as_ref().is_some_and(|value| !value.is_null() && value != false)
        };
        let from_browser =
            [&self.from_cache, &self.response.from_worker, &self.cache.after_request];
        if from_browser.into_iter().any(is_set) {
            return Err(LeftOut::Cached);
        }
        let url = http_url(&self.request.url).ok_or(LeftOut::NotHttp)?;
        if !is_token(&self.request.method) {
            return Err(LeftOut::NotHttp);
        }
        if self.response.status <= 0 {
            return Err(LeftOut::NoResponse);
        }
        let status = u16::try_from(self.response.status).ok();
        let status =
            status.filter(|status| matches!(status, 101 | 200..600)).ok_or(LeftOut::Status)?;
        if self.request.method == "CONNECT" {
            return Err(LeftOut::Tunnel);
        }
        let timings = &self.timings;
        let delay = timings.blocked.0 + timings.dns.0 + timings.connect.0;
        let start = self.started_date_time.checked_add(delay).map_err(|_| LeftOut::NotHttp)?;
        let connection = self.connection(&url);
        let bytes = self.response.bytes(&self.request.method, status);
        let expect = Expect {
            status: Some(status),
            body_bytes: Some(bytes).filter(|bytes| *bytes <= MAX_BODY_BYTES),
            ..Expect::default()
        };
        let upstream = Attempt {
            after: TraceDuration(timings.wait.0),
            status: Some(status),
            headers: self.response.imported_headers(),
            body: body(bytes, timings.receive.0),
            end: None,
        };
        // Bytes after an upgrade are not a body.
        let upload = if status == 101 { 0 } else { self.request.bytes() };
        let request = Request {
            headers: self.request.imported_headers(),
            body: body(upload, timings.send.0),
            method: self.request.method,
            scheme: Some(url.scheme.to_owned()),
            authority: Some(url.authority.to_owned()),
            path: url.path,
            ..Request::default()
        };
        let exchange = Exchange { request, upstream: vec![upstream], expect: Some(expect) };
        Ok(Record { id, start, connection, client_left: None, holds_headers: false, exchange })
    }

    /// The connection by its number. Some browsers write no number, or the port of the server. Then
    /// all HTTP/2 and HTTP/3 requests to a server share a connection, and each HTTP/1.1 request has
    /// its own.
    fn connection(&self, url: &RequestUrl<'_>) -> Option<Connection> {
        let protocol = protocol(&self.response.http_version)
            .or_else(|| protocol(&self.request.http_version))
            .unwrap_or("HTTP/1.1");
        let number = self.connection.as_deref().filter(|number| *number != port(url));
        let name = match number {
            Some(number) => format!("{protocol} {number}"),
            None if protocol != "HTTP/1.1" => format!("{protocol} {}", url.authority),
            None => return None,
        };
        Some(Connection { name, open: Open { protocol, id: None, source: None } })
    }
}

/// The HTTP version as a trace writes it. Browsers write `http/2.0`, `h2` or `HTTP/2`.
fn protocol(version: &str) -> Option<&'static str> {
    let version = version.to_ascii_lowercase();
    match version.strip_prefix("http/").or_else(|| version.strip_prefix('h'))? {
        "1.1" | "1.0" => Some("HTTP/1.1"),
        "2" | "2.0" => Some("HTTP/2"),
        "3" | "3.0" => Some("HTTP/3"),
        _ => None,
    }
}

impl HarRequest {
    /// The size of the body. HTTP/2 does not require `content-length`, and some browsers do not
    /// write `bodySize`.
    fn bytes(&self) -> u64 {
        let posted = || self.post_data.as_ref().and_then(|posted| posted.text);
        declared_length(&self.headers)
            .or_else(|| known_size(self.body_size))
            .or_else(posted)
            .unwrap_or(0)
    }

    fn imported_headers(&self) -> Headers {
        let headers = self.headers.iter().map(Header::imported);
        // A browser extension can record what HTTP does not allow.
        let headers = headers.filter(|(name, _)| name.starts_with(':') || is_token(name));
        headers
            // Neither pseudo-headers, nor what an extension recorded that HTTP does not allow.
            .filter(|(name, _)| is_token(name))
            .filter(|(name, _)| !OMITTED_REQUEST_HEADERS.contains(&name.as_str()))
            .collect()
    }
}

impl HarResponse {
    /// The size of the body on the wire; a compressed body is smaller than the content of the page.
    fn bytes(&self, method: &str, status: u16) -> u64 {
        if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            return 0;
        }
        let wire = declared_length(&self.headers).or_else(|| known_size(self.body_size));
        wire.or_else(|| known_size(self.content.size)).unwrap_or(0)
    }

    fn imported_headers(&self) -> Headers {
        let headers = self.headers.iter().map(Header::imported);
        headers.filter(|(name, _)| RESPONSE_HEADERS.contains(&name.as_str())).collect()
    }
}

impl Header {
    fn imported(&self) -> (String, String) {
        (self.name.to_ascii_lowercase(), self.value.replace(is_control, " "))
    }
}

fn declared_length(headers: &[Header]) -> Option<u64> {
    let length =
        headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    length.value.trim().parse().ok()
}

/// A size. Browsers write -1 if they do not know it.
fn known_size(size: Option<f64>) -> Option<u64> {
    size.filter(|size| *size >= 0.0).map(|size| size as u64)
}

/// The URL of an HTTP request, without a user name; `None` for `data:`, `wss:` and the like.
fn http_url(url: &str) -> Option<RequestUrl<'_>> {
    let url = RequestUrl::split(url).filter(|url| matches!(url.scheme, "http" | "https"))?;
    let authority = url.authority.rsplit('@').next().filter(|authority| !authority.is_empty())?;
    let is_valid = is_target(authority) && is_target(&url.path);
    is_valid.then_some(RequestUrl { authority, ..url })
}

fn port<'u>(url: &RequestUrl<'u>) -> &'u str {
    let digits = |port: &&str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let written = url.authority.rsplit_once(':').map(|(_, port)| port).filter(digits);
    written.unwrap_or(if url.scheme == "https" { "443" } else { "80" })
}
