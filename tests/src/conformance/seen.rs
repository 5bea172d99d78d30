//! What the client of an exchange saw, and in what two such views differ.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use sluice_filter::decision;
use sluice_sim::HeaderMap;
use sluice_sim::replay::{ExchangeReport, Report};
use sluice_sim::trace::{EndedBy, EventKind, Outcome, Protocol, Trace};

use super::upstream;

/// How much later than in the simulator something may happen on a real clock; a cut is told a second
/// late by Envoy's own delayed close.
pub(super) const LATE: Duration = Duration::from_millis(2500);

/// How much earlier than in the simulator something may happen: the pauses between tries are random in
/// both, up to 75 ms for two of them, and scheduling moves the client's own clock.
const EARLY: Duration = Duration::from_millis(200);

/// Exchanges of one HTTP/2 connection that are nearer to each other than this may overlap in one view and
/// not in the other; then nobody can tell which of them closed the connection.
const APART: Duration = Duration::from_millis(100);

/// How the filter tells in a header that a connection closes, and which drain is in force.
const CLOSES: &str = ",\"close\":true";
const EPOCH: &str = "\"epoch\":";

/// Headers that are the proxy's own, or say how a body is framed, which proxies choose.
const OWN: [&str; 8] = [
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

/// What the client of an exchange saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The status, if a response began.
    pub(super) status: Option<u16>,
    /// The headers, without those that are the proxy's own.
    pub(super) headers: Vec<(String, String)>,
    /// The trailers.
    pub(super) trailers: Vec<(String, String)>,
    /// The SHA-256 of the body.
    pub(super) body: String,
    /// The length of the body.
    pub(super) bytes: u64,
    /// How it ended.
    pub(super) end: Outcome,
    /// Whether the proxy announced that it closes the connection; `None` where nobody can tell, or
    /// the connection cannot be used again anyhow.
    pub(super) closed: Option<bool>,
    /// How often the upstream was asked; `None` where it never got the whole request, so that it does not know.
    pub(super) attempts: Option<u32>,
    /// The filter ended it, and what it had let pass before has reached the client.
    pub(super) exact: bool,
    /// From the request to the last byte, in the trace's time.
    pub(super) last: Duration,
    /// The same on the wall clock, which goes on where the trace's time stands still.
    pub(super) elapsed: Duration,
}

impl Seen {
    /// Its headers; what the filter decided about the close only where it can be told.
    fn headers(&self, told: bool) -> Fields {
        let mut headers = self.headers.clone();
        for (name, value) in &mut headers {
            if name == decision::HEADER && !told {
                *value = value.replace(CLOSES, "");
            }
        }
        headers
    }

    /// Turns the epoch that the filter tells of into that of the trace, which is shifted by so much.
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

    /// What an exchange looks like that never got an answer.
    pub(super) fn nothing(end: Outcome) -> Self {
        Self {
            status: None,
            headers: Vec::new(),
            trailers: Vec::new(),
            body: sha256(b""),
            bytes: 0,
            end,
            closed: None,
            attempts: None,
            exact: false,
            last: Duration::ZERO,
            elapsed: Duration::ZERO,
        }
    }
}

/// What the simulated clients saw.
pub(super) fn in_report(report: &Report<'_>, trace: &Trace<'_>) -> BTreeMap<String, Seen> {
    let seen = report.exchanges.iter().map(|exchange| {
        let closed = exchange.end == Outcome::Complete && !crowded(exchange, report, trace);
        let seen = Seen {
            status: exchange.status,
            headers: visible(fields(&exchange.headers)),
            trailers: visible(fields(&exchange.trailers)),
            body: exchange.body_sha256.clone().unwrap_or_else(|| sha256(b"")),
            bytes: exchange.body_bytes,
            end: match exchange.end {
                // A client that has left HTTP sees a close, whoever closes.
                Outcome::Complete if exchange.status == Some(101) => Outcome::Cut,
                end => end,
            },
            closed: closed.then_some(exchange.closed),
            attempts: asked_in_full(exchange, trace).then_some(exchange.upstream.attempts),
            exact: exchange.ended_by == Some(EndedBy::Filter),
            last: exchange.last_byte,
            elapsed: exchange.last_byte,
        };
        (exchange.id.to_owned(), seen)
    });
    seen.collect()
}

/// Whether the upstream got the whole request, if it got any of it.
fn asked_in_full(exchange: &ExchangeReport<'_>, trace: &Trace<'_>) -> bool {
    let asked = trace.events.iter().find_map(|event| match &event.kind {
        EventKind::Exchange(asked) if event.line == exchange.line => Some(&asked.request.body),
        _ => None,
    });
    let sent: usize =
        asked.map_or(0, |body| upstream::chunks(body).iter().map(|(_, bytes)| bytes.len()).sum());
    exchange.upstream.attempts == 0 || exchange.upstream.body_bytes == sent as u64
}

/// Whether another exchange is near on the same HTTP/2 connection.
fn crowded(exchange: &ExchangeReport<'_>, report: &Report<'_>, trace: &Trace<'_>) -> bool {
    let multiplexes = trace.events.iter().any(|event| match &event.kind {
        EventKind::Open { connection, open } => {
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

/// In what the views differ, a line for each difference.
pub(super) fn compare(
    simulated: &BTreeMap<String, Seen>,
    real: &BTreeMap<String, Seen>,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (id, simulated) in simulated {
        let Some(real) = real.get(id) else {
            differences.push(format!("{id}: the real client saw nothing"));
            continue;
        };
        let mut differ = |what: &str, simulated: String, real: String| {
            if simulated != real {
                differences.push(format!("{id}: {what}: simulator {simulated}, Envoy {real}"));
            }
        };
        // A client that goes away may do so before what is on its way arrives.
        let left = simulated.end == Outcome::Client && real.end == Outcome::Client;
        if !(left && real.status.is_none()) {
            differ("status", format!("{:?}", simulated.status), format!("{:?}", real.status));
            let told = simulated.closed.is_some() && real.closed.is_some();
            let headers = |seen: &Seen| format!("{:?}", seen.headers(told));
            differ("headers", headers(simulated), headers(real));
            differ("trailers", format!("{:?}", simulated.trailers), format!("{:?}", real.trailers));
        }
        let both_cut = simulated.end != Outcome::Complete && real.end != Outcome::Complete;
        let lost = both_cut && !simulated.exact && real.bytes <= simulated.bytes;
        // What of a response that is cut was on its way then is lost with it: with HTTP/2 all that
        // flow control held back.
        if !lost && !tells_the_time(simulated) {
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
        // A client that goes away has waited since the exchange before was over, which a real client knows later.
        let early = !left && real.elapsed + EARLY < simulated.last;
        if early || real.last > simulated.last + LATE {
            differ("last byte", format!("{:?}", simulated.last), format!("{:?}", real.last));
        }
    }
    differences
}

/// Whether this is the filter's own health answer, whose body has the date, the epoch and the proxy's name.
fn tells_the_time(seen: &Seen) -> bool {
    let json = ("content-type".to_owned(), "application/json".to_owned());
    seen.attempts == Some(0) && seen.headers.contains(&json)
}

/// What is compared of a list of header fields.
pub(super) fn visible(fields: impl Iterator<Item = (String, String)>) -> Fields {
    let mut fields: Fields = fields.filter(|(name, _)| !OWN.contains(&name.as_str())).collect();
    fields.sort();
    fields
}

fn fields(map: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    map.iter().map(move |(name, value)| (text(name), text(value)))
}

/// The hash of a body.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
