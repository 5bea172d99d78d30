//! Drains of a fleet through one key in a real etcd, and stores that fail in every way.

use std::sync::Barrier;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::etcd::Etcd;
use sluice_tests::http1::Client;
use sluice_tests::http2;
use sluice_tests::upstream::Upstream;
use sluice_tests::{eventually, root};

const EPOCH: &str = "wasmcustom.sluice.drain.epoch";
const FAILED: &str = "wasmcustom.sluice.drain.control.failed";

/// A proxy of the fleet example.
fn proxy(upstream: u16, store: u16, workers: usize) -> Envoy {
    let bootstrap = Bootstrap::example("fleet", upstream).cluster_at("etcd", store);
    Envoy::start_with_workers(bootstrap, workers)
}

/// As `proxy`, with another store that is polled ten times as often.
fn proxy_of(format: &str, store: u16, workers: usize, module: &str) -> Envoy {
    let upstream = Upstream::ok();
    let configuration = json!({
        "version": 1,
        "drain": { "refresh": "50ms",
                   "control": { "cluster": "etcd", "format": format, "key": "sluice/drain",
                                "interval": "100ms", "timeout": "300ms" } },
        "health": { "path": "/health", "local": true }
    });
    let module = root().join("target").join(module);
    assert!(module.is_file(), "no {}: run `cargo xtask test`", module.display());
    let bootstrap = Bootstrap::example("fleet", upstream.port)
        .cluster_at("etcd", store)
        .configured(&configuration)
        .changed("code", |code| code["local"]["filename"] = json!(module));
    Envoy::start_with_workers(bootstrap, workers)
}

/// A scripted store that records the time of each poll.
#[derive(Clone)]
struct Store {
    answer: Arc<Mutex<Answer>>,
    polls: Arc<Mutex<Vec<Instant>>>,
}

#[derive(Clone)]
enum Answer {
    Is(u16, String),
    Never,
    /// The headers and a part of the body; then the connection closes, or stalls past the timeout.
    Part {
        stalls: bool,
    },
}

impl Store {
    fn start() -> (Self, Upstream) {
        let store = Self {
            answer: Arc::new(Mutex::new(Answer::Is(404, String::new()))),
            polls: Arc::default(),
        };
        let shared = store.clone();
        let server = Upstream::start(move |_, reply| {
            locked(&shared.polls).push(Instant::now());
            let answer = locked(&shared.answer).clone();
            match answer {
                Answer::Is(status, body) => reply.respond(status, &[], body.as_bytes()),
                Answer::Never => reply.pause(250),
                Answer::Part { stalls } => {
                    reply.send_headers(200, &[("content-length", "100")]);
                    reply.write(b"{\"epoch\":");
                    if stalls {
                        reply.pause(600);
                    }
                    reply.close();
                }
            }
        });
        (store, server)
    }

    fn respond_with(&self, status: u16, body: &str) {
        *locked(&self.answer) = Answer::Is(status, body.to_owned());
    }

    fn count(&self) -> usize {
        locked(&self.polls).len()
    }

    /// Asserts that only one worker polls, every 100 ms.
    fn assert_one_worker_polls(&self) {
        let polls = locked(&self.polls);
        let elapsed = polls[0].elapsed().as_millis() as usize;
        // On a loaded machine another worker may take over for a moment.
        assert!(
            polls.len() <= elapsed / 100 + elapsed / 1000 + 2,
            "{} questions in {elapsed} ms",
            polls.len()
        );
    }

    /// The longest time between two polls, from the poll with index `from` on.
    fn longest_pause(&self, from: usize) -> Duration {
        let polls = locked(&self.polls);
        let pauses = polls[from..].windows(2).map(|pair| pair[1] - pair[0]);
        pauses.max().expect("the store was polled")
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no thread panics while it holds the lock")
}

/// Asserts that the log reports a change of the store's state once, or twice if another worker took
/// over for a moment on a loaded machine.
fn assert_logged_once(envoy: &Envoy, text: &str) {
    assert!((1..=2).contains(&lines(envoy, text)), "{text}: {}", envoy.log());
}

/// The number of log lines that contain `text`.
fn lines(envoy: &Envoy, text: &str) -> usize {
    envoy.log().lines().filter(|line| line.contains(text)).count()
}

#[test]
fn one_key_in_etcd_drains_every_worker_of_every_proxy() {
    let upstream = Upstream::ok();
    let etcd = Etcd::start();
    let proxies = [proxy(upstream.port, etcd.port, 4), proxy(upstream.port, etcd.port, 2)];
    let mut old: Vec<Vec<Client>> = proxies
        .iter()
        .map(|proxy| (0..16).map(|_| Client::connect(proxy.port)).collect())
        .collect();
    let mut ask_all = || -> Vec<bool> {
        old.iter_mut().flatten().map(|client| client.get("/").closes()).collect()
    };
    assert!(ask_all().iter().all(|closes| !closes));
    etcd.put("sluice/drain", r#"{"epoch":5,"mode":"reload","window":"1ms"}"#);
    for proxy in &proxies {
        proxy.wait_for_stat(EPOCH, 5);
    }
    // Every worker reads the record within a refresh of 250 ms.
    sleep(Duration::from_millis(600));
    assert!(ask_all().iter().all(|closes| *closes), "each old connection, in every worker");
    for proxy in &proxies {
        assert!(!Client::get_once(proxy.port, "/").closes());
        assert_eq!(Client::get_once(proxy.port, "/health").status, 200);
    }
    etcd.put("sluice/drain", r#"{"epoch":6,"mode":"terminate"}"#);
    for proxy in &proxies {
        eventually("the health check to fail", || {
            (Client::get_once(proxy.port, "/health").status == 503).then_some(())
        });
    }
    etcd.put("sluice/drain", r#"{"epoch":7,"mode":"off"}"#);
    for proxy in &proxies {
        proxy.wait_for_stat(EPOCH, 7);
        assert_eq!(proxy.stat("wasmcustom.sluice.drain.stale"), 0);
        assert_eq!(proxy.stat(FAILED), 0);
    }
}

#[test]
fn the_last_drain_stays_while_etcd_is_down_or_has_lost_the_key() {
    let upstream = Upstream::ok();
    let mut etcd = Etcd::start();
    let proxy = proxy(upstream.port, etcd.port, 2);
    etcd.put("sluice/drain", r#"{"epoch":5,"mode":"terminate"}"#);
    proxy.wait_for_stat(EPOCH, 5);
    etcd.kill();
    eventually("polls to fail", || (proxy.stat(FAILED) >= 2).then_some(()));
    assert_eq!(Client::get_once(proxy.port, "/health").status, 503, "the last drain stays");
    etcd.restart();
    etcd.delete("sluice/drain");
    eventually("the next poll of etcd", || (lines(&proxy, "no such key") > 0).then_some(()));
    assert_eq!(Client::get_once(proxy.port, "/health").status, 503, "the last drain stays");
    assert_logged_once(&proxy, "expected 200; the last drain stays in force");
    etcd.put("sluice/drain", r#"{"epoch":6,"mode":"off"}"#);
    proxy.wait_for_stat(EPOCH, 6);
}

#[test]
fn each_store_error_is_logged_once_and_the_last_drain_stays() {
    let (store, server) = Store::start();
    let (drain, newer) = (r#"{"epoch":5,"mode":"reload"}"#, r#"{"epoch":6,"mode":"reload"}"#);
    store.respond_with(200, drain);
    let envoy = proxy_of("raw", server.port, 4, "sluice_filter.wasm");
    envoy.wait_for_stat(EPOCH, 5);
    let wrong: [(u16, &str, &str); 7] = [
        (500, "", "the store responded with status 500, expected 200"),
        (200, "<html>", "the drain record is not valid JSON"),
        (200, r#"{"epoch":18446744073709551615,"mode":"off"}"#, "invalid drain record: epoch"),
        (200, r#"{"epoch":4,"mode":"off"}"#, "epoch 4 is lower than the one in force"),
        (200, r#"{"epoch":5,"mode":"off"}"#, "epoch 5 is in force with other settings"),
        (200, r#"{"epoch":9,"mode":"reload","window":"8760h"}"#, "invalid drain record: window"),
        (404, "", "no such key"),
    ];
    for (status, body, message) in wrong {
        store.respond_with(status, body);
        eventually(message, || (lines(&envoy, message) > 0).then_some(()));
        let polls = store.count();
        eventually("more polls", || (store.count() > polls + 1).then_some(()));
        assert_logged_once(&envoy, message);
        assert_eq!(envoy.stat(EPOCH), 5);
        store.respond_with(200, drain);
        let polls = store.count();
        eventually("a valid response", || (store.count() > polls + 1).then_some(()));
    }
    for stalls in [false, true] {
        *locked(&store.answer) = Answer::Part { stalls };
        let (polls, failed) = (store.count(), envoy.stat(FAILED));
        eventually("truncated responses", || (envoy.stat(FAILED) > failed + 1).then_some(()));
        assert!(store.count() > polls + 1);
        assert_eq!(Client::get_once(envoy.port, "/health").status, 200);
    }
    assert_logged_once(&envoy, "the response was incomplete");
    assert_eq!(lines(&envoy, "unreachable"), 0, "no VM crashed: {}", envoy.log());
    *locked(&store.answer) = Answer::Never;
    let polls = store.count();
    eventually("polls without a response", || (store.count() > polls + 2).then_some(()));
    assert_eq!(envoy.stat(EPOCH), 5);
    store.respond_with(200, newer);
    envoy.wait_for_stat(EPOCH, 6);
    let polls = store.count();
    eventually("polls at the configured interval", || (store.count() >= polls + 10).then_some(()));
    assert!(store.longest_pause(polls) < Duration::from_millis(1000), "the backoff has ended");
    store.assert_one_worker_polls();
}

/// The leader's VM crashes; another worker, or the VM that replaces it, continues to poll.
#[test]
fn polling_continues_after_the_leader_crashes() {
    for workers in [1, 4] {
        let (store, server) = Store::start();
        let envoy = proxy_of("raw", server.port, workers, "sluice_filter.crash.wasm");
        eventually("the first polls", || (store.count() >= 5).then_some(()));
        let before = store.count();
        // Envoy spreads connections over its workers, so some of the requests reach the leader.
        for _ in 0..3 {
            for _ in 0..8 * workers {
                let mut client = Client::connect(envoy.port);
                client.send("GET", "/", &[("x-crash", "now")]);
                let _ = client.try_receive();
            }
            let polls = store.count();
            let begin = Instant::now();
            eventually("the next poll", || (store.count() > polls + 3).then_some(()));
            // Two intervals of 100 ms, plus the time that a loaded machine takes to start a VM.
            assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        }
        assert!(store.longest_pause(before) < Duration::from_secs(3));
        store.respond_with(200, r#"{"epoch":5,"mode":"terminate"}"#);
        envoy.wait_for_stat(EPOCH, 5);
    }
}

/// The requests that a crash ended leave the gauge.
#[test]
fn in_flight_is_correct_again_after_a_crash() {
    let (_, store) = Store::start();
    let envoy = proxy_of("raw", store.port, 1, "sluice_filter.crash.wasm");
    let gauge = "wasmcustom.sluice.in_flight";
    let mut waiting: Vec<Client> = (0..3).map(|_| Client::connect(envoy.port)).collect();
    for client in &mut waiting {
        client.send("POST", "/", &[("content-length", "10")]);
    }
    envoy.wait_for_stat(gauge, 3);
    let mut crasher = Client::connect(envoy.port);
    crasher.send("GET", "/", &[("x-crash", "now")]);
    let _ = crasher.try_receive();
    sleep(Duration::from_millis(300));
    assert_eq!(Client::get_once(envoy.port, "/").status, 200, "a new VM serves");
    envoy.wait_for_stat(gauge, 0);
    let mut later = Client::connect(envoy.port);
    later.send("POST", "/", &[("content-length", "10")]);
    envoy.wait_for_stat(gauge, 1);
    drop(later);
    envoy.wait_for_stat(gauge, 0);
}

fn admin_state(client: &mut Client) -> Value {
    client.send("GET", "/.sluice/drain", &[("authorization", "Bearer open sesame")]);
    serde_json::from_slice(&client.receive().body.bytes).expect("the state is JSON")
}

#[test]
fn the_admin_path_reads_and_changes_the_drain_with_the_token_only() {
    let upstream = Upstream::start(|_, reply| reply.respond(200, &[], b"upstream"));
    let etcd = Etcd::start();
    let proxy = proxy(upstream.port, etcd.port, 2);
    let token = ("authorization", "Bearer open sesame");
    let post = |path: &str, body: &str, headers: &[(&str, &str)]| {
        let mut client = Client::connect(proxy.port);
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        all.push(("content-length", &length));
        client.send("POST", path, &all);
        let _ = client.try_write(body.as_bytes());
        let response = client.receive();
        (response.status, String::from_utf8_lossy(&response.body.bytes).into_owned())
    };
    let drain = "/.sluice/drain";
    // Without the token the request goes to the upstream like any other.
    for headers in
        [&[][..], &[("authorization", "Bearer open sesam")], &[("authorization", "Basic b3Blbg==")]]
    {
        assert_eq!(post(drain, r#"{"mode":"terminate"}"#, headers), (200, "upstream".to_owned()));
    }
    assert_eq!(upstream.requests(drain).len(), 3);
    assert_eq!(Client::get_once(proxy.port, "/health").status, 200);

    let state = admin_state(&mut Client::connect(proxy.port));
    assert_eq!(
        (&state["status"], &state["instance"], state.get("epoch")),
        (&json!("ok"), &json!("proxy-1"), None)
    );
    let (status, body) = post(drain, r#"{"mode":"terminate"}"#, &[token]);
    let state: Value = serde_json::from_str(&body).expect("the state is JSON");
    assert_eq!((status, &state["epoch"], &state["status"]), (200, &json!(1), &json!("draining")));
    Client::await_status(proxy.port, "/health", 503);
    assert!(Client::get_once(proxy.port, "/").closes());
    eventually("the close to be counted, even on another worker", || {
        let state = admin_state(&mut Client::connect(proxy.port));
        (state["closed"] == 1).then_some(())
    });

    let wrong = [
        (r#"{"mode":"sleep"}"#, 400, "mode"),
        ("", 400, "mode: missing"),
        (r#"{"mode":"reload","routes":["nowhere"]}"#, 400, "no route nowhere"),
        (r#"{"mode":"reload","window":"25h"}"#, 400, "window"),
        (r#"{"mode":"terminate","epoch":9007199254740991}"#, 400, "is too high"),
        (r#"{"mode":"reload","epoch":1}"#, 409, "epoch 1 is in force with other settings"),
    ];
    for (body, status, message) in wrong {
        let (found, text) = post(drain, body, &[token]);
        assert_eq!(found, status, "{body}: {text}");
        assert!(text.contains(message), "{text}");
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
    }
    let large = "x".repeat(4097);
    assert_eq!(post(drain, &large, &[token]).0, 413);
    let mut client = Client::connect(proxy.port);
    client.send("POST", drain, &[token, ("transfer-encoding", "chunked")]);
    client.write(format!("1001\r\n{large}\r\n").as_bytes());
    assert_eq!(client.receive().status, 413, "also without a declared length");

    let (status, body) = post("/.sluice/drain?mode=off", "", &[token]);
    assert_eq!(status, 200, "{body}");
    let (status, body) = post("/.sluice/drain?mode=reload&window=0s", "", &[token]);
    assert_eq!((status, body.contains(r#""window_ms":0"#)), (200, true), "{body}");

    assert_eq!(upstream.requests(drain).len(), 3, "nothing else reached the upstream");
    assert!(upstream.requests("/.sluice/drain?mode=off").is_empty());
    assert_eq!(proxy.stat("wasmcustom.sluice.drain.admin.commands"), 3);
    let output = proxy.log() + &proxy.admin_get("/stats").1;
    assert!(!output.contains("sesam"), "the token is not logged");
}

/// Concurrent commands without an epoch each get a different epoch.
#[test]
fn concurrent_commands_take_consecutive_epochs() {
    let upstream = Upstream::ok();
    let proxy = proxy(upstream.port, sluice_tests::unused_port(), 4);
    let port = proxy.port;
    let barrier = Barrier::new(8);
    let epochs: Vec<u64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|index| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mode = if index % 2 == 0 { "reload" } else { "terminate" };
                    let path = format!("/.sluice/drain?mode={mode}");
                    let mut client = Client::connect(port);
                    assert_eq!(client.get("/").status, 200, "a worker has accepted the connection");
                    let headers =
                        [("authorization", "Bearer open sesame"), ("content-length", "0")];
                    barrier.wait();
                    client.send("POST", &path, &headers);
                    let response = client.receive();
                    let state: Value = serde_json::from_slice(&response.body.bytes).expect("JSON");
                    assert_eq!((response.status, &state["mode"]), (200, &json!(mode)), "{state}");
                    state["epoch"].as_u64().expect("an epoch")
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
    });
    proxy.wait_for_stat(EPOCH, epochs.iter().copied().max().expect("some"));
    let mut sorted = epochs;
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=8).collect::<Vec<_>>());
}

/// Trailers also end the body of a command; the upstream receives none of it.
#[test]
fn a_command_with_trailers_is_executed() {
    let upstream = Upstream::ok();
    let proxy = proxy(upstream.port, sluice_tests::unused_port(), 1);
    let client = http2::Client::connect(proxy.port);
    let chunks: [&[u8]; 2] = [br#"{"mode":"#, br#""off"}"#];
    let headers = [("authorization", "Bearer open sesame")];
    let response = client.finish(client.upload("/.sluice/drain", &headers, &chunks));
    assert_eq!(response.status, 200);
    assert_eq!(admin_state(&mut Client::connect(proxy.port))["epoch"], 1);
    assert!(upstream.requests("/.sluice/drain").is_empty());
}

/// Two listeners share a plugin and a VM; only one configures a store, in either order.
#[test]
fn a_plugin_without_a_store_does_not_stop_polling_for_another() {
    for first in [0, 1] {
        let (store, server) = Store::start();
        let upstream = Upstream::ok();
        let bootstrap = Bootstrap::example("fleet", upstream.port)
            .cluster_at("etcd", server.port)
            .changed("listeners", |listeners| {
                let listeners = listeners.as_array_mut().expect("a list of listeners");
                let other = listeners[0].to_string().replace(r#"\"control\""#, r#"\"state\""#);
                let control = r#"{ \"cluster\": \"etcd\", \"format\": \"etcd-v3\", \"key\": \"sluice/drain\" }"#;
                let state = r#"{ \"epoch\": 1, \"mode\": \"off\" }"#;
                let mut other: Value = serde_json::from_str(&other.replace(control, state)).expect("JSON");
                other["name"] = json!("other");
                listeners.insert(first, other);
            });
        let _envoy = Envoy::start_with_workers(bootstrap, 2);
        eventually("polls of the store", || (store.count() > 1).then_some(()));
    }
}

/// Without the plugin option Envoy delivers no body while the headers are paused.
#[test]
fn a_command_without_a_body_gets_408_with_the_option_to_set() {
    let upstream = Upstream::ok();
    let bootstrap = Bootstrap::example("fleet", upstream.port)
        .cluster_at("etcd", sluice_tests::unused_port())
        .changed("config", |config| {
            config.as_object_mut().map(|config| config.remove("allow_on_headers_stop_iteration"));
        });
    let envoy = Envoy::start(bootstrap);
    let mut client = Client::connect(envoy.port);
    client.send(
        "POST",
        "/.sluice/drain",
        &[("authorization", "Bearer open sesame"), ("content-length", "16")],
    );
    client.write(br#"{"mode":"reload""#);
    let response = client.receive();
    let text = String::from_utf8_lossy(&response.body.bytes);
    assert_eq!(response.status, 408, "{text}");
    assert!(text.contains("allow_on_headers_stop_iteration"));
    assert!(upstream.requests("/.sluice/drain").is_empty());
}
