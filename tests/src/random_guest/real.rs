//! Runs cases on a real Envoy.

mod clients;
mod upstreams;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::case::{Callback, Case, Fields};
use super::observed::{Observed, by_case, visible};
use super::simulated::{PLUGIN, grpc_response};
use super::{PROTOCOL, VM_ID, generate, interpreter, path};
use crate::cluster_server;
use crate::envoy::{Bootstrap, Envoy};
use crate::upstream::Upstream;
use crate::{eventually, unused_port};
use upstreams::{Received, Scripts};

/// The pause before a chunk, so that the proxy receives each chunk by itself.
const PAUSE: Duration = Duration::from_millis(8);

/// The time after which a stream that waits has no more events.
const SETTLED: Duration = Duration::from_millis(60);

/// Runs cases one after the other until one of them ends Envoy. `pokes` are the numbers of pokes
/// that each needs.
///
/// # Panics
/// If Envoy does not start.
pub(super) fn run(cases: &[Case], pokes: &[u32]) -> Vec<Observed> {
    let scripts: Scripts =
        Arc::new(cases.iter().enumerate().map(|(at, case)| (path(at), case.clone())).collect());
    let received = Received::default();
    let http1 = upstreams::http1(scripts.clone(), received.clone());
    let http2 = upstreams::http2(scripts, received.clone());
    let calls = Upstream::start(|_, reply| reply.respond(200, &[("x-call", "1")], b"called"));
    let grpc = cluster_server::serve_http2(&grpc_response());
    let mut envoy = start(cases, [http1.port, http2, calls.port, grpc]);
    let mut observed = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let one = match case.http2 {
            true => clients::over_http2(index, case, pokes[index], envoy.port),
            false => clients::over_http1(index, case, pokes[index], envoy.port),
        };
        let Some(mut one) = one.filter(|_| !envoy.has_ended()) else { break };
        // A request whose body is not complete is not answered.
        let begun = http1.requests(&path(index));
        if let Some(request) = begun.first().filter(|request| !request.complete) {
            one.request_headers = Some(visible(request.headers.fields.clone()));
        }
        let got = received.lock().unwrap_or_else(PoisonError::into_inner).remove(&path(index));
        if let Some((headers, body)) = got {
            one.request_headers = Some(visible(headers));
            one.request_body = body;
        }
        observed.push(one);
    }
    if let Some(last) = observed.len().checked_sub(1).filter(|last| last + 1 == cases.len()) {
        let calls = cases[last].program.get(&Callback::Delete).map_or(0, |end| end.calls.len());
        let last = match calls {
            0 => format!("guest# {last} 17 "),
            calls => format!("guest# {last} 17.{} ", calls - 1),
        };
        eventually("the end of the last case", || envoy.log().contains(&last).then_some(()));
    }
    // A response to a call may arrive after the end of its stream.
    std::thread::sleep(3 * SETTLED);
    let log = envoy.log();
    let mut log = by_case(log.lines());
    for (index, one) in observed.iter_mut().enumerate() {
        one.log = log.remove(&index).unwrap_or_default();
    }
    observed
}

fn start(cases: &[Case], [http1, http2, calls, grpc]: [u16; 4]) -> Envoy {
    let filter = json!({ "name": PLUGIN, "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": { "name": PLUGIN,
            "configuration": { "@type": "type.googleapis.com/google.protobuf.StringValue",
                               "value": interpreter::configuration(cases) },
            "vm_config": { "vm_id": VM_ID, "runtime": "envoy.wasm.runtime.v8",
                "code": { "local": {
                    "inline_bytes": Base64::encode_string(&interpreter::module()) } } } } } });
    let bootstrap = Bootstrap::example("static", http1)
        .without("sluice")
        .with_filter(filter)
        .with_cluster(generate::CLUSTERS[0], calls)
        .with_cluster(generate::CLUSTERS[1], unused_port())
        .with_http2_cluster(generate::CLUSTERS[2], grpc)
        .with_http2_cluster("http2", http2)
        .changed("routes", |routes| {
            let route = json!({
                "match": { "prefix": "/", "headers": [
                    { "name": PROTOCOL, "string_match": { "exact": "2" } }] },
                "route": { "cluster": "http2" } });
            routes.as_array_mut().expect("a list of routes").insert(0, route);
        });
    Envoy::start(bootstrap)
}

fn owned(fields: &http::HeaderMap) -> Fields {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
