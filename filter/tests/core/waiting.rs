//! The streams that a drain waits for, as the admin path reports them.

use serde_json::{Value, json};

use crate::host::{MemoryHost, Worker};

const HASH: &str = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
const EVENTS: [(&str, &str); 2] = [(":status", "200"), ("content-type", "text/event-stream")];

fn configuration() -> Value {
    json!({
        "version": 1,
        "drain": { "admin": { "path": "/admin", "token_sha256": HASH } },
        "routes": [
            { "name": "llm", "match": { "path": { "prefix": "/llm" } },
              "drain": { "streams": "finish", "within": "60s" } },
            { "name": "chat", "match": { "path": { "prefix": "/chat" } } },
        ],
    })
}

fn terminate(host: &mut MemoryHost, epoch: u64) {
    let started = host.now();
    let record = format!(r#"{{"epoch":{epoch},"mode":"terminate","started_ms":{started}}}"#);
    host.write_shared("sluice.drain", &record);
}

/// The state at the admin path.
fn state(worker: &mut Worker, host: &mut MemoryHost) -> Value {
    let open =
        worker.request(host, "GET", "/admin", &[("authorization", "Bearer open sesame")], true);
    worker.end(host, open, None);
    serde_json::from_str(&host.replies.last().expect("a reply").body).expect("JSON")
}

fn row(route: &str, kind: &str, streams: u64) -> Value {
    json!({ "route": route, "kind": kind, "streams": streams })
}

#[test]
fn the_state_names_the_streams_of_all_workers_by_route_and_kind() {
    let mut host = MemoryHost::envoy();
    let mut one = Worker::new(&mut host, &configuration());
    let mut two = Worker::new(&mut host, &configuration());
    host.connection(1);
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut events = one.get(&mut host, "/llm");
        one.respond(&mut host, &mut events, &EVENTS, false);
        open.push(events);
    }
    let waits = one.get(&mut host, "/llm");
    let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
    let mut socket = two.request(&mut host, "GET", "/chat", &upgrade, false);
    two.respond(&mut host, &mut socket, &[(":status", "101"), ("upgrade", "websocket")], false);
    let mut events = two.get(&mut host, "/llm/x");
    two.respond(&mut host, &mut events, &EVENTS, false);
    one.ticks(&mut host, 8);
    two.ticks(&mut host, 8);
    assert_eq!(state(&mut one, &mut host).get("waits_for"), None, "no drain is in force");
    assert_eq!(host.shared_text("sluice.waiting"), None);

    terminate(&mut host, 1);
    one.ticks(&mut host, 8);
    two.ticks(&mut host, 8);
    let expected =
        json!([row("llm", "events", 3), row("chat", "tunnel", 1), row("llm", "request", 1)]);
    assert_eq!(state(&mut two, &mut host)["waits_for"], expected);

    for open in open {
        one.end(&mut host, open, None);
    }
    one.end(&mut host, waits, None);
    one.ticks(&mut host, 8);
    let expected = json!([row("chat", "tunnel", 1), row("llm", "events", 1)]);
    assert_eq!(state(&mut one, &mut host)["waits_for"], expected);

    // The second worker crashes.
    one.ticks(&mut host, 200);
    assert_eq!(state(&mut one, &mut host).get("waits_for"), None);
}

#[test]
fn streams_on_connections_that_the_drain_keeps_are_not_waited_for() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &configuration());
    host.connection(1);
    let _old = worker.get(&mut host, "/chat");
    worker.ticks(&mut host, 8);
    let record =
        format!(r#"{{"epoch":1,"mode":"reload","started_ms":{},"routes":["chat"]}}"#, host.now());
    host.write_shared("sluice.drain", &record);
    worker.ticks(&mut host, 8);
    let _other_route = worker.get(&mut host, "/llm");
    host.connection(2);
    let _newer = worker.get(&mut host, "/chat");
    worker.ticks(&mut host, 8);
    assert_eq!(state(&mut worker, &mut host)["waits_for"], json!([row("chat", "request", 1)]));
    // The drain ends.
    host.write_shared("sluice.drain", r#"{"epoch":2,"mode":"off","started_ms":1}"#);
    worker.ticks(&mut host, 8);
    assert_eq!(host.shared_text("sluice.waiting").as_deref(), Some("[]"));
}

#[test]
fn foreign_values_are_replaced() {
    for value in ["", "null", "[7,[1,2],[\"a\",2,[]]]", "{}", "\u{1}"] {
        let mut host = MemoryHost::envoy();
        let mut worker = Worker::new(&mut host, &configuration());
        host.connection(1);
        let _open = worker.get(&mut host, "/chat");
        host.write_shared("sluice.waiting", value);
        terminate(&mut host, 1);
        worker.ticks(&mut host, 16);
        let expected = json!([row("chat", "request", 1)]);
        assert_eq!(state(&mut worker, &mut host)["waits_for"], expected, "{value:?}");
    }
}

/// While nothing changes, the report costs no host call for a quarter of the lease.
#[test]
fn an_unchanged_report_is_not_written_again() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &configuration());
    host.connection(1);
    let _open = worker.get(&mut host, "/chat");
    terminate(&mut host, 1);
    worker.ticks(&mut host, 12);
    let before = host.shared_text("sluice.waiting");
    worker.ticks(&mut host, 4);
    assert_eq!(host.shared_text("sluice.waiting"), before);
    worker.ticks(&mut host, 40);
    assert_ne!(host.shared_text("sluice.waiting"), before, "the lease is renewed");
}
