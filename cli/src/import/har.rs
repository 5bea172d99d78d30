//! HAR 1.2, what browsers export of a page's requests.
//!
//! A browser sees the far side of everything between it and the upstream, so what it calls waiting
//! counts as the upstream's time. Its file has the bodies, which a trace needs only the size of: they
//! are read over, not kept.

#[cfg(test)]
mod tests;

use std::io::Read;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::Value;
use sluice_sim::trace::{MAX_BODY_BYTES, is_control, is_target, is_token};

use super::LeftOut;
use super::record::{
    Attempt, Connection, Exchange, Expect, Headers, Open, Record, Request, Span, body,
};

/// Response headers that decisions hang on; the others are none of a trace's business.
const RESPONSE_HEADERS: [&str; 3] = ["content-length", "content-type", "x-accel-buffering"];

/// Request headers that are no part of a trace: framing is up to each hop, and secrets stay where they are.
const NOT_SENT: [&str; 6] =
    ["connection", "host", "transfer-encoding", "cookie", "authorization", "proxy-authorization"];

/// The longest time that an entry may speak of, as in a trace.
const LONGEST_MS: f64 = 1e12;

#[derive(Debug, Deserialize)]
pub(super) struct Har {
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
    request: Asked,
    response: Answered,
    #[serde(default)]
    timings: Timings,
    /// A socket's number, or in some browsers the server's port.
    #[serde(default, deserialize_with = "number_or_text")]
    connection: Option<String>,
    /// Chromium: the entry was served by its cache.
    #[serde(rename = "_fromCache")]
    from_cache: Option<Value>,
    /// Chromium: the page's own worker served it.
    #[serde(rename = "_fetchedViaServiceWorker", default)]
    from_worker: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
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
    #[serde(default, deserialize_with = "length")]
    text: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    status: i64,
    #[serde(default)]
    http_version: String,
    #[serde(default)]
    headers: Vec<Header>,
    #[serde(default)]
    content: Content,
    #[serde(default)]
    body_size: Option<f64>,
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

/// Milliseconds; -1 and `null` stand for what did not happen.
#[derive(Debug, Default, Clone, Copy)]
struct Millis(Duration);

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = Option::<f64>::deserialize(deserializer)?.unwrap_or(0.0).max(0.0);
        if millis > LONGEST_MS {
            return Err(D::Error::custom(format_args!("found {millis:e}, expected milliseconds")));
        }
        // Browsers measure in microseconds at best; what stands behind them is rounding.
        Ok(Self(Duration::from_micros((millis * 1000.0).round() as u64)))
    }
}

/// The length of a text in bytes; the text itself is not kept.
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

/// A mistake in a HAR file: its line, the field and what is wrong there.
pub(super) struct Mistake {
    pub(super) line: usize,
    pub(super) field: String,
    pub(super) reason: String,
    pub(super) io: Option<std::io::ErrorKind>,
}

impl Har {
    /// Reads a whole file; a JSON document cannot be read by lines.
    pub(super) fn read(input: impl Read) -> Result<Self, Mistake> {
        let mut json = serde_json::Deserializer::from_reader(input);
        let har = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let field = error.path().to_string();
            Mistake::new(field, &error.into_inner())
        })?;
        json.end().map_err(|error| Mistake::new(".".to_owned(), &error))?;
        Ok(har)
    }

    /// The entries as records, `name` and their position being their names.
    pub(super) fn records(self, name: &str) -> impl Iterator<Item = Result<Record, LeftOut>> {
        let entries = self.log.entries.into_iter().enumerate();
        entries.map(move |(index, entry)| entry.record(format!("{name}:{index}")))
    }
}

impl Mistake {
    fn new(field: String, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let reason = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]).to_owned();
        let field = if field == "." { "file".to_owned() } else { field };
        Self { line: error.line(), field, reason, io: error.io_error_kind() }
    }
}

impl Entry {
    fn record(self, id: String) -> Result<Record, LeftOut> {
        let is_true = |value: &Option<Value>| {
            value.as_ref().is_some_and(|value| !value.is_null() && value != false)
        };
        if is_true(&self.from_cache) || is_true(&self.from_worker) {
            return Err(LeftOut::Cached);
        }
        let url = Url::split(&self.request.url).ok_or(LeftOut::NotHttp)?;
        if !is_token(&self.request.method) {
            return Err(LeftOut::NotHttp);
        }
        if self.response.status <= 0 {
            return Err(LeftOut::NoAnswer);
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
            after: Span(timings.wait.0),
            status: Some(status),
            headers: self.response.kept(),
            body: body(bytes, timings.receive.0),
            end: None,
        };
        let upload = self.request.bytes();
        let request = Request {
            headers: self.request.kept(),
            body: body(if status == 101 { 0 } else { upload }, timings.send.0),
            method: self.request.method,
            scheme: Some(url.scheme.to_owned()),
            authority: Some(url.authority.to_owned()),
            path: url.path,
            ..Request::default()
        };
        let exchange = Exchange { request, upstream: vec![upstream], expect: Some(expect) };
        Ok(Record { id, start, connection, gone: None, exchange })
    }

    /// A connection by its number. Where a browser tells none, or the server's port in its place,
    /// HTTP/2 and 3 have one for each server, and HTTP/1.1 has one that cannot be known.
    fn connection(&self, url: &Url<'_>) -> Option<Connection> {
        let protocol = protocol(&self.response.http_version)
            .or_else(|| protocol(&self.request.http_version))
            .unwrap_or("HTTP/1.1");
        let number = self.connection.as_deref().filter(|number| *number != url.port());
        let name = match number {
            Some(number) => format!("{protocol} {number}"),
            None if protocol != "HTTP/1.1" => format!("{protocol} {}", url.authority),
            None => return None,
        };
        Some(Connection { name, open: Open { protocol, id: None, source: None } })
    }
}

/// The version in the words of traces; browsers write `http/2.0`, `h2`, `HTTP/2` for the same.
fn protocol(version: &str) -> Option<&'static str> {
    let version = version.to_ascii_lowercase();
    match version.strip_prefix("http/").or_else(|| version.strip_prefix('h'))? {
        "1.1" | "1.0" => Some("HTTP/1.1"),
        "2" | "2.0" => Some("HTTP/2"),
        "3" | "3.0" => Some("HTTP/3"),
        _ => None,
    }
}

impl Asked {
    fn bytes(&self) -> u64 {
        let posted = || self.post_data.as_ref().and_then(|posted| posted.text);
        declared(&self.headers).or_else(|| size(self.body_size)).or_else(posted).unwrap_or(0)
    }

    fn kept(&self) -> Headers {
        let kept = self.headers.iter().map(Header::lower);
        kept.filter(|(name, _)| !name.starts_with(':') && !NOT_SENT.contains(&name.as_str()))
            .collect()
    }
}

impl Answered {
    /// What came over the wire, which for compressed bodies is less than what the page saw.
    fn bytes(&self, method: &str, status: u16) -> u64 {
        if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            return 0;
        }
        let wire = declared(&self.headers).or_else(|| size(self.body_size));
        wire.or_else(|| size(self.content.size)).unwrap_or(0)
    }

    fn kept(&self) -> Headers {
        let kept = self.headers.iter().map(Header::lower);
        kept.filter(|(name, _)| RESPONSE_HEADERS.contains(&name.as_str())).collect()
    }
}

impl Header {
    fn lower(&self) -> (String, String) {
        (self.name.to_ascii_lowercase(), self.value.replace(is_control, " "))
    }
}

fn declared(headers: &[Header]) -> Option<u64> {
    let length =
        headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    length.value.trim().parse().ok()
}

/// A size; -1 stands for one that the browser does not know.
fn size(size: Option<f64>) -> Option<u64> {
    size.filter(|size| *size >= 0.0).map(|size| size as u64)
}

/// The parts of a URL that a request has.
struct Url<'u> {
    scheme: &'u str,
    authority: &'u str,
    path: String,
}

impl<'u> Url<'u> {
    fn split(url: &'u str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        if !matches!(scheme, "http" | "https") {
            return None;
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let authority = authority.rsplit('@').next().filter(|authority| !authority.is_empty())?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let can_be_sent = is_target(authority) && is_target(&path);
        can_be_sent.then_some(Self { scheme, authority, path })
    }

    fn port(&self) -> &'u str {
        let digits = |port: &&str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let written = self.authority.rsplit_once(':').map(|(_, port)| port).filter(digits);
        written.unwrap_or(if self.scheme == "https" { "443" } else { "80" })
    }
}
