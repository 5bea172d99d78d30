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

/// The callbacks for headers, by their number in the log. The number of headers is not compared,
/// because it includes those of the proxy.
const UNCOUNTED: [&str; 3] = ["0", "4", "8"];

/// Host calls whose results include the headers of the proxy. Only their status is compared.
const UNCOMPARED: [&str; 2] = ["get_header_map_size", "get_header_map_pairs"];

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
    if UNCOUNTED.contains(&place) {
        return format!("{place} {rest}");
    }
    let named = match (place.contains('.'), function.parse::<usize>()) {
        (true, Ok(index)) if index < HOST_FUNCTIONS.len() => {
            let name = HOST_FUNCTIONS[index].0;
            let status = rest.split(' ').next().unwrap_or_default();
            format!(
                "{place} {PREFIX}{name} {}",
                if UNCOMPARED.contains(&name) { status } else { rest }
            )
        }
        _ => line.to_owned(),
    };
    let dates = Regex::new(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT");
    let ids = Regex::new(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
    let named = dates.expect("a valid pattern").replace_all(&named, "DATE").into_owned();
    ids.expect("a valid pattern").replace_all(&named, "ID").into_owned()
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
    if !(ended(simulator) && ended(envoy)) {
        differ(
            "request headers",
            format!("{:?}", simulator.request_headers),
            format!("{:?}", envoy.request_headers),
        );
    }
    differ(
        "request body",
        format!("{:?}", simulator.request_body),
        format!("{:?}", envoy.request_body),
    );
    let lines = simulator.log.len().max(envoy.log.len());
    let line =
        |log: &[String], index: usize| log.get(index).map_or("nothing", |line| line).to_owned();
    if let Some(first) = (0..lines).find(|at| simulator.log.get(*at) != envoy.log.get(*at)) {
        differ(&format!("log line {first}"), line(&simulator.log, first), line(&envoy.log, first));
    }
    differences
}
