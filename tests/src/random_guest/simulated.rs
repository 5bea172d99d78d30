//! Runs cases in the simulator.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_sim::replay::{Options, Report, replay};
use sluice_sim::trace::{EndedBy, Outcome, Trace};
use sluice_sim::{HeaderMap, Limits, LogLevel, Module, Profile};

use super::case::{Callback, Case, Message};
use super::observed::{MARK, Observed, by_case, visible};
use super::{PROTOCOL, VM_ID, generate, interpreter, path};

/// The time between two cases.
const APART: Duration = Duration::from_secs(10);

/// The times of the pokes and of the close by the client, after the request.
const STEPS: Duration = Duration::from_secs(1);

/// The name of the plugin.
pub(super) const PLUGIN: &str = "guest";

/// The result of a case in the simulator.
pub(super) struct Simulated {
    pub(super) observed: Observed,
    /// The number of pokes that are sent before the exchange ends; 3 if the client ends it.
    pub(super) pokes: u32,
}

/// Runs cases one after the other.
///
/// # Panics
/// If the simulator does not accept the trace.
pub(super) fn run(cases: &[Case]) -> Vec<Simulated> {
    let module = Module::new(&interpreter::module(), &Limits::default())
        .expect("the simulator loads the interpreter");
    let text = trace(cases);
    let trace = Trace::parse("cases", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let options = Options::new(Profile::Envoy)
        .with_workers(NonZeroU32::MIN)
        .with_configuration(interpreter::configuration(cases))
        .with_plugin_name(PLUGIN)
        .with_vm_id(VM_ID)
        .with_log_level(LogLevel::Warn)
        .with_hash_bodies(true);
    let report = replay(Some(&module), &trace, &options, &mut |_| {})
        .unwrap_or_else(|error| panic!("{error}"));
    let mut log = by_case(report.log.iter().map(|line| line.text.as_str()));
    let ends = ends(&report);
    (0..cases.len())
        .map(|index| {
            let mut observed = exchange(&report, index);
            observed.log = log.remove(&index).unwrap_or_default();
            let end = ends.get(&index).copied().unwrap_or(APART * (index as u32 + 2));
            let pokes = (end - start(index)).div_duration_f64(STEPS) as u32;
            Simulated { observed, pokes }
        })
        .collect()
}

/// The time of the first request of a case.
fn start(index: usize) -> Duration {
    APART * (index as u32 + 1)
}

/// When the stream of each case ended: the time of its `on_log`.
fn ends(report: &Report) -> BTreeMap<usize, Duration> {
    let log = format!(" {}", Callback::Log as usize);
    let case = |text: &str| text.split_once(MARK)?.1.split_once(&log)?.0.parse().ok();
    report.log.iter().filter_map(|line| Some((case(&line.text)?, line.at))).collect()
}

fn exchange(report: &Report, index: usize) -> Observed {
    let id = index.to_string();
    let found = report.exchanges.iter().find(|exchange| exchange.id == id);
    let exchange = found.expect("a report of each exchange");
    let upstream = &exchange.upstream;
    let reached = upstream.attempts > 0;
    Observed {
        log: Vec::new(),
        status: exchange.status,
        headers: visible(fields(&exchange.headers)),
        body: exchange.body_sha256.clone().unwrap_or_default(),
        trailers: visible(fields(&exchange.trailers)),
        complete: exchange.end == Outcome::Complete,
        request_headers: reached.then(|| visible(fields(&upstream.headers))),
        reply_overtakes: reached && exchange.ended_by == Some(EndedBy::Filter),
        request_body: upstream.body_sha256.clone().filter(|_| reached && upstream.complete),
    }
}

fn fields(map: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    map.iter().map(move |(name, value)| (text(name), text(value)))
}

/// The trace of the cases.
fn trace(cases: &[Case]) -> String {
    let (major, minor) = crate::envoy::version();
    let mut events = vec![
        // As in the example that Envoy runs.
        json!({ "at": "0s", "clusters": generate::CLUSTERS,
                "proxy": { "use_remote_address": true, "version": format!("{major}.{minor}") } }),
        json!({ "at": "0s", "cluster": generate::CLUSTERS[0],
                "respond": { "headers": [["x-call", "1"], ["content-length", "6"]],
                             "body": "called" } }),
        json!({ "at": "0s", "cluster": generate::CLUSTERS[1], "respond": { "end": "refused" } }),
        json!({ "at": "0s", "cluster": generate::CLUSTERS[2], "respond": grpc_response() }),
    ];
    for (index, case) in cases.iter().enumerate() {
        let at = |steps: u32| format!("{}s", (start(index) + STEPS * steps).as_secs());
        let connection = format!("connection {index}");
        let protocol = if case.http2 { "HTTP/2" } else { "HTTP/1.1" };
        events.push(
            json!({ "at": at(0), "connection": connection, "open": { "protocol": protocol } }),
        );
        let mut request = message(&case.request);
        let headers = request["headers"].as_array_mut().expect("a list of headers");
        headers.insert(0, json!(["x-case", index.to_string()]));
        if case.http2 {
            headers.insert(1, json!([PROTOCOL, "2"]));
        }
        request["method"] = json!(case.method);
        request["path"] = json!(path(index));
        let mut response = message(&case.response);
        response["status"] = json!(case.status);
        if !case.http2 {
            let headers = response["headers"].as_array_mut().expect("a list of headers");
            headers.extend(framing(&case.response).map(|field| json!(field)));
        }
        events.push(json!({ "at": at(0), "id": index.to_string(), "connection": connection,
                            "request": request, "upstream": response }));
        for poke in 1..=2 {
            events.push(json!({ "at": at(poke), "id": format!("{index} poke {poke}"), "request": {
                "headers": [["x-case", index.to_string()], ["x-poke", poke.to_string()]] } }));
        }
        events.push(json!({ "at": at(3), "connection": connection, "close": "client" }));
    }
    events.iter().map(|event| format!("{event}\n")).collect()
}

/// The header with which the upstream frames a response over HTTP/1.
pub(super) fn framing(response: &Message) -> Option<[&'static str; 2]> {
    match (response.chunks.is_empty(), response.has_length) {
        (true, _) => Some(["content-length", "0"]),
        (false, false) => Some(["transfer-encoding", "chunked"]),
        (false, true) => None,
    }
}

/// The response of the cluster for gRPC.
pub(super) fn grpc_response() -> Value {
    json!({ "headers": [["content-type", "application/grpc"], ["x-call", "1"]],
            "messages": ["first", "second"],
            "trailers": [["grpc-status", "0"], ["x-end", "1"]] })
}

fn message(message: &Message) -> Value {
    let chunks: Vec<_> =
        message.chunks.iter().map(|text| json!({ "text": text, "after": "1ms" })).collect();
    json!({ "headers": message.all_headers(), "body": chunks, "trailers": message.trailers })
}
