//! Host calls return the same in Envoy and in the simulator, and callbacks come in the same order:
//! one guest runs on both hosts, and both log the same lines.

mod buffers;
mod callouts;
mod crashes;
mod headers;
mod lengths;
mod proxy_headers;

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};
use sluice_sim::replay::{Options, replay};
use sluice_sim::trace::Trace;
use sluice_sim::{Limits, Module, Profile};
use sluice_tests::call_guest::{PREFIX, parse_pairs};
use sluice_tests::envoy::{Bootstrap, Envoy};

/// The guest as a filter of Envoy; `plugin` has more fields of its `PluginConfig`.
fn filter(wasm: &[u8], plugin: &Value) -> Value {
    let mut config = json!({ "name": "guest", "vm_config": {
        "vm_id": "guest", "runtime": "envoy.wasm.runtime.v8",
        "code": { "local": { "inline_bytes": Base64::encode_string(wasm) } } } });
    for (name, value) in plugin.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    json!({ "name": "guest", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": config } })
}

/// An Envoy with the guest as its only filter.
fn bootstrap(wasm: &[u8], plugin: &Value, upstream: u16) -> Bootstrap {
    Bootstrap::example("static", upstream)
        .without("sluice")
        .with_filter(filter(wasm, plugin))
        .with_connection_manager(&json!({
            "use_remote_address": false,
            "common_http_protocol_options": { "max_headers_count": 1000 },
        }))
}

/// The lines that the guest has logged in Envoy.
fn logged_in_envoy(envoy: &Envoy) -> Vec<String> {
    let log = envoy.log();
    let lines = log.lines().filter_map(|line| line.split_once(PREFIX));
    lines.map(|(_, line)| readable(line)).collect()
}

/// The lines that the guest logs in the simulator when it handles this trace.
fn logged_in_the_simulator(wasm: &[u8], trace: &str) -> Vec<String> {
    let module = Module::new(wasm, &Limits::default()).expect("the simulator loads it");
    let trace = Trace::parse("test", trace).expect("a valid trace");
    let options = Options::new(Profile::Envoy).with_configuration("");
    let report = replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay");
    let lines = report.log.iter().filter_map(|line| line.text.strip_prefix(PREFIX));
    lines.map(readable).collect()
}

/// A line with its header map as text. Values that differ from run to run are replaced.
fn readable(line: &str) -> String {
    let Some((call, hex)) = line.rsplit_once(" x").filter(|_| line.contains("pairs")) else {
        return line.to_owned();
    };
    let varies = ["x-envoy-upstream-service-time", "x-request-id", "date"];
    let pairs = parse_pairs(hex).into_iter().map(|(name, value)| {
        let value = if varies.contains(&name.as_str()) { "*".to_owned() } else { value };
        format!("{name}={value}")
    });
    format!("{call} {:?}", pairs.collect::<Vec<_>>())
}

/// Compares line by line, so that a failure shows the first difference with its context.
fn assert_same(envoy: &[String], simulator: &[String]) {
    for (index, (envoy, simulator)) in envoy.iter().zip(simulator).enumerate() {
        assert_eq!(simulator, envoy, "line {index}: the simulator, then Envoy");
    }
    assert_eq!(simulator.len(), envoy.len(), "the number of lines: the simulator, then Envoy");
    assert!(!envoy.is_empty(), "the guest logged nothing");
}
