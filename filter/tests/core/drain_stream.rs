//! Drains through whole workers: shared data, plugin configuration, control store, admin path,
//! health checks.

use serde_json::{Value, json};
use sluice_filter::drain::epoch;
use sluice_filter::host::{HeaderMap, LogLevel};
use sluice_filter::plugin::Plugin;
use sluice_filter::stream::Action;

use crate::host::{MemoryHost, START_MS, Worker, field_list};

const RECORD: &str = "sluice.drain";
const WATERMARK: &str = "sluice.drain.watermark";
const CONNECTIONS: &str = "sluice.connections";
const MEMBERS: &str = "sluice.members";

fn drains() -> Value {
    json!({ "version": 1, "drain": {} })
}

fn record(epoch: u64, mode: &str) -> String {
    format!(r#"{{"epoch":{epoch},"mode":"{mode}","started_ms":1,"window_ms":0}}"#)
}

/// Whether a response on this connection carries the drain marker.
fn closes(worker: &mut Worker, host: &mut MemoryHost, connection: u64) -> bool {
    host.connection(connection);
    let mut open = worker.get(host, "/x");
    worker.respond(host, &mut open, &[(":status", "200")], true);
    let marker = host.header_value(HeaderMap::Response, "x-sluice-drain");
    host.response.retain(|(name, _)| name != "x-sluice-drain");
    worker.end(host, open, None);
    marker.is_some()
}

#[test]
fn a_reload_in_shared_data_closes_old_connections() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &drains());
    assert!(!closes(&mut worker, &mut host, 7));
    host.write_shared(RECORD, &record(1, "reload"));
    assert!(!closes(&mut worker, &mut host, 7), "requests do not read shared data");
    worker.tick(&mut host);
    assert!(closes(&mut worker, &mut host, 7) && !closes(&mut worker, &mut host, 8));
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.drain.epoch"), Some(1));
    assert_eq!(host.metric_value("sluice.drain.closed"), Some(1));
    assert_eq!(host.metric_value("sluice.route.default.drain_closed"), Some(1));
    let line = format!("drain {}", record(1, "reload"));
    assert_eq!(host.logged(&line), [&(LogLevel::Info, line.clone())]);
    assert_eq!(host.shared_text(WATERMARK).as_deref(), Some(r#"{"epoch":1,"connection":7}"#));
}

#[test]
fn a_window_spreads_the_closes() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &drains());
    for connection in 1..=100 {
        closes(&mut worker, &mut host, connection);
    }
    let json =
        format!(r#"{{"epoch":1,"mode":"reload","started_ms":{START_MS},"window_ms":10000}}"#);
    host.write_shared(RECORD, &json);
    worker.tick(&mut host);
    let mut closed = |ms| {
        host.now_ms = Some(START_MS + ms);
        (1..=100).filter(|connection| closes(&mut worker, &mut host, *connection)).count()
    };
    let half = closed(5_000);
    assert!((30..=70).contains(&half), "{half}");
    assert_eq!(closed(10_000), 100);
}

#[test]
fn a_vm_that_replaces_a_crashed_one_closes_old_connections() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &drains());
    closes(&mut worker, &mut host, 7);
    host.write_shared(RECORD, &record(1, "reload"));
    worker.tick(&mut host);
    let mut rebuilt = Worker::new(&mut host, &drains());
    assert!(closes(&mut rebuilt, &mut host, 7) && !closes(&mut rebuilt, &mut host, 8));
}

#[test]
fn a_crashed_vm_leaves_its_connections_for_a_later_drain() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &drains());
    closes(&mut worker, &mut host, 7);
    drop(worker);
    let mut rebuilt = Worker::new(&mut host, &drains());
    host.write_shared(RECORD, &record(1, "reload"));
    rebuilt.tick(&mut host);
    assert!(closes(&mut rebuilt, &mut host, 7), "it was idle since the crash");
    assert!(!closes(&mut rebuilt, &mut host, 8));
}

#[test]
fn a_new_module_with_a_new_epoch_closes_the_connections_of_the_old_one() {
    let configuration = |epoch: u64| json!({ "version": 1, "drain": { "state": { "epoch": epoch, "mode": "reload", "window": "0s" } } });
    let mut host = MemoryHost::envoy();
    let mut old = Worker::new(&mut host, &configuration(1));
    closes(&mut old, &mut host, 7);
    let mut new = Worker::new(&mut host, &configuration(2));
    assert!(!closes(&mut new, &mut host, 8), "it was opened after the push");
    assert!(closes(&mut new, &mut host, 7));
    new.ticks(&mut host, 3);
    assert!(!closes(&mut new, &mut host, 8), "the old connections stay the same ones");
}

#[test]
fn a_connection_that_could_not_be_published_is_published_by_a_tick() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &drains());
    host.lost_writes = 1_000;
    closes(&mut worker, &mut host, 7);
    assert_eq!(host.shared_text(CONNECTIONS), None);
    host.lost_writes = 0;
    worker.tick(&mut host);
    assert_eq!(host.shared_text(CONNECTIONS).as_deref(), Some("7"));
}

#[test]
fn a_drain_that_starts_much_later_is_logged() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &drains());
    let at = |epoch: u64, started_ms: u64| {
        format!(r#"{{"epoch":{epoch},"mode":"terminate","started_ms":{started_ms}}}"#)
    };
    host.write_shared(RECORD, &at(1, START_MS + 30_000));
    worker.tick(&mut host);
    assert_eq!(host.logged("starts in").len(), 0);
    host.write_shared(RECORD, &at(2, START_MS * 1000));
    worker.ticks(&mut host, 3);
    let lines = host.logged("drain epoch 2 starts in 1698299999");
    assert_eq!((lines.len(), lines[0].0), (1, LogLevel::Warn));
    assert!(!closes(&mut worker, &mut host, 7));
}

#[test]
fn workers_agree_on_the_highest_connection() {
    let mut host = MemoryHost::envoy();
    let mut workers = [Worker::new(&mut host, &drains()), Worker::new(&mut host, &drains())];
    for (worker, connection) in workers.iter_mut().zip([7, 9]) {
        closes(worker, &mut host, connection);
    }
    host.write_shared(RECORD, &record(1, "reload"));
    for _ in 0..2 {
        for worker in &mut workers {
            worker.tick(&mut host);
        }
    }
    assert!(workers.iter_mut().all(|worker| closes(worker, &mut host, 9)));
    assert!(!workers.iter_mut().any(|worker| closes(worker, &mut host, 10)));
}

#[test]
fn an_invalid_or_lower_record_is_reported_and_replaced() {
    let mut host = MemoryHost::envoy();
    host.write_shared(RECORD, &record(5, "reload"));
    let mut worker = Worker::new(&mut host, &drains());
    for ignored in ["nonsense", &record(4, "terminate")] {
        host.write_shared(RECORD, ignored);
        worker.ticks(&mut host, 2);
        assert_eq!(host.shared_text(RECORD), Some(record(5, "reload")));
    }
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.drain.stale"), Some(2));
    assert_eq!(host.logged("the drain record is not valid JSON").len(), 1);
    host.shared.remove(RECORD);
    worker.tick(&mut host);
    assert_eq!(host.shared_text(RECORD), Some(record(5, "reload")));
}

#[test]
fn a_configured_drain_starts_once() {
    let configuration = |epoch: u64, mode: &str| json!({ "version": 1, "drain": { "state": { "epoch": epoch, "mode": mode } } });
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &configuration(3, "terminate"));
    let started = host.shared_text(RECORD);
    assert!(
        started.as_deref().is_some_and(|json| json.starts_with(r#"{"epoch":3,"mode":"terminate""#))
    );
    assert!(closes(&mut worker, &mut host, 7));
    host.advance(1_000);
    worker.configure(&mut host, &configuration(3, "terminate").to_string());
    assert_eq!(host.shared_text(RECORD), started, "the same epoch again changes nothing");
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.drain.stale"), Some(0));

    worker.configure(&mut host, &configuration(3, "reload").to_string());
    assert_eq!(host.shared_text(RECORD), started);
    let lines = host.logged("drain.state: epoch 3 is in force with other settings");
    assert_eq!((lines.len(), lines[0].0), (1, LogLevel::Warn));
    worker.configure(&mut host, &configuration(2, "reload").to_string());
    assert_eq!(host.logged("drain.state").len(), 1, "a lower epoch is not worth a line");
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.drain.stale"), Some(2));
    worker.configure(&mut host, &configuration(4, "off").to_string());
    assert!(!closes(&mut worker, &mut host, 7));
}

#[test]
fn a_lost_write_is_repeated() {
    let configuration =
        json!({ "version": 1, "drain": { "state": { "epoch": 3, "mode": "off" } } });
    let mut host = MemoryHost { lost_writes: 5, ..MemoryHost::envoy() };
    Worker::new(&mut host, &configuration);
    assert!(host.shared_text(RECORD).is_some());

    let mut host = MemoryHost { lost_writes: 1_000, ..MemoryHost::envoy() };
    let mut worker = Worker::new(&mut host, &configuration);
    // Each attempt writes under a condition and then, because the key has no value, without one.
    assert_eq!((host.shared_text(RECORD), host.lost_writes), (None, 1_000 - 2 * 16));
    host.lost_writes = 0;
    worker.configure(&mut host, &configuration.to_string());
    assert!(host.shared_text(RECORD).is_some());
}

#[test]
fn drains_work_on_a_host_that_creates_values_only_unconditionally() {
    let mut host = MemoryHost { creates_unconditionally_only: true, ..MemoryHost::envoy() };
    let configuration =
        json!({ "version": 1, "drain": { "state": { "epoch": 3, "mode": "terminate" } } });
    let mut worker = Worker::new(&mut host, &configuration);
    worker.tick(&mut host);
    assert!(closes(&mut worker, &mut host, 7));
    assert!(host.shared_text(RECORD).is_some() && host.shared_text(MEMBERS).is_some());
}

/// A worker that polls a store every second.
fn polling(host: &mut MemoryHost, format: &str) -> Worker {
    let control = json!({ "cluster": "etcd", "format": format, "key": "sluice/drain" });
    Worker::new(host, &json!({ "version": 1, "drain": { "control": control } }))
}

/// The response to a poll.
fn respond(worker: &mut Worker, host: &mut MemoryHost, status: &str, body: &str) {
    host.call_response = field_list(&[(":status", status)]);
    host.call_body = body.as_bytes().to_vec();
    worker.plugin.on_http_call_response(&mut worker.vm, host, 1, body.len());
}

#[test]
fn the_leader_polls_the_store_and_applies_its_drain() {
    let mut host = MemoryHost::envoy();
    let mut workers = [polling(&mut host, "etcd-v3"), polling(&mut host, "etcd-v3")];
    workers.iter_mut().for_each(|worker| worker.tick(&mut host));
    let [call] = &host.calls[..] else { panic!("{:?}", host.calls) };
    assert_eq!((call.cluster.as_str(), call.timeout_ms), ("etcd", 500));
    assert_eq!(call.body.as_deref(), Some(r#"{"key":"c2x1aWNlL2RyYWlu"}"#));
    let expected = [
        (":method", "POST"),
        (":path", "/v3/kv/range"),
        (":authority", "etcd"),
        ("content-type", "application/json"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(call.headers, expected);
    let etcd = r#"{"header":{},"kvs":[{"value":"eyJlcG9jaCI6NywibW9kZSI6InRlcm1pbmF0ZSJ9"}]}"#;
    respond(&mut workers[0], &mut host, "200", etcd);
    workers.iter_mut().for_each(|worker| worker.tick(&mut host));
    assert!(workers.iter_mut().all(|worker| closes(worker, &mut host, 7)));
    assert_eq!(host.metric_value("sluice.drain.control.answered"), Some(1));
    assert_eq!(host.metric_value("sluice.drain.control.failed"), Some(0));
    assert_eq!(host.logged("control store").len(), 0, "a store that works is not worth a line");
}

#[test]
fn each_state_of_the_store_is_reported() {
    let mut host = MemoryHost::envoy();
    let mut worker = polling(&mut host, "raw");
    worker.tick(&mut host);
    let mut reported = |status: &str, body: &str| {
        host.log.clear();
        respond(&mut worker, &mut host, status, body);
        host.advance(40_000);
        worker.tick_now(&mut host);
        let mut lines = host.log.iter().filter(|(_, line)| line.starts_with("control store"));
        let line: Option<&(LogLevel, String)> = lines.next_back();
        let (level, line) = line?;
        Some((*level, line.strip_prefix("control store etcd, key sluice/drain: ")?.to_owned()))
    };
    let warning = |line: &str| Some((LogLevel::Warn, line.to_owned()));
    assert_eq!(reported("200", r#"{"epoch":5,"mode":"reload"}"#), None);
    assert_eq!(reported("404", ""), warning("no such key; the last drain stays in force"));
    assert_eq!(reported("404", ""), None, "reported once");
    let status = "the store responded with status 503, expected 200; the last drain stays in force";
    assert_eq!(reported("503", ""), warning(status));
    assert_eq!(reported("503", ""), None);
    assert_eq!(
        reported("200", r#"{"epoch":4,"mode":"off"}"#),
        warning("epoch 4 is lower than the one in force, which stays in force")
    );
    assert_eq!(
        reported("200", r#"{"epoch":5,"mode":"terminate"}"#),
        warning("epoch 5 is in force with other settings, which stay in force; raise the epoch")
    );
    let in_force = Some((LogLevel::Info, "epoch 5 is in force".to_owned()));
    assert_eq!(reported("200", r#"{"epoch":5,"mode":"reload"}"#), in_force);
    let missing = "invalid drain record: epoch: missing; expected a whole number from 1 to 2^53 - 1; \
                   the last drain stays in force";
    assert_eq!(reported("200", r#"{"mode":"reload"}"#), warning(missing));
    assert_eq!(host.metric_value("sluice.drain.control.answered"), Some(6));
    assert_eq!(host.metric_value("sluice.drain.control.failed"), Some(3));
    assert_eq!(host.metric_value("sluice.drain.stale"), Some(2));
}

#[test]
fn an_epoch_in_the_store_that_is_too_high_is_ignored_and_reported() {
    let mut host = MemoryHost::envoy();
    let mut worker = polling(&mut host, "raw");
    worker.tick(&mut host);
    respond(&mut worker, &mut host, "200", r#"{"epoch":9007199254740991,"mode":"terminate"}"#);
    worker.tick(&mut host);
    assert!(!closes(&mut worker, &mut host, 7));
    let lines = host.logged("key sluice/drain: epoch 9007199254740991 is too high");
    assert_eq!((lines.len(), lines[0].0), (1, LogLevel::Warn));
    assert!(lines[0].1.ends_with("delete the key or lower its epoch"));
    assert_eq!(host.metric_value("sluice.drain.stale"), Some(1));
    worker.ticks(&mut host, 3);
    respond(&mut worker, &mut host, "200", r#"{"epoch":1,"mode":"terminate"}"#);
    assert!(closes(&mut worker, &mut host, 7));
}

/// Replaces the plugin of a worker, as a host does that has received another configuration. Returns
/// the replaced plugin, if it does not end at once.
fn push(worker: &mut Worker, host: &mut MemoryHost, configuration: &Value) -> Option<Plugin> {
    let new = Plugin::new(&mut worker.vm);
    let mut old = std::mem::replace(&mut worker.plugin, new);
    assert!(worker.configure(host, &configuration.to_string()));
    if old.on_done(&mut worker.vm, host) {
        old.end(&mut worker.vm);
        return None;
    }
    Some(old)
}

/// One of several configurations with the same store.
fn generation(number: u64) -> Value {
    json!({ "version": 1,
            "defaults": { "timeouts": { "request": format!("{number}s") } },
            "drain": { "control": { "cluster": "etcd", "format": "raw", "key": "k" } } })
}

#[test]
fn pushes_more_frequent_than_refresh_do_not_stop_polls_or_drains() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &generation(1));
    closes(&mut worker, &mut host, 7);
    let mut open = worker.get(&mut host, "/x");
    let mut polls = Vec::new();
    for number in 2..50 {
        host.advance(200);
        let before = host.calls.len();
        let old = push(&mut worker, &mut host, &generation(number));
        assert!(old.is_none(), "no poll is pending");
        if host.calls.len() > before {
            polls.push(host.now() - START_MS);
            respond(&mut worker, &mut host, "404", "");
        }
    }
    assert_eq!(polls, [200, 1200, 2200, 3200, 4200, 5200, 6200, 7200, 8200, 9200]);
    assert_eq!(host.metric_value("sluice.in_flight"), Some(1), "no tick was needed");
    assert_eq!(host.logged("no such key").len(), 1, "a push does not repeat the line");
    host.write_shared(RECORD, &record(5, "reload"));
    host.advance(200);
    push(&mut worker, &mut host, &generation(50));
    assert!(closes(&mut worker, &mut host, 7));
    worker.respond(&mut host, &mut open, &[(":status", "200")], true);
    worker.end(&mut host, open, None);
}

#[test]
fn the_end_of_a_vm_removes_its_requests_from_the_sum() {
    let mut host = MemoryHost::envoy();
    let mut old = Worker::new(&mut host, &drains());
    let mut new = Worker::new(&mut host, &drains());
    let open = old.get(&mut host, "/x");
    old.tick(&mut host);
    new.tick(&mut host);
    assert_eq!(host.metric_value("sluice.in_flight"), Some(1));
    old.end(&mut host, open, None);
    assert!(old.plugin.on_done(&mut old.vm, &mut host));
    new.tick(&mut host);
    assert_eq!(host.metric_value("sluice.in_flight"), Some(0));
    let mut validation = Worker::new(&mut host, &drains());
    let before = host.shared_text(MEMBERS);
    assert!(validation.plugin.on_done(&mut validation.vm, &mut host));
    assert_eq!(host.shared_text(MEMBERS), before, "a VM that only validates is no member");
}

#[test]
fn a_replaced_plugin_waits_for_the_response_of_its_store() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &generation(1));
    worker.tick(&mut host);
    assert_eq!(host.calls.len(), 1);
    let old = push(&mut worker, &mut host, &generation(2));
    let mut old = old.expect("it waits for the response");
    worker.ticks(&mut host, 2);
    assert_eq!(host.calls.len(), 1, "the new plugin does not poll meanwhile");
    let drain = r#"{"epoch":5,"mode":"terminate"}"#;
    host.call_response = field_list(&[(":status", "200")]);
    host.call_body = drain.as_bytes().to_vec();
    host.called.clear();
    old.on_http_call_response(&mut worker.vm, &mut host, 1, drain.len());
    assert_eq!(host.called.last(), Some(&"done"));
    assert!(closes(&mut worker, &mut host, 7));
    old.end(&mut worker.vm);
    worker.ticks(&mut host, 4);
    assert_eq!(host.calls.len(), 2, "the new plugin continues");
    let mut cancelled = push(&mut worker, &mut host, &generation(3)).expect("it waits");
    cancelled.end(&mut worker.vm);
    worker.tick(&mut host);
    assert_eq!(host.calls.len(), 3, "a host that ends the plugin has ended its call");
}

#[test]
fn a_response_that_breaks_off_or_is_too_long_is_not_read() {
    let mut host = MemoryHost::envoy();
    let mut worker = polling(&mut host, "raw");
    worker.tick(&mut host);
    host.called.clear();
    worker.plugin.on_http_call_response(&mut worker.vm, &mut host, 0, 0);
    assert_eq!(host.logged("the response was incomplete, exceeded the timeout").len(), 1);
    assert_eq!(host.called, [""; 0]);
    worker.ticks(&mut host, 20);
    host.called.clear();
    worker.plugin.on_http_call_response(&mut worker.vm, &mut host, 1, 1024 * 1024 + 1);
    assert_eq!(host.logged("the response has 1048577 bytes, expected at most 1048576").len(), 1);
    assert_eq!(host.called, [""; 0]);
    while host.calls.len() < 3 {
        worker.tick(&mut host);
    }
    host.call_body = vec![b' '; 1024 * 1024];
    worker.plugin.on_http_call_response(&mut worker.vm, &mut host, 1, 1024 * 1024);
    assert!(host.called.contains(&"buffer"), "1 MiB is read");
}

#[test]
fn a_poll_without_a_response_fails_after_its_timeout() {
    let mut host = MemoryHost::envoy();
    let mut worker = polling(&mut host, "raw");
    worker.ticks(&mut host, 20);
    assert_eq!((host.calls.len(), host.logged("no response").len()), (1, 0));
    worker.ticks(&mut host, 8);
    assert_eq!(host.logged("no response; the last drain stays in force").len(), 1);
    worker.ticks(&mut host, 20);
    assert_eq!(host.calls.len(), 2, "it polls again after a pause");
}

#[test]
fn a_replaced_configuration_does_not_poll_its_store() {
    let mut host = MemoryHost::envoy();
    let mut worker = polling(&mut host, "raw");
    worker.tick(&mut host);
    worker.configure(&mut host, &drains().to_string());
    host.called.clear();
    respond(&mut worker, &mut host, "200", r#"{"epoch":5,"mode":"reload"}"#);
    assert_eq!(host.called, [""; 0], "the response to the old poll is discarded");
    worker.ticks(&mut host, 10);
    assert_eq!(host.calls.len(), 1);
}

#[test]
fn the_last_configured_plugin_with_a_store_polls() {
    let mut host = MemoryHost::envoy();
    let old = polling(&mut host, "raw");
    let mut vm = old.vm;
    let mut old = old.plugin;
    let plugin = sluice_filter::plugin::Plugin::new(&mut vm);
    let mut new = Worker { vm, plugin, next_context: 1 };
    let control = json!({ "cluster": "new", "format": "raw", "key": "k" });
    let document = json!({ "version": 1, "drain": { "control": control } }).to_string();
    assert!(new.configure(&mut host, &document));
    host.advance(250);
    assert!(old.on_tick(&mut new.vm, &mut host).is_empty());
    new.tick(&mut host);
    let clusters: Vec<&str> = host.calls.iter().map(|call| call.cluster.as_str()).collect();
    assert_eq!(clusters, ["new"]);
    assert!(!new.plugin.on_done(&mut new.vm, &mut host), "its poll is pending");
    host.call_response = field_list(&[(":status", "404")]);
    new.plugin.on_http_call_response(&mut new.vm, &mut host, 1, 0);
    assert!(host.called.contains(&"done"));
    for _ in 0..40 {
        host.advance(250);
        assert!(old.on_tick(&mut new.vm, &mut host).is_empty());
    }
    assert_eq!(host.calls.last().map(|call| call.cluster.as_str()), Some("etcd"));
}

/// The SHA-256 of `open sesame`.
const HASH: &str = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
const TOKEN: (&str, &str) = ("authorization", "Bearer open sesame");

/// A configuration with an admin path and a health path.
fn with_admin() -> Value {
    let admin = json!({ "path": "/admin", "token_sha256": HASH });
    json!({ "version": 1, "drain": { "admin": admin }, "health": { "path": "/health" },
            "routes": [{ "name": "api", "match": { "path": { "prefix": "/api" } } }] })
}

/// A proxy with an admin path and a health path.
fn operated() -> (MemoryHost, Worker) {
    let mut host = MemoryHost::envoy();
    host.set("xds.node.id", b"edge-1");
    host.connection(7);
    let worker = Worker::new(&mut host, &with_admin());
    (host, worker)
}

/// The status and the JSON of the last reply.
fn reply(host: &mut MemoryHost) -> (u16, Value) {
    let reply = host.replies.pop().expect("a reply");
    assert_eq!(reply.headers, [("content-type".to_owned(), "application/json".to_owned())]);
    (reply.status, serde_json::from_str(&reply.body).expect("JSON"))
}

/// A request to the admin path and its reply.
fn admin(worker: &mut Worker, host: &mut MemoryHost, method: &str, query: &str) -> (u16, Value) {
    let open = worker.request(host, method, &format!("/admin{query}"), &[TOKEN], true);
    assert_eq!(open.action, Action::Pause);
    worker.end(host, open, None);
    reply(host)
}

#[test]
fn a_command_that_finds_a_newer_drain_adopts_its_watermark() {
    let (mut host, mut one) = operated();
    let mut other = Worker::new(&mut host, &with_admin());
    closes(&mut one, &mut host, 7);
    host.write_shared(RECORD, &record(3, "reload"));
    one.tick(&mut host);
    assert!(!closes(&mut other, &mut host, 8), "it was opened after the drain began");
    assert_eq!(admin(&mut other, &mut host, "POST", "?mode=reload&epoch=2").0, 409);
    assert!(!closes(&mut other, &mut host, 8));
    assert!(closes(&mut other, &mut host, 7));
}

#[test]
fn the_admin_path_reads_and_changes_the_drain() {
    let (mut host, mut worker) = operated();
    let open = worker.get(&mut host, "/api");
    let (status, state) = admin(&mut worker, &mut host, "GET", "");
    let expected = json!({ "status": "ok", "instance": "edge-1", "in_flight": 1, "closed": 0,
                           "timestamp": "2023-11-14T22:13:20.000Z" });
    assert_eq!((status, state), (200, expected), "an admin request is not in flight");
    let (status, state) = admin(&mut worker, &mut host, "POST", "?mode=terminate&window=20s");
    assert_eq!((status, &state["epoch"], &state["status"]), (200, &json!(1), &json!("draining")));
    assert_eq!(state["record"]["window_ms"], 20_000);
    worker.end(&mut host, open, None);
    assert_eq!(admin(&mut worker, &mut host, "GET", "").1["in_flight"], 0);
    assert_eq!(host.metric_value("sluice.drain.admin.commands"), Some(1));

    let (_, state) = admin(&mut worker, &mut host, "POST", "?mode=terminate&window_ms=0");
    assert_eq!(state["epoch"], 2);
    assert!(closes(&mut worker, &mut host, 7));
    assert_eq!(admin(&mut worker, &mut host, "GET", "").1["closed"], 1);
    let cases = [
        (
            "?mode=off&epoch=2",
            409,
            "epoch 2 is in force with other settings; expected a higher epoch",
        ),
        (
            "?mode=off&epoch=1",
            409,
            "epoch 1 is lower than epoch 2, which is in force; expected a higher epoch",
        ),
        ("?mode=off&routes=none", 400, "this configuration has no route none"),
        (
            "?mode=sleep",
            400,
            "invalid drain record: mode: found \"sleep\", expected one of reload, terminate, rebalance, off",
        ),
    ];
    for (query, status, error) in cases {
        let found = admin(&mut worker, &mut host, "POST", query);
        assert_eq!(found, (status, json!({ "error": error })));
    }
    let last = format!("?mode=off&epoch={}", (1_u64 << 53) - 1);
    let (status, error) = admin(&mut worker, &mut host, "POST", &last);
    let error = error["error"].as_str().unwrap_or_default().to_owned();
    assert!(status == 400 && error.contains(" is too high; expected at most "), "{status} {error}");
    let highest = format!("?mode=off&epoch={}", epoch::highest(host.now()));
    assert_eq!(admin(&mut worker, &mut host, "POST", &highest).0, 200);
    assert_eq!(admin(&mut worker, &mut host, "POST", "?mode=off").0, 200, "another can follow");
    host.lost_writes = 1_000;
    host.write_shared(RECORD, &record(1, "off"));
    assert_eq!(admin(&mut worker, &mut host, "POST", "?mode=off").0, 503);
    host.lost_writes = 0;
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.drain.admin.commands"), Some(4), "four were applied");
}

#[test]
fn a_command_in_a_body_is_applied_when_it_is_complete() {
    let (mut host, mut worker) = operated();
    let mut open = worker.request(&mut host, "POST", "/admin", &[TOKEN], false);
    assert_eq!((open.action, host.replies.len()), (Action::Pause, 0));
    assert_eq!(worker.upload(&mut host, &mut open, br#"{"mode":"#, false), Action::Pause);
    assert_eq!(host.replies.len(), 0);
    assert_eq!(worker.upload(&mut host, &mut open, br#""reload"}"#, true), Action::Pause);
    assert_eq!(reply(&mut host).1["mode"], "reload");

    let mut open = worker.request(&mut host, "POST", "/admin", &[TOKEN], false);
    worker.upload(&mut host, &mut open, br#"{"mode":"off"}"#, false);
    assert_eq!(open.stream.on_request_trailers(&mut worker.vm, &mut host), Action::Pause);
    assert_eq!(reply(&mut host).1["mode"], "off");
    host.advance(10_000);
    worker.tick_now(&mut host);
    assert_eq!(host.replies.len(), 0, "commands that were complete do not expire");
}

#[test]
fn a_command_has_at_most_4096_bytes() {
    let (mut host, mut worker) = operated();
    let declared = [TOKEN, ("content-length", "4097")];
    worker.request(&mut host, "POST", "/admin", &declared, false);
    assert_eq!(reply(&mut host).0, 413);
    for (size, status) in [(4_096, 200), (4_097, 413)] {
        let mut open = worker.request(&mut host, "POST", "/admin", &[TOKEN], false);
        let command = format!("{:1$}", r#"{"mode":"off"}"#, size);
        worker.upload(&mut host, &mut open, command.as_bytes(), size == 4_096);
        assert_eq!(reply(&mut host).0, status);
    }
}

#[test]
fn a_command_without_a_body_expires_after_five_seconds() {
    let (mut host, mut worker) = operated();
    let expires = worker.request(&mut host, "POST", "/admin", &[TOKEN], false);
    let ends = worker.request(&mut host, "POST", "/admin", &[TOKEN], false);
    worker.end(&mut host, ends, None);
    host.advance(5_000);
    worker.tick_now(&mut host);
    assert_eq!(host.replies.len(), 0);
    host.advance(250);
    worker.tick_now(&mut host);
    worker.tick(&mut host);
    assert_eq!(host.replies.len(), 1, "a command whose stream ended does not expire");
    assert_eq!(host.replies[0].context, Some(expires.context));
    let (status, body) = reply(&mut host);
    assert_eq!(status, 408);
    let error = body["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("no body arrived within 5s"), "{error}");
}

#[test]
fn without_the_token_the_admin_path_is_an_ordinary_path() {
    let (mut host, mut worker) = operated();
    let open = worker.get(&mut host, "/admin");
    assert_eq!((open.action, host.replies.len()), (Action::Continue, 0));
    worker.end(&mut host, open, None);
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.route.default.requests"), Some(1));
}

#[test]
fn health_checks_fail_during_a_terminate_and_do_not_count() {
    let (mut host, mut worker) = operated();
    let open = worker.get(&mut host, "/health");
    assert_eq!((open.action, host.replies.len()), (Action::Continue, 0), "the upstream replies");
    worker.end(&mut host, open, None);
    admin(&mut worker, &mut host, "POST", "?mode=terminate");
    let mut open = worker.get(&mut host, "/health");
    assert_eq!(open.action, Action::Pause);
    let (status, state) = reply(&mut host);
    assert_eq!(
        (status, &state["status"], &state["in_flight"]),
        (503, &json!("draining"), &json!(0))
    );
    worker.respond(&mut host, &mut open, &[(":status", "503")], true);
    let marker = host.header_value(HeaderMap::Response, "x-sluice-drain");
    assert_eq!(marker.as_deref(), Some("close"), "its connection closes, too");
    host.response.clear();
    worker.end(&mut host, open, None);
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.drain.closed"), Some(0));
    assert_eq!(host.metric_value("sluice.route.default.requests"), Some(1));
}

#[test]
fn in_flight_requests_are_those_of_all_workers() {
    let mut host = MemoryHost::envoy();
    let mut workers = [Worker::new(&mut host, &drains()), Worker::new(&mut host, &drains())];
    let open: Vec<_> = workers.iter_mut().map(|worker| worker.get(&mut host, "/x")).collect();
    workers.iter_mut().for_each(|worker| worker.tick(&mut host));
    assert_eq!(host.metric_value("sluice.in_flight"), Some(2));
    for (worker, open) in workers.iter_mut().zip(open) {
        worker.end(&mut host, open, None);
        worker.tick(&mut host);
    }
    assert_eq!(host.metric_value("sluice.in_flight"), Some(0));
    let crashed = workers[0].get(&mut host, "/x");
    workers[0].tick(&mut host);
    drop(crashed);
    let [_, survivor] = &mut workers;
    survivor.tick(&mut host);
    assert_eq!(host.metric_value("sluice.in_flight"), Some(1));
    survivor.ticks(&mut host, 39);
    assert_eq!(host.metric_value("sluice.in_flight"), Some(1));
    survivor.ticks(&mut host, 2);
    assert_eq!(host.metric_value("sluice.in_flight"), Some(0));
}
