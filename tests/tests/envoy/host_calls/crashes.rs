//! What clients receive after a crash of the guest, under each failure policy.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_sim::replay::{Options, replay};
use sluice_sim::trace::Trace;
use sluice_sim::{FailurePolicy, Limits, Module, Profile};
use sluice_tests::call_guest::{CallGuest, call};
use sluice_tests::envoy::Envoy;
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

use super::bootstrap;

/// A guest that crashes in the response headers of a request to `/crash`, whose response has the
/// header `x-crash`.
fn guest() -> Vec<u8> {
    let read = call("crash", "get_header_map_value", [0.into(), "x-crash".into()]);
    // The call of the previous request has returned bytes if that request had the header.
    let guard = "(if (i32.load (i32.const 500)) (then unreachable))";
    CallGuest::default()
        .on("request_headers", &[read], 0)
        .on_if("response_headers", guard, &[], 0)
        .module()
}

/// The requests: a pause before each, in milliseconds, and whether it crashes the guest.
const REQUESTS: &[(u64, bool)] =
    &[(1700, false), (0, true), (0, false), (0, true), (0, false), (1700, false)];

fn in_envoy(wasm: &[u8], plugin: &Value) -> Vec<u16> {
    let upstream = Upstream::ok();
    let envoy = Envoy::start(bootstrap(wasm, plugin, upstream.port));
    let statuses = REQUESTS.iter().map(|(pause, crash)| {
        std::thread::sleep(Duration::from_millis(*pause));
        let mut client = Client::connect(envoy.port);
        let headers: &[(&str, &str)] = if *crash { &[("x-crash", "1")] } else { &[] };
        client.send("GET", "/", headers);
        client.receive().status
    });
    statuses.collect()
}

fn in_the_simulator(wasm: &[u8], policy: FailurePolicy) -> Vec<u16> {
    let module = Module::new(wasm, &Limits::default()).expect("the simulator loads it");
    let mut at = 0;
    let lines = REQUESTS.iter().map(|(pause, crash)| {
        // A request in Envoy takes some time, too.
        at += pause + 5;
        let headers = if *crash { json!([["x-crash", "1"]]) } else { json!([]) };
        json!({ "at": format!("{at}ms"), "request": { "headers": headers } }).to_string()
    });
    let lines: Vec<String> = lines.collect();
    let trace = lines.join("\n");
    let trace = Trace::parse("test", &trace).expect("a valid trace");
    let options = Options::new(Profile::Envoy).with_configuration("").with_failure_policy(policy);
    let report = replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay");
    report.exchanges.iter().map(|exchange| exchange.status.unwrap_or(0)).collect()
}

#[test]
fn each_failure_policy_has_the_same_effect_in_both_hosts() {
    let wasm = guest();
    let expected: [(FailurePolicy, [u16; 6]); 3] = [
        (FailurePolicy::FailClosed, [200, 503, 503, 503, 503, 503]),
        (FailurePolicy::FailReload, [200, 503, 200, 503, 503, 200]),
        (FailurePolicy::FailOpen, [200, 503, 200, 200, 200, 200]),
    ];
    for (policy, statuses) in expected {
        let plugin = json!({ "failure_policy": policy.name() });
        assert_eq!(in_envoy(&wasm, &plugin), statuses, "Envoy: {policy:?}");
        assert_eq!(in_the_simulator(&wasm, policy), statuses, "the simulator: {policy:?}");
    }
    let default = in_envoy(&wasm, &json!({}));
    assert_eq!(default, in_the_simulator(&wasm, FailurePolicy::default()));
}
