//! A guest that crashes on request, under each failure policy, on the simulator and on a real Envoy.

use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};
use sluice_sim::replay::{Options, replay};
use sluice_sim::trace::Trace;
use sluice_sim::{Limits, Module, Profile};

use crate::call_guest::{CallGuest, call};
use crate::envoy::{Bootstrap, Envoy};
use crate::http1::Client;
use crate::upstream::Upstream;

/// The requests: a pause before each, in milliseconds, and whether it crashes the guest.
const REQUESTS: &[(u64, bool)] =
    &[(1700, false), (0, true), (0, false), (0, true), (0, false), (1700, false)];

/// What clients receive with some settings of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crashes {
    /// The name of the setting, and its value in a trace's `proxy` section.
    pub setting: (&'static str, &'static str),
    /// The status of each response of Envoy.
    pub envoy: Vec<u16>,
    /// The status of each response of the simulator.
    pub simulator: Vec<u16>,
}

/// Runs the requests on both hosts: with each policy, and with a backoff longer than the pause.
///
/// # Panics
/// If a host does not run the guest.
pub fn compare() -> Vec<Crashes> {
    let wasm = guest();
    let run = |setting: (&'static str, &'static str), plugin: Value, proxy: Value| Crashes {
        setting,
        envoy: in_envoy(&wasm, &plugin),
        simulator: in_the_simulator(&wasm, &proxy),
    };
    let policy = |name: &'static str| {
        let setting = json!({ "failure_policy": name });
        run(("failure_policy", name), setting.clone(), setting)
    };
    let backoff = run(
        ("reload_backoff", "5s"),
        json!({ "failure_policy": "FAIL_RELOAD",
                "reload_config": { "backoff": { "base_interval": "5s" } } }),
        json!({ "failure_policy": "FAIL_RELOAD", "reload_backoff": "5s" }),
    );
    let default = run(("failure_policy", "default"), json!({}), json!({}));
    vec![default, policy("FAIL_CLOSED"), policy("FAIL_RELOAD"), policy("FAIL_OPEN"), backoff]
}

/// A guest that crashes in the response headers of a request with the header `x-crash`.
fn guest() -> Vec<u8> {
    let read = call("crash", "get_header_map_value", [0.into(), "x-crash".into()]);
    // The call of the previous request has returned bytes if that request had the header.
    let guard = "(if (i32.load (i32.const 500)) (then unreachable))";
    CallGuest::default()
        .on("request_headers", &[read], 0)
        .on_if("response_headers", guard, &[], 0)
        .module()
}

fn in_envoy(wasm: &[u8], plugin: &Value) -> Vec<u16> {
    let upstream = Upstream::ok();
    let mut config = json!({
        "name": "crash",
        "vm_config": { "vm_id": "crash", "runtime": "envoy.wasm.runtime.v8",
                       "code": { "local": { "inline_bytes": Base64::encode_string(wasm) } } },
    });
    for (name, value) in plugin.as_object().expect("settings of the plugin") {
        config[name] = value.clone();
    }
    let filter = json!({ "name": "crash", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": config } });
    let bootstrap =
        Bootstrap::example("static", upstream.port).without("sluice").with_filter(filter);
    let envoy = Envoy::start(bootstrap);
    let statuses = REQUESTS.iter().map(|(pause, crash)| {
        std::thread::sleep(Duration::from_millis(*pause));
        let mut client = Client::connect(envoy.port);
        let headers: &[(&str, &str)] = if *crash { &[("x-crash", "1")] } else { &[] };
        client.send("GET", "/", headers);
        client.receive().status
    });
    statuses.collect()
}

fn in_the_simulator(wasm: &[u8], proxy: &Value) -> Vec<u16> {
    let module = Module::new(wasm, &Limits::default()).expect("the simulator loads it");
    let mut lines = vec![json!({ "at": "0s", "proxy": proxy }).to_string()];
    let mut at = 0;
    for (pause, crash) in REQUESTS {
        // A request in Envoy takes some time, too.
        at += pause + 5;
        let headers = if *crash { json!([["x-crash", "1"]]) } else { json!([]) };
        let request = json!({ "at": format!("{at}ms"), "request": { "headers": headers } });
        lines.push(request.to_string());
    }
    let text = lines.join("\n");
    let trace = Trace::parse("test", &text).expect("a valid trace");
    let options = Options::new(Profile::Envoy).with_configuration("");
    let report = replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay");
    let statuses = report.exchanges.iter().map(|exchange| exchange.status.unwrap_or(0));
    statuses.collect()
}
