//! Drains while a control plane pushes, modules change, VMs crash, and other plugins write to
//! shared data. Every old connection closes, no newer one does, and the counts are right.

use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult};
use sluice_tests::http1::Client;
use sluice_tests::module::{other_version, writer_to_shared_data};
use sluice_tests::upstream::Upstream;
use sluice_tests::{eventually, root};

use super::crashes::crashing_module;

const EPOCH: &str = "wasmcustom.sluice.drain.epoch";
const STALE: &str = "wasmcustom.sluice.drain.stale";

/// The SHA-256 of `open sesame`.
const TOKEN_SHA256: &str = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
const TOKEN: (&str, &str) = ("authorization", "Bearer open sesame");

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    since.as_millis().try_into().expect("a date with 64 bits")
}

/// A configuration with an admin path, a local health path and this `drain` section.
fn configuration(generation: u64, drain: Value) -> Value {
    let mut configuration = json!({
        "version": 1,
        "defaults": { "timeouts": { "request": format!("{}ms", 100_000 + generation) } },
        "drain": { "admin": { "path": "/drain", "token_sha256": TOKEN_SHA256 } },
        "health": { "path": "/health", "local": true }
    });
    for (name, value) in drain.as_object().expect("an object") {
        configuration["drain"][name] = value.clone();
    }
    configuration
}

/// Sends a command to the admin path; returns the status and the response.
fn command(envoy: &Envoy, query: &str) -> (u16, Value) {
    let mut client = Client::connect(envoy.port);
    client.send("POST", &format!("/drain?{query}"), &[TOKEN, ("content-length", "0")]);
    let response = client.receive();
    let body = serde_json::from_slice(&response.body.bytes).expect("JSON");
    (response.status, body)
}

/// Connections that have received a response and stay open.
fn idle_connections(envoy: &Envoy, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(envoy.port)).collect();
    assert!(clients.iter_mut().all(|client| !client.get("/").closes()));
    clients
}

/// Asserts that the next response of each of these connections closes it, and that a newer
/// connection stays open.
fn assert_only_old_ones_close(envoy: &Envoy, old: &mut [Client]) {
    let mut newer = Client::connect(envoy.port);
    assert!(!newer.get("/").closes(), "a newer connection");
    let closed = old.iter_mut().filter_map(|client| client.get("/").closes().then_some(())).count();
    assert_eq!(closed, old.len(), "the old connections that closed");
    assert!(!newer.get("/").closes(), "a newer connection");
}

/// A store that responds after a delay. Without a drain it has no key.
fn store(delay_ms: u64) -> (Upstream, Arc<Mutex<Option<String>>>) {
    let drain = Arc::new(Mutex::new(None));
    let shared = drain.clone();
    let server = Upstream::start(move |_, reply| {
        reply.pause(delay_ms);
        let drain: Option<String> = shared.lock().expect("no panic").clone();
        match drain {
            Some(drain) => reply.respond(200, &[], drain.as_bytes()),
            None => reply.respond(404, &[], b""),
        }
    });
    (server, drain)
}

/// Each push replaces the plugin and its timer. With pushes more frequent than `refresh`, no timer
/// expires, and each poll of a slow store outlives the plugin that made it.
#[test]
fn a_drain_in_the_store_is_learned_while_pushes_never_pause() {
    for (refresh, interval, pause_ms, delay_ms, workers) in
        [("250ms", "500ms", 200, 0, 2), ("1s", "2s", 700, 0, 1), ("250ms", "500ms", 200, 350, 2)]
    {
        let (server, drain) = store(delay_ms);
        let control = json!({ "cluster": "store", "format": "raw", "key": "drain",
                              "interval": interval, "timeout": "1s" });
        let of = |generation| {
            configuration(generation, json!({ "refresh": refresh, "control": control }))
        };
        let upstream = Upstream::ok();
        let bootstrap =
            Bootstrap::discovered(upstream.port, &of(0)).with_cluster("store", server.port);
        let mut envoy = Envoy::start_with_workers(bootstrap, workers);
        let mut old = idle_connections(&envoy, 8);
        // Many pushes, so that at the end no plugin has had the time to tick.
        let mut learned_after = None;
        for generation in 1..60 {
            sleep(Duration::from_millis(pause_ms));
            assert_eq!(envoy.push(&of(generation)), PushResult::Accepted);
            if generation == 5 {
                let record = json!({ "epoch": 5, "mode": "reload", "window": "1ms" });
                *drain.lock().expect("no panic") = Some(record.to_string());
            }
            if envoy.stat(EPOCH) == 5 {
                learned_after = Some(generation);
                break;
            }
        }
        let learned = learned_after.unwrap_or_else(|| panic!("{refresh}, {delay_ms} ms: never"));
        for generation in 60..63 {
            sleep(Duration::from_millis(pause_ms));
            assert_eq!(envoy.push(&of(generation)), PushResult::Accepted);
        }
        assert_only_old_ones_close(&envoy, &mut old);
        assert_eq!(envoy.stat(STALE), 0, "learned after push {learned}");
    }
}

/// A push that brings another module starts new VMs, which have seen no connection.
#[test]
fn a_new_module_with_a_new_epoch_closes_the_connections_of_the_old_one() {
    let upstream = Upstream::ok();
    let with_epoch = |epoch: u64| {
        let state = json!({ "epoch": epoch, "mode": "reload", "window": "1ms" });
        configuration(epoch, json!({ "refresh": "250ms", "state": state }))
    };
    let bootstrap = Bootstrap::discovered(upstream.port, &with_epoch(1));
    let mut envoy = Envoy::start_with_workers(bootstrap, 2);
    let module = root().join("target/sluice_filter.wasm");
    for version in 2..5_u8 {
        let mut old = idle_connections(&envoy, 40);
        let other = other_version(&module, envoy.folder(), version);
        let pushed = envoy.push_module(&other, &with_epoch(version.into()));
        assert_eq!(pushed, PushResult::Accepted);
        envoy.wait_for_stat(EPOCH, version.into());
        assert_only_old_ones_close(&envoy, &mut old);
    }
    assert_eq!(envoy.stat(STALE), 0);
}

/// The only worker's VM crashes, and then a drain begins. The new VM knows none of the connections,
/// because no request arrived since the crash.
#[test]
fn connections_idle_since_a_crash_close_in_a_later_drain() {
    let upstream = Upstream::ok();
    let with_epoch = |epoch: u64| {
        let state = json!({ "epoch": epoch, "mode": "reload", "window": "1ms" });
        configuration(0, json!({ "refresh": "100ms", "state": state }))
    };
    let bootstrap = Bootstrap::discovered(upstream.port, &with_epoch(1));
    let mut envoy = Envoy::start(bootstrap.with_module(&crashing_module()));
    for epoch in 2..5 {
        let mut idle = idle_connections(&envoy, 20);
        let mut crasher = Client::connect(envoy.port);
        crasher.send("GET", "/", &[("x-crash", "now")]);
        assert_eq!(crasher.receive().status, 503);
        // With the examples' backoff Envoy starts a new VM after 50 ms at the earliest.
        sleep(Duration::from_millis(150));
        assert_eq!(envoy.push(&with_epoch(epoch)), PushResult::Accepted);
        envoy.wait_for_stat(EPOCH, epoch);
        assert_only_old_ones_close(&envoy, &mut idle);
    }
}

/// Adds a plugin of another author with the same `vm_id` that writes a value to shared data when it
/// is configured, before the first tick of the filter.
fn with_neighbor(bootstrap: Bootstrap, key: &str, value: &str) -> Bootstrap {
    let module = Base64::encode_string(&writer_to_shared_data(key, value));
    let filter = json!({ "name": "neighbor", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": { "name": "neighbor", "vm_config": {
            "vm_id": "sluice", "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "inline_bytes": module } } } } } });
    bootstrap.with_filter(filter)
}

fn in_flight(envoy: &Envoy) -> u64 {
    let response = Client::get_once(envoy.port, "/health");
    let state: Value = serde_json::from_slice(&response.body.bytes).expect("JSON");
    state["in_flight"].as_u64().expect("a number")
}

/// A foreign entry at an end of the range of ids neither hides a worker nor stays.
#[test]
fn in_flight_is_right_with_a_foreign_list_of_members() {
    for (id, workers) in [(u64::MAX, 1), (u64::MAX, 2), (0, 2)] {
        let upstream = Upstream::start(|_, reply| {
            reply.pause(60_000);
            reply.respond(200, &[], b"");
        });
        let foreign = format!("[[{id},{},0,false]]", now_ms());
        let bootstrap =
            Bootstrap::discovered(upstream.port, &configuration(0, json!({ "refresh": "100ms" })));
        let envoy = Envoy::start_with_workers(
            with_neighbor(bootstrap, "sluice.members", &foreign),
            workers,
        );
        let mut open: Vec<Client> = (0..3).map(|_| Client::connect(envoy.port)).collect();
        open.iter_mut().for_each(|client| client.send("GET", "/", &[]));
        eventually("three requests in flight", || (in_flight(&envoy) == 3).then_some(()));
        for _ in 0..40 {
            assert_eq!(in_flight(&envoy), 3, "the foreign entry has the id {id}");
            sleep(Duration::from_millis(25));
        }
    }
}

/// A record that would use up all epochs is ignored, from a store and from another plugin.
#[test]
fn an_epoch_that_leaves_no_room_is_ignored() {
    let poison = r#"{"epoch":9007199254740991,"mode":"terminate","started_ms":0,"window_ms":0}"#;
    let (server, drain) = store(0);
    *drain.lock().expect("no panic") = Some(poison.to_owned());
    let control =
        json!({ "cluster": "store", "format": "raw", "key": "drain", "interval": "200ms" });
    let configured = configuration(0, json!({ "refresh": "100ms", "control": control }));
    let upstream = Upstream::ok();
    let bootstrap =
        Bootstrap::discovered(upstream.port, &configured).with_cluster("store", server.port);
    let envoy = Envoy::start_with_workers(with_neighbor(bootstrap, "sluice.drain", poison), 2);
    for message in
        ["the drain record is ignored: epoch 9007199254740991 is too high", "key drain: epoch 9007"]
    {
        eventually(message, || envoy.log().contains(message).then_some(()));
    }
    assert_eq!(Client::get_once(envoy.port, "/health").status, 200);
    assert_eq!(command(&envoy, "mode=terminate").0, 200, "a drain can follow");
    eventually("the health check to fail", || {
        (Client::get_once(envoy.port, "/health").status == 503).then_some(())
    });
    assert_eq!(command(&envoy, "mode=off").0, 200);
}

/// A terminate whose start is in the future does nothing until then.
#[test]
fn a_terminate_fails_health_checks_from_its_start_on() {
    let upstream = Upstream::ok();
    let bootstrap =
        Bootstrap::discovered(upstream.port, &configuration(0, json!({ "refresh": "100ms" })));
    let envoy = Envoy::start_with_workers(bootstrap, 2);
    let (status, state) =
        command(&envoy, &format!("mode=terminate&started_ms={}", now_ms() + 3_600_000));
    assert_eq!((status, &state["status"], &state["epoch"]), (200, &json!("ok"), &json!(1)));
    let message = "drain epoch 1 starts in 35";
    eventually("both workers to learn it", || {
        (envoy.log().matches(message).count() >= 2).then_some(())
    });
    for _ in 0..8 {
        assert_eq!(Client::get_once(envoy.port, "/health").status, 200);
        assert!(!Client::get_once(envoy.port, "/").closes());
    }
    let start = now_ms() + 1_000;
    assert_eq!(command(&envoy, &format!("mode=terminate&started_ms={start}")).0, 200);
    eventually("the health check to fail", || {
        (Client::get_once(envoy.port, "/health").status == 503).then_some(())
    });
    assert!(now_ms() >= start, "it failed before the drain started");
    assert!(Client::get_once(envoy.port, "/").closes());
}
