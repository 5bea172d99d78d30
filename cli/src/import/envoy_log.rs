//! Envoy's access log: a line for each request that ended.
//!
//! What a line must say, and which format makes Envoy say it, stands in one table ([`Field`]); a test
//! holds it against the example that operators copy.

mod line;
mod story;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use sluice_filter::decision;
use sluice_sim::trace::{MAX_BODY_BYTES, is_target, is_token};

use self::line::Line;
use self::story::Account;
use super::LeftOut;
use super::error::LineError;
use super::record::{
    Attempts, Connection, Exchange, Expect, Open, Record, Request, abandoned, body,
};
pub(super) use line::{EXAMPLE, Field};

/// Without these there is no request to tell of.
const NEEDED: [Field; 6] = [
    Field::StartTime,
    Field::Duration,
    Field::Method,
    Field::Path,
    Field::ResponseCode,
    Field::ResponseFlags,
];

/// Headers that say how a message is framed, which is up to each hop.
const FRAMING: [&str; 2] = ["transfer-encoding", "connection"];

/// Reads a line; `id` is its name in the trace.
pub(super) fn read(id: String, text: &str) -> Result<Result<Record, LeftOut>, LineError> {
    let line = Line::parse(text)?;
    line.require(&NEEDED)?;
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
    let start = moment(&line)?;
    let decision = line.object(Field::Decision)?;
    let bodiless = method == "HEAD" || matches!(status, 204 | 304);
    let account = Account {
        status,
        flags: line.text(Field::ResponseFlags)?.unwrap_or_default(),
        details: line.text(Field::ResponseCodeDetails)?.unwrap_or_default(),
        attempts: line.number(Field::AttemptCount)?.unwrap_or(0),
        headers: response_headers(&line, decision.as_ref())?,
        bytes: line.number(Field::BytesSent)?.filter(|_| !bodiless).unwrap_or(0),
        duration: Duration::from_millis(line.number(Field::Duration)?.unwrap_or(0)),
        request_end: micros(&line, Field::RequestEnd)?,
        upstream_start: micros(&line, Field::UpstreamStart)?,
        response_start: micros(&line, Field::ResponseStart)?,
        response_end: micros(&line, Field::ResponseEnd)?,
        decision: decision.as_ref(),
    };
    // Envoy counts whole milliseconds, and the client left within the last one.
    let gone = account.client_left().then_some(account.duration + Duration::from_millis(1));
    let mut connection = connection(&line)?;
    if gone.is_some() && connection.is_none() {
        // Whoever leaves needs a connection to close.
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
        ..upload(&line, &account)?
    };
    let upstream = account.upstream();
    let expect = Some(expectations(&account, decision.clone()));
    let exchange = Exchange { request, upstream, expect };
    Ok(Ok(Record { id, start, connection, gone, exchange }))
}

/// The statuses that end an exchange, and 0 for none.
fn is_final(status: u16) -> bool {
    matches!(status, 0 | 101 | 200..600)
}

fn moment(line: &Line) -> Result<Timestamp, LineError> {
    let text = line.text(Field::StartTime)?;
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| line.unexpected(Field::StartTime, "a moment of RFC 3339"))
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

/// Headers and body of the request. A declared length counts more than what came of it, because a
/// request may be answered before its end.
fn upload(line: &Line, account: &Account<'_>) -> Result<Request, LineError> {
    let mut headers = line.headers(Field::RequestHeaders)?;
    headers.retain(|(name, _)| !FRAMING.contains(&name.as_str()));
    let declared = headers.iter().find(|(name, _)| name == "content-length");
    let declared = declared.and_then(|(_, value)| value.parse().ok());
    let came = line.number(Field::BytesReceived)?.unwrap_or(0);
    let unfinished = line.notes(Field::RequestEnd) && account.request_end.is_none();
    let body = if account.status == 101 {
        // What is sent after an upgrade is no body, and would hold the answer back.
        Vec::new()
    } else if account.left_unanswered() && unfinished {
        abandoned(came, declared, account.duration)
    } else {
        body(declared.unwrap_or(came), account.request_end.unwrap_or_default())
    };
    Ok(Request { headers, body, ..Request::default() })
}

/// What the upstream sent, as far as the filter did not put it there.
fn response_headers(
    line: &Line,
    decision: Option<&Map<String, Value>>,
) -> Result<super::record::Headers, LineError> {
    let mut headers = line.headers(Field::ResponseHeaders)?;
    headers.retain(|(name, _)| !FRAMING.contains(&name.as_str()));
    if decision.is_some_and(|decision| decision.contains_key("accel")) {
        headers.retain(|(name, _)| name != "x-accel-buffering");
    }
    Ok(headers)
}

fn expectations(account: &Account<'_>, decision: Option<Map<String, Value>>) -> Expect {
    let (route, decision) = match decision {
        Some(decision) => split(decision),
        None => (None, None),
    };
    Expect {
        status: Some(account.status).filter(|status| *status != 0),
        route,
        decision,
        body_bytes: Some(account.bytes).filter(|bytes| account.whole() && *bytes <= MAX_BODY_BYTES),
        end: account.outcome(),
        upstream: account.asked().map(|attempts| Attempts { attempts }),
    }
}

/// The route, and the rest of the decision: what was not decided shall not be decided again.
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
