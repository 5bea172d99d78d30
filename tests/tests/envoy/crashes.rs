//! A crash of the filter fails only the requests of its VM. A drain continues after it, because the
//! drain record and the watermark are in shared data.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult};
use sluice_tests::http1::Client;
use sluice_tests::root;
use sluice_tests::upstream::Upstream;

/// The module with the `crash` feature, built by `cargo xtask test`: the header x-crash makes it
/// panic.
pub(super) fn crashing_module() -> PathBuf {
    let module = root().join("target/sluice_filter.crash.wasm");
    assert!(module.is_file(), "no {}: run `cargo xtask test`", module.display());
    module
}

fn crashing(upstream: u16) -> Envoy {
    let bootstrap = Bootstrap::discovered(upstream, &configuration(None));
    Envoy::start(bootstrap.changed("filename", |name| *name = json!(crashing_module())))
}

fn configuration(state: Option<Value>) -> Value {
    let mut configuration = json!({ "version": 1, "drain": { "refresh": "100ms" } });
    if let Some(state) = state {
        configuration["drain"]["state"] = state;
    }
    configuration
}

fn crash(envoy: &Envoy) {
    let mut client = Client::connect(envoy.port);
    client.send("GET", "/", &[("x-crash", "now")]);
    assert_eq!(client.receive().status, 503);
    // With the examples' backoff Envoy starts a new VM after 50 ms at the earliest.
    sleep(Duration::from_millis(150));
}

#[test]
fn a_crash_fails_its_request_and_the_next_one_succeeds() {
    let upstream = Upstream::ok();
    let envoy = crashing(upstream.port);
    let mut client = Client::connect(envoy.port);
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
        crash(&envoy);
        assert_eq!(client.get("/").status, 200, "on a connection from before the crash");
    }
    assert_eq!(upstream.requests("/").len(), 6);
}

#[test]
fn a_drain_continues_after_a_crash() {
    let upstream = Upstream::ok();
    let mut envoy = crashing(upstream.port);
    let mut old: Vec<Client> = (0..4).map(|_| Client::connect(envoy.port)).collect();
    assert!(old.iter_mut().all(|client| !client.get("/").closes()));
    let reload = json!({ "epoch": 7, "mode": "reload", "window": "1s" });
    assert_eq!(envoy.push(&configuration(Some(reload))), PushResult::Accepted);
    // The next push removes the drain from the configuration before the VM restarts.
    assert_eq!(envoy.push(&configuration(None)), PushResult::Accepted);
    crash(&envoy);
    let mut new = Client::connect(envoy.port);
    let start = Instant::now();
    while !old.is_empty() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{} old connections are still open",
            old.len()
        );
        old.retain_mut(|client| !client.get("/").closes());
        assert!(!new.get("/").closes(), "a new connection");
        sleep(Duration::from_millis(20));
    }
    envoy.wait_for_stat("wasmcustom.sluice.drain.epoch", 7);
}
