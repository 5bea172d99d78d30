//! The observations of a client in one exchange, and the comparison of two observations.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use sluice_filter::decision;
use sluice_sim::HeaderMap;
use sluice_sim::replay::{ExchangeReport, Report};
use sluice_sim::trace::{EndedBy, EventKind, Outcome, Protocol, Trace};

use super::upstream;

/// The largest accepted delay compared with the simulator. It includes Envoy's delayed close, which
/// reports a cut one second late.
pub(super) const LATE: Duration = Duration::from_millis(2500);

/// The largest accepted time before the simulator's: the pauses between retries are random in both,
/// up to 75 ms for two of them, and scheduling delays the client.
const EARLY: Duration = Duration::from_millis(200);

/// Exchanges of one HTTP/2 connection that are closer in time than this may overlap in one of the
/// two runs only. Which of them received the GOAWAY is then not compared.
const APART: Duration = Duration::from_millis(100);

/// The fields of the decision header for the close and for the drain's epoch.
const CLOSES: &str = ",\"close\":true";
const EPOCH: &str = "\"epoch\":";

/// Headers that the proxy chooses, such as the framing of a body; they are not compared.
const PROXY_HEADERS: [&str; 8] = [
    "connection",
    "content-length",
    "date",
    "server",
    "transfer-encoding",
    "x-envoy-attempt-count",
    "x-envoy-upstream-service-time",
    "keep-alive",
];

/// Header fields, sorted.
type Fields = Vec<(String, String)>;

/// The observations of a client in one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observation {
    /// The status, if a response began.
    pub(super) status: Option<u16>,
    /// The headers, without [`PROXY_HEADERS`].
    pub(super) headers: Vec<(String, String)>,
    /// The trailers.
    pub(super) trailers: Vec<(String, String)>,
    /// The SHA-256 of the body.
    pub(super) body: String,
    /// The length of the body.
    pub(super) bytes: u64,
    /// How the exchange ended.
    pub(super) end: Outcome,
    /// Whether the proxy announced that it closes the connection; `None` if that is unknown, or if
    /// the connection cannot be used again in either case.
    pub(super) closed: Option<bool>,
    /// The number of attempts at the upstream; `None` if no attempt received the whole request.
    pub(super) attempts: Option<u32>,
    /// The filter cut the response, and all bytes that it had forwarded have reached the client.
    pub(super) exact_body: bool,
    /// The trace time from the request to the last byte.
    pub(super) last_byte: Duration,
    /// The wall-clock time from the request to the last byte, including halts of the trace time.
    pub(super) elapsed: Duration,
}

impl Observation {
    /// The headers; the decision about the close is removed unless `with_close` is set.
    fn headers(&self, with_close: bool) -> Fields {
        let mut headers = self.headers.clone();
        for (name, value) in &mut headers {
            if name == decision::HEADER && !with_close {
                *value = value.replace(CLOSES, "");
            }
        }
        headers
    }

    /// Subtracts `shift` from the epoch in the decision header.
    pub(super) fn shift_epoch(&mut self, shift: u64) {
        for (name, value) in &mut self.headers {
            if name == decision::HEADER
                && let Some((before, rest)) = value.split_once(EPOCH)
                && let Some(end) = rest.find(|next: char| !next.is_ascii_digit())
                && let Ok(epoch) = rest[..end].parse::<u64>()
            {
                *value = format!("{before}{EPOCH}{}{}", epoch.saturating_sub(shift), &rest[end..]);
            }
        }
    }

    /// An exchange without a response.
    pub(super) fn no_response(end: Outcome) -> Self {
        Self {
            status: None,
            headers: Vec::new(),
            trailers: Vec::new(),
            body: sha256(b""),
            bytes: 0,
            end,
            closed: None,
            attempts: None,
            exact_body: false,
            last_byte: Duration::ZERO,
            elapsed: Duration::ZERO,
        }
    }
}

/// The observations of the simulated clients, by exchange id.
pub(super) fn in_report(report: &Report, trace: &Trace<'_>) -> BTreeMap<String, Observation> {
    let observed = report.exchanges.iter().map(|exchange| {
        let closed = exchange.end == Outcome::Complete && !may_overlap(exchange, report, trace);
        let observed = Observation {
            status: exchange.status,
            headers: visible(fields(&exchange.headers)),
            trailers: visible(fields(&exchange.trailers)),
            body: exchange.body_sha256.clone().unwrap_or_else(|| sha256(b"")),
            bytes: exchange.body_bytes,
            end: match exchange.end {
                // After an upgrade, a client observes the same close from either side.
                Outcome::Complete if exchange.status == Some(101) => Outcome::Cut,
                end => end,
            },
            closed: closed.then_some(exchange.closed),
            attempts: was_sent_completely(exchange, trace).then_some(exchange.upstream.attempts),
            exact_body: exchange.ended_by == Some(EndedBy::Filter),
            last_byte: exchange.last_byte,
            elapsed: exchange.last_byte,
        };
        (exchange.id.to_string(), observed)
    });
    observed.collect()
}

/// Whether the upstream received the whole request, or no part of it.
fn was_sent_completely(exchange: &ExchangeReport<'_>, trace: &Trace<'_>) -> bool {
    let request_body = trace.events.iter().find_map(|event| match &event.kind {
        EventKind::Exchange(found) if event.line == exchange.line => Some(&found.request.body),
        _ => None,
    });
    let sent: usize = request_body
        .map_or(0, |body| upstream::chunks(body).iter().map(|(_, bytes)| bytes.len()).sum());
    exchange.upstream.attempts == 0 || exchange.upstream.body_bytes == sent as u64
}

/// Whether another exchange of the same HTTP/2 connection is closer in time than [`APART`].
fn may_overlap(exchange: &ExchangeReport<'_>, report: &Report, trace: &Trace<'_>) -> bool {
    let multiplexes = trace.events.iter().any(|event| match &event.kind {
        EventKind::Open { connection, open, .. } => {
            connection.0 == exchange.connection && open.protocol != Protocol::Http1
        }
        _ => false,
    });
    let span = |exchange: &ExchangeReport<'_>| (exchange.sent, exchange.sent + exchange.last_byte);
    let (begin, end) = span(exchange);
    let near = |other: &ExchangeReport<'_>| {
        let (begins, ends) = span(other);
        other.connection == exchange.connection
            && other.id != exchange.id
            && begins <= end + APART
            && begin <= ends + APART
    };
    multiplexes && report.exchanges.iter().any(near)
}

/// Compares the observations; returns one line for each difference.
pub(super) fn compare(
    simulated: &BTreeMap<String, Observation>,
    real: &BTreeMap<String, Observation>,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (id, simulated) in simulated {
        let Some(real) = real.get(id) else {
            differences.push(format!("{id}: no observation in Envoy"));
            continue;
        };
        let mut differ = |what: &str, simulated: String, real: String| {
            if simulated != real {
                differences.push(format!("{id}: {what}: simulator {simulated}, Envoy {real}"));
            }
        };
        // A client may close the connection before bytes in flight arrive.
        let client_closed = simulated.end == Outcome::Client && real.end == Outcome::Client;
        if !(client_closed && real.status.is_none()) {
            differ("status", format!("{:?}", simulated.status), format!("{:?}", real.status));
            let with_close = simulated.closed.is_some() && real.closed.is_some();
            let headers = |observed: &Observation| format!("{:?}", observed.headers(with_close));
            differ("headers", headers(simulated), headers(real));
            differ("trailers", format!("{:?}", simulated.trailers), format!("{:?}", real.trailers));
        }
        let both_cut = simulated.end != Outcome::Complete && real.end != Outcome::Complete;
        let bytes_lost = both_cut && !simulated.exact_body && real.bytes <= simulated.bytes;
        // Bytes in flight when a response is cut are lost, with HTTP/2 also those that waited for
        // flow control.
        if !bytes_lost && !is_health_reply(simulated) {
            differ("body bytes", simulated.bytes.to_string(), real.bytes.to_string());
            differ("body", simulated.body.clone(), real.body.clone());
        }
        differ("end", simulated.end.to_string(), real.end.to_string());
        if let (Some(simulated), Some(real)) = (simulated.attempts, real.attempts) {
            differ("attempts", simulated.to_string(), real.to_string());
        }
        if let (Some(simulated), Some(real)) = (simulated.closed, real.closed) {
            differ("closed", simulated.to_string(), real.to_string());
        }
        // A client that closes the connection may have queued the request behind the previous
        // exchange, whose end a real client observes later.
        let early = !client_closed && real.elapsed + EARLY < simulated.last_byte;
        if early || real.last_byte > simulated.last_byte + LATE {
            differ(
                "last byte",
                format!("{:?}", simulated.last_byte),
                format!("{:?}", real.last_byte),
            );
        }
    }
    differences
}

/// Whether this is the filter's health reply, whose body contains the date, the epoch and the
/// proxy's name.
fn is_health_reply(observed: &Observation) -> bool {
    let json = ("content-type".to_owned(), "application/json".to_owned());
    observed.attempts == Some(0) && observed.headers.contains(&json)
}

/// The header fields that are compared, sorted.
pub(super) fn visible(fields: impl Iterator<Item = (String, String)>) -> Fields {
    let mut fields: Fields =
        fields.filter(|(name, _)| !PROXY_HEADERS.contains(&name.as_str())).collect();
    fields.sort();
    fields
}

fn fields(map: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    map.iter().map(move |(name, value)| (text(name), text(value)))
}

/// The SHA-256 of a body, in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
