//! Access logs: one line for each request that ended. The fields have the names and the meaning that
//! they have in Envoy's log; other formats are converted before.

pub(crate) mod error;
pub(crate) mod field;
mod line;
mod reconstruct;
#[cfg(test)]
mod tests;

use std::io::{BufRead, Read};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use sluice_filter::decision;
use sluice_sim::trace::{MAX_BODY_BYTES, is_target, is_token};

use self::error::LineError;
use self::field::Field;
use self::line::Line;
use self::reconstruct::LoggedExchange;
use super::error::ImportError;
use super::imported::{Imported, LeftOut};
use super::log_format::{Fields, LogFormat, envoy_line, envoy_object, nginx_line};
use super::record::{
    Connection, Exchange, Expect, ExpectedAttempts, Headers, Open, Record, Request,
    abandoned_upload, body,
};

/// The longest line, in bytes. It exceeds what any proxy accepts as request headers.
const MAX_LINE: u64 = 1 << 20;

/// The fields that every line must have.
const REQUIRED: [Field; 6] = [
    Field::StartTime,
    Field::Duration,
    Field::Method,
    Field::Path,
    Field::ResponseCode,
    Field::ResponseFlags,
];

/// Headers for the framing of a message, which each hop chooses for itself.
const FRAMING: [&str; 2] = ["transfer-encoding", "connection"];

/// Adds the lines of a log to `imported`. Errors name the log as `name`, and records after its file
/// name.
pub(super) fn read(
    name: &str,
    mut input: impl BufRead,
    proxy: Proxy,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    let file_name = name.rsplit('/').next().unwrap_or(name);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let length = (&mut input)
            .take(MAX_LINE + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| ImportError::Read { name: name.to_owned(), source })?;
        if length == 0 {
            break;
        }
        let error = |source| ImportError::Line { name: name.to_owned(), line, source };
        if length as u64 > MAX_LINE {
            return Err(error(LineError::TooLong { limit: MAX_LINE }));
        }
        // Clients can put any byte into a header. No route matches on bytes that are not UTF-8.
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            continue;
        }
        let record = match fields(proxy, text).map_err(error)? {
            Some((format, fields)) => {
                imported.observe_format(format);
                record(format!("{file_name}:{line}"), &Line::new(fields)).map_err(error)?
            }
            // A proxy's messages can be on the same stream, such as standard output.
            None => Err(LeftOut::OtherText),
        };
        imported.add(record).map_err(ImportError::Sort)?;
    }
    Ok(())
}

/// The proxy that wrote a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proxy {
    Envoy,
    Nginx,
}

/// The fields of a line, and its format. `None` for a line that is not from an access log.
fn fields(proxy: Proxy, text: &str) -> Result<Option<(LogFormat, Fields)>, LineError> {
    if proxy == Proxy::Nginx {
        return Ok(nginx_line(text).map(|fields| (LogFormat::Any, fields)));
    }
    if !text.starts_with('{') {
        return Ok(envoy_line(text));
    }
    let object = Line::parse(text)?;
    // Envoy can write its messages as JSON too.
    let is_message = REQUIRED.iter().all(|field| !object.contains_key(field.path()));
    Ok((!is_message).then(|| envoy_object(object)))
}

/// Parses one line; `id` names its record.
fn record(id: String, line: &Line) -> Result<Result<Record, LeftOut>, LineError> {
    line.require(&REQUIRED)?;
    let (Some(method), path) = (line.text(Field::Method)?, line.text(Field::Path)?) else {
        return Ok(Err(LeftOut::NoRequest));
    };
    let Some(path) = path.filter(|_| method != "CONNECT") else {
        return Ok(Err(LeftOut::Tunnel));
    };
    let (scheme, authority) = (line.text(Field::Scheme)?, line.text(Field::Authority)?);
    if !is_token(method) || ![Some(path), scheme, authority].into_iter().flatten().all(is_target) {
        return Ok(Err(LeftOut::NoRequest));
    }
    let status = line.number(Field::ResponseCode)?.unwrap_or(0);
    let Some(status) = u16::try_from(status).ok().filter(|status| is_final(*status)) else {
        return Ok(Err(LeftOut::Status));
    };
    let start = start_time(line)?;
    let decision = line.object(Field::Decision)?;
    let bodiless = method == "HEAD" || matches!(status, 204 | 304);
    let logged = LoggedExchange {
        status,
        flags: line.text(Field::ResponseFlags)?.unwrap_or_default(),
        details: line.text(Field::ResponseCodeDetails)?.unwrap_or_default(),
        attempts: line.number(Field::AttemptCount)?.unwrap_or(0),
        headers: response_headers(line, decision.as_ref())?,
        bytes: line.number(Field::BytesSent)?.filter(|_| !bodiless).unwrap_or(0),
        duration: Duration::from_millis(line.number(Field::Duration)?.unwrap_or(0)),
        request_end: micros(line, Field::RequestEnd)?,
        upstream_start: micros(line, Field::UpstreamStart)?,
        response_start: micros(line, Field::ResponseStart)?,
        response_end: micros(line, Field::ResponseEnd)?,
        decision: decision.as_ref(),
    };
    // Envoy rounds the duration down to a millisecond, so the client left within the next one.
    let client_left = logged.client_left().then_some(logged.duration + Duration::from_millis(1));
    let mut connection = connection(line)?;
    if client_left.is_some() && connection.is_none() {
        // A client leaves by closing its connection, so the trace needs one.
        let open = Open { protocol: "HTTP/1.1", id: None, source: None };
        connection = Some(Connection { name: id.clone(), open });
    }
    let request = Request {
        method: method.to_owned(),
        scheme: scheme.map(str::to_owned),
        authority: authority.map(str::to_owned),
        path: path.to_owned(),
        route_name: line.text(Field::RouteName)?.map(str::to_owned),
        route_metadata: line
            .text(Field::Policy)?
            .map(|policy| json!({ "sluice": { "policy": policy } })),
        ..upload(line, &logged)?
    };
    let upstream = logged.upstream();
    let holds_headers =
        decision.as_ref().and_then(|decision| decision.get("holds_headers")) == Some(&json!(true));
    let expect = Some(expectations(&logged, decision.clone()));
    let exchange = Exchange { request, upstream, expect };
    Ok(Ok(Record { id, start, connection, client_left, holds_headers, exchange }))
}

/// Whether a trace can have this status; 0 means no response.
fn is_final(status: u16) -> bool {
    matches!(status, 0 | 101 | 200..600)
}

fn start_time(line: &Line) -> Result<Timestamp, LineError> {
    let text = line.text(Field::StartTime)?;
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| line.unexpected(Field::StartTime, "a time in RFC 3339"))
}

fn micros(line: &Line, field: Field) -> Result<Option<Duration>, LineError> {
    Ok(line.number(field)?.map(Duration::from_micros))
}

fn connection(line: &Line) -> Result<Option<Connection>, LineError> {
    let protocol = match line.text(Field::Protocol)? {
        None | Some("HTTP/1.1" | "HTTP/1.0") => "HTTP/1.1",
        Some("HTTP/2") => "HTTP/2",
        Some("HTTP/3") => "HTTP/3",
        Some(_) => return Err(line.unexpected(Field::Protocol, "HTTP/1.1, HTTP/2 or HTTP/3")),
    };
    let Some(id) = line.number(Field::ConnectionId)? else { return Ok(None) };
    let source = line.text(Field::RemoteAddress)?.map(str::to_owned);
    let open = Open { protocol, id: Some(id), source };
    Ok(Some(Connection { name: format!("c{id}"), open }))
}

/// The request's headers and body. The declared length of the body has precedence over the received
/// bytes, because a response can come before the end of the upload.
fn upload(line: &Line, logged: &LoggedExchange<'_>) -> Result<Request, LineError> {
    let mut headers = line.headers(Field::RequestHeaders)?;
    headers.retain(|(name, _)| !FRAMING.contains(&name.as_str()));
    let declared = headers.iter().find(|(name, _)| name == "content-length");
    let declared = declared.and_then(|(_, value)| value.parse().ok());
    let received = line.number(Field::BytesReceived)?.unwrap_or(0);
    let unfinished = line.has(Field::RequestEnd) && logged.request_end.is_none();
    let body = if logged.status == 101 {
        // Bytes after an upgrade are not a body. As a body, they would delay the response.
        Vec::new()
    } else if logged.client_left_before_response() && unfinished {
        abandoned_upload(received, declared, logged.duration)
    } else {
        body(declared.unwrap_or(received), logged.request_end.unwrap_or_default())
    };
    Ok(Request { headers, body, ..Request::default() })
}

/// The upstream's response headers, without the one that the filter added.
fn response_headers(
    line: &Line,
    decision: Option<&Map<String, Value>>,
) -> Result<Headers, LineError> {
    let mut headers = line.headers(Field::ResponseHeaders)?;
    headers.retain(|(name, _)| !FRAMING.contains(&name.as_str()));
    if decision.is_some_and(|decision| decision.contains_key("accel")) {
        headers.retain(|(name, _)| name != "x-accel-buffering");
    }
    Ok(headers)
}

fn expectations(logged: &LoggedExchange<'_>, decision: Option<Map<String, Value>>) -> Expect {
    let (route, decision) = match decision {
        Some(decision) => split(decision),
        None => (None, None),
    };
    Expect {
        status: Some(logged.status).filter(|status| *status != 0),
        route,
        decision,
        body_bytes: Some(logged.bytes)
            .filter(|bytes| logged.is_whole_response() && *bytes <= MAX_BODY_BYTES),
        end: logged.outcome(),
        upstream: logged.expected_attempts().map(|attempts| ExpectedAttempts { attempts }),
    }
}

/// Splits a decision into its route and its other fields. Optional fields that it lacks become
/// `null`, so that the replay expects their absence.
fn split(mut decision: Map<String, Value>) -> (Option<String>, Option<Box<RawValue>>) {
    for field in decision::OPTIONAL {
        decision.entry(field).or_insert(Value::Null);
    }
    let route = match decision.remove("route") {
        Some(Value::String(route)) => route,
        _ => String::new(),
    };
    (Some(route), to_raw_value(&decision).ok())
}
