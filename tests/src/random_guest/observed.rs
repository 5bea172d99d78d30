//! What the peers of a case and the guest observed on one host, and how two observations differ.

use std::collections::BTreeMap;

use regex_lite::Regex;
use sluice_test_kit::host_functions::HOST_FUNCTIONS;

use super::case::Fields;
use super::interpreter::PREFIX;

/// The start of each line that the guest logs.
pub(super) const MARK: &str = "guest# ";

/// The observations of a case on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// The lines that the guest logged.
    pub(super) log: Vec<String>,
    /// The status, if a response began.
    pub(super) status: Option<u16>,
    /// The response headers that the client received, sorted.
    pub(super) headers: Fields,
    /// The SHA-256 of the body that the client received.
    pub(super) body: String,
    /// The trailers that the client received, sorted.
    pub(super) trailers: Fields,
    /// Whether the response was complete.
    pub(super) complete: bool,
    /// The request headers that the upstream received, sorted; `None` without a request.
    pub(super) request_headers: Option<Fields>,
    /// The SHA-256 of the body that the upstream received, if it received all of it.
    pub(super) request_body: Option<String>,
    /// Whether the guest replied to a request that was on its way to the upstream, so that it
    /// depends on chance what the upstream receives. Only the simulator knows.
    pub(super) reply_overtakes: bool,
}

/// Headers whose presence or value depends on the run or on the connection.
const RUN_HEADERS: [&str; 9] = [
    "server",
    "connection",
    "content-length",
    "date",
    "host",
    "transfer-encoding",
    "x-envoy-upstream-service-time",
    "x-request-id",
    "keep-alive",
];

/// Headers whose values depend on the machine, and on time.
const MASKED: [&str; 2] = ["x-forwarded-for", "x-envoy-upstream-service-time"];

/// The header fields that are compared, sorted.
pub(super) fn visible(fields: impl IntoIterator<Item = (String, String)>) -> Fields {
    let mut fields: Fields = fields
        .into_iter()
        .filter(|(name, _)| !name.starts_with(':') && !RUN_HEADERS.contains(&name.as_str()))
        .filter(|(name, _)| !name.starts_with("x-envoy-") && !name.starts_with("x-forwarded-"))
        .collect();
    fields.sort();
    fields
}

/// The logged lines of each case, from all lines of a host in order. A line without a number belongs
/// to the case of the line before it.
pub(super) fn by_case<'l>(
    lines: impl IntoIterator<Item = &'l str>,
) -> BTreeMap<usize, Vec<String>> {
    let mut cases = BTreeMap::<usize, Vec<String>>::new();
    let mut current = 0;
    for line in lines {
        let Some((_, rest)) = line.split_once(MARK) else { continue };
        let (first, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if let Ok(number) = first.parse() {
            current = number;
        }
        let text = if first.parse::<usize>().is_ok() { rest } else { first };
        cases.entry(current).or_default().push(readable(text.trim_end()));
    }
    cases
}

/// Replaces the number of a function by its name, and values that differ between runs.
fn readable(line: &str) -> String {
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    let [place, function, rest] = words[..] else { return line.to_owned() };
    let named = match (place.contains('.'), function.parse::<usize>()) {
        (true, Ok(index)) if index < HOST_FUNCTIONS.len() => {
            let name = HOST_FUNCTIONS[index].0;
            let rest = match name {
                "get_header_map_pairs" => readable_map(rest),
                _ => rest.to_owned(),
            };
            format!("{place} {PREFIX}{name} {rest}")
        }
        _ => line.to_owned(),
    };
    let dates = Regex::new(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT");
    let ids = Regex::new(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
    let named = dates.expect("a valid pattern").replace_all(&named, "DATE").into_owned();
    ids.expect("a valid pattern").replace_all(&named, "ID").into_owned()
}

/// Status and fields of a logged header map, in order; `result` itself if it is not a map. The
/// length of a map that has a masked value depends on the value.
fn readable_map(result: &str) -> String {
    let map = || {
        let (status, value) = result.split_once(' ')?;
        let (_, value) = value.split_once(' ')?;
        let fields = fields(&unescaped(value)?)?;
        let masked = |(name, value): (String, String)| match MASKED.contains(&&*name) {
            true => format!("{name}: *"),
            false => format!("{name}: {value}"),
        };
        Some(format!("{status} {:?}", fields.into_iter().map(masked).collect::<Vec<_>>()))
    };
    map().unwrap_or_else(|| result.to_owned())
}

/// The bytes of an escaped text: a backslash precedes two hexadecimal digits.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut pieces = text.split('\\');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(piece.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    Some(bytes)
}

/// The fields of a serialized header map, which must end with its last field.
fn fields(map: &[u8]) -> Option<Fields> {
    let number = |at: usize| {
        let bytes = map.get(4 * at..4 * at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let count = number(0)?;
    let mut at = 4 + 8 * count;
    let mut text = |length: usize| {
        let bytes = map.get(at..at + length)?;
        at += length + 1;
        (map.get(at - 1) == Some(&0)).then(|| String::from_utf8_lossy(bytes).into_owned())
    };
    let mut fields = Fields::new();
    for field in 0..count {
        fields.push((text(number(1 + 2 * field)?)?, text(number(2 + 2 * field)?)?));
    }
    (at == map.len()).then_some(fields)
}

/// The differences, one line each.
pub(super) fn differences(simulator: &Observed, envoy: &Observed) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, simulator: String, envoy: String| {
        if simulator != envoy {
            differences.push(format!("{what}:\n    simulator {simulator}\n    envoy     {envoy}"));
        }
    };
    differ("status", format!("{:?}", simulator.status), format!("{:?}", envoy.status));
    differ("headers", format!("{:?}", simulator.headers), format!("{:?}", envoy.headers));
    differ("body", simulator.body.clone(), envoy.body.clone());
    differ("trailers", format!("{:?}", simulator.trailers), format!("{:?}", envoy.trailers));
    differ("complete", simulator.complete.to_string(), envoy.complete.to_string());
    // A request that the guest ends may reach the upstream in part, or not at all.
    let ended = |observed: &Observed| observed.request_body.is_none();
    if !(simulator.reply_overtakes || ended(simulator) && ended(envoy)) {
        differ(
            "request headers",
            format!("{:?}", simulator.request_headers),
            format!("{:?}", envoy.request_headers),
        );
    }
    if !simulator.reply_overtakes {
        differ(
            "request body",
            format!("{:?}", simulator.request_body),
            format!("{:?}", envoy.request_body),
        );
    }
    let lines = simulator.log.len().max(envoy.log.len());
    let line =
        |log: &[String], index: usize| log.get(index).map_or("nothing", |line| line).to_owned();
    if let Some(first) = (0..lines).find(|at| simulator.log.get(*at) != envoy.log.get(*at)) {
        differ(&format!("log line {first}"), line(&simulator.log, first), line(&envoy.log, first));
    }
    differences
}
