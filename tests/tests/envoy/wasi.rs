//! WASI preview 1: every function returns and writes the same in Envoy and in the simulator.

use base64ct::{Base64, Encoding as _};
use serde_json::json;
use sluice_sim::{Effect, Limits, Module, PluginOptions, Process, Profile, Vm, VmOptions};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::eventually;
use sluice_tests::upstream::Upstream;
use sluice_tests::wasi_guest::{CALLS, guest};

/// The lines that the guest logs in Envoy, at its first start.
fn in_envoy(wasm: &[u8], last: &str) -> Vec<String> {
    let upstream = Upstream::ok();
    let module = Base64::encode_string(wasm);
    let filter = json!({ "name": "guest", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": { "name": "guest", "vm_config": {
            "vm_id": "guest", "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "inline_bytes": module } } } } } });
    let bootstrap = Bootstrap::example("static", upstream.port).with_filter(filter);
    let envoy = Envoy::start(bootstrap);
    eventually("the guest to log", || envoy.log().contains(last).then_some(()));
    let log = envoy.log();
    let lines =
        log.lines().filter_map(|line| line.split_once("wasi ").map(|(_, line)| line.to_owned()));
    lines.take(CALLS.len()).collect()
}

fn in_the_simulator(wasm: &[u8]) -> Vec<String> {
    let module = Module::new(wasm, &Limits::default()).expect("the simulator loads it");
    let process = Process::new(Profile::Envoy, 1);
    let mut vm =
        Vm::new(&module, &process, VmOptions::default().with_vm_id("guest")).expect("a VM");
    vm.start_plugin(PluginOptions::default().with_name("guest")).expect("a plugin");
    let mut effects = Vec::new();
    vm.drain_effects(&mut effects);
    let line = |effect| match effect {
        Effect::Log { text, .. } => text.strip_prefix("wasi ").map(str::to_owned),
        _ => None,
    };
    effects.into_iter().filter_map(line).collect()
}

/// The line without the time that a clock returned.
fn without_time(line: &str) -> &str {
    match line.split_once("clock_time_get: 00 ") {
        Some((call, _)) => call,
        None => line,
    }
}

#[test]
fn each_function_returns_the_same_in_both_hosts() {
    let wasm = guest("wasi_snapshot_preview1", CALLS);
    let last = format!("wasi {} ", CALLS.len() - 1);
    let (envoy, simulator) = (in_envoy(&wasm, &last), in_the_simulator(&wasm));
    assert_eq!((envoy.len(), simulator.len()), (CALLS.len(), CALLS.len()));
    for (envoy, simulator) in envoy.iter().zip(&simulator) {
        assert_eq!(without_time(envoy), without_time(simulator));
    }
}
