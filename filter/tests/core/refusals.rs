//! Refusals of the host: whatever host call fails, streams continue and nothing panics.

use serde_json::json;
use sluice_filter::host::HeaderMap;
use sluice_filter::stream::Action;

use crate::decisions::route;
use crate::host::{MemoryHost, Open, Worker};

const METHODS: [&str; 20] = [
    "now_ns",
    "read_headers",
    "header",
    "set_header",
    "remove_header",
    "buffer",
    "replace_buffer",
    "property",
    "set_property",
    "reply",
    "reply_to",
    "reset",
    "call",
    "shared_data",
    "set_shared_data",
    "define_metric",
    "add_to_metric",
    "set_metric",
    "call_foreign_function",
    "set_tick_period",
];

/// A configuration with everything that makes a host call.
fn everything() -> serde_json::Value {
    json!({
        "version": 1,
        "drain": {
            "control": { "cluster": "etcd", "format": "raw", "key": "k" },
            "admin": { "path": "/admin", "token_sha256": "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb" },
            "state": { "epoch": 1, "mode": "reload", "window": "1ms" },
        },
        "health": { "path": "/health", "local": true },
        "errors": { "content_type": "text/plain", "body": "{reason}" },
        "report": { "access_log": true, "header": true },
        "routes": [
            { "name": "cut", "match": { "path": { "prefix": "/cut" } }, "drain": "cut", "timeouts": { "read": "1s" } },
            { "name": "off", "match": { "path": { "prefix": "/off" } }, "buffering": "off", "timeouts": { "request": "1s" } },
            { "name": "named", "match": { "route_name": "x" } },
        ],
    })
}

/// Runs a worker through its whole life in a host that refuses these methods.
fn live(host: &mut MemoryHost, worker: &mut Worker) {
    let token = [("authorization", "Bearer open sesame")];
    let events = [(":status", "200"), ("content-type", "text/event-stream")];
    for connection in 1..3 {
        host.connection(connection);
        let mut cut = worker.request(host, "GET", "/cut", &[("x-sluice-drain", "1")], true);
        assert_eq!(cut.action, Action::Continue);
        worker.respond(host, &mut cut, &events, false);
        worker.download(host, &mut cut, b"data: x\n\nid", false);
        let mut off = worker.request(host, "POST", "/off", &[], false);
        assert_eq!(worker.upload(host, &mut off, b"abc", true), Action::Continue);
        let mut failed = worker.get(host, "/x");
        host.set("response.code_details", b"overflow");
        worker.respond(host, &mut failed, &[(":status", "503")], false);
        worker.download(host, &mut failed, b"body", true);
        for _ in 0..40 {
            worker.tick_now(host);
            host.advance(83);
        }
        worker.download(host, &mut cut, b"data: x\n\nid", false);
        worker.respond(host, &mut off, &[(":status", "200")], true);
        let waits = worker.get(host, "/cut");
        let health = worker.get(host, "/health");
        let check = "/grpc.health.v1.Health/Check";
        let grpc = [("content-type", "application/grpc")];
        let mut check = worker.request(host, "POST", check, &grpc, false);
        worker.respond(host, &mut check, &[(":status", "200")], false);
        worker.download(host, &mut check, b"x", true);
        let admin = worker.request(host, "POST", "/admin?mode=terminate", &token, true);
        let command = worker.request(host, "POST", "/admin", &token, false);
        worker.plugin.on_http_call_response(&mut worker.vm, host, 1, 10);
        for _ in 0..80 {
            worker.tick_now(host);
            host.advance(83);
        }
        for open in [cut, off, failed, waits, health, check, admin, command] {
            worker.end(host, open, Some("overflow"));
        }
    }
    let _ = worker.plugin.on_done(&mut worker.vm, host);
    worker.plugin.end(&mut worker.vm);
}

#[test]
fn no_refusal_of_the_host_breaks_a_worker() {
    for method in METHODS {
        for is_known in [true, false] {
            let mut host = MemoryHost::envoy();
            host.decisions = is_known.then(Vec::new);
            // Accepted before the host begins to refuse, so that every path is taken.
            let mut worker = Worker::new(&mut host, &everything());
            host.refused.insert(method);
            host.called.clear();
            live(&mut host, &mut worker);
            let is_used = match method {
                "set_tick_period" => false,
                "call_foreign_function" => is_known,
                _ => true,
            };
            assert!(!is_used || host.called.contains(&method), "{method} was not called");

            let mut host = MemoryHost::envoy();
            host.refused.insert(method);
            let mut worker = Worker::unconfigured();
            let is_accepted = worker.configure(&mut host, &everything().to_string());
            assert_eq!(is_accepted, method != "buffer", "{method}");
            live_if(is_accepted, &mut host, &mut worker);
        }
    }
    let mut host = MemoryHost::envoy();
    host.refused.extend(METHODS);
    let mut worker = Worker::unconfigured();
    assert!(!worker.configure(&mut host, &everything().to_string()));
    let mut open = worker.get(&mut host, "/x");
    assert_eq!(open.action, Action::Continue);
    worker.respond(&mut host, &mut open, &[(":status", "200")], true);
}

fn live_if(is_accepted: bool, host: &mut MemoryHost, worker: &mut Worker) {
    if is_accepted {
        live(host, worker);
    }
}

#[test]
fn a_refused_change_is_logged_and_the_stream_continues() {
    let logged = |method: &'static str, path: &str| {
        let mut host = MemoryHost::envoy();
        let mut worker = Worker::new(&mut host, &everything());
        host.refused.insert(method);
        let mut open = worker.request(&mut host, "GET", path, &[("x-sluice-drain", "1")], true);
        assert_eq!(open.action, Action::Continue);
        let action = worker.respond(&mut host, &mut open, &[(":status", "200")], false);
        assert_eq!(action, Action::Continue);
        host.log
            .iter()
            .map(|(_, line)| line.clone())
            .filter(|line| line.contains("refused"))
            .collect::<Vec<_>>()
    };
    let refused = |what: &str| format!("the host refused {what}: status 10");
    assert_eq!(
        logged("set_header", "/off"),
        ["x-envoy-upstream-rq-timeout-ms", "x-accel-buffering", "x-sluice-decision"].map(refused)
    );
    assert_eq!(logged("remove_header", "/x"), ["x-sluice-drain"; 2].map(refused));
}

#[test]
fn a_refused_end_of_a_stream_is_logged_unless_the_stream_has_ended() {
    let lines = |refused: Option<&'static str>, is_gone: bool| {
        let mut host = MemoryHost::new();
        let mut worker = Worker::new(&mut host, &route(json!({ "timeouts": { "read": "1s" } })));
        let waits = worker.get(&mut host, "/x");
        let mut streams = worker.get(&mut host, "/x");
        worker.respond(&mut host, &mut streams, &[(":status", "200")], false);
        if is_gone {
            host.gone.extend([waits.context, streams.context]);
        }
        host.refused.extend(refused);
        worker.ticks(&mut host, 20);
        host.log.iter().map(|(_, line)| line.clone()).collect::<Vec<_>>()
    };
    assert_eq!(lines(None, false), [""; 0]);
    assert_eq!(lines(None, true), [""; 0]);
    assert_eq!(lines(Some("reply_to"), false), ["the host refused local reply: status 10"]);
    assert_eq!(lines(Some("reset"), false), ["the host refused reset: status 10"]);
}

#[test]
fn a_host_without_a_clock_has_no_timeouts_or_windows() {
    let mut host = MemoryHost { now_ms: None, ..MemoryHost::envoy() };
    let mut worker = Worker::new(&mut host, &everything());
    host.connection(7);
    let mut open: Open = worker.get(&mut host, "/cut");
    for _ in 0..100 {
        worker.tick_now(&mut host);
    }
    assert_eq!((host.replies.len(), host.resets.len()), (0, 0));
    assert_eq!(host.metric_value("sluice.route.cut.requests"), Some(1), "every tick reports");
    worker.respond(&mut host, &mut open, &[(":status", "200")], true);
    assert_eq!(host.header_value(HeaderMap::Response, "x-sluice-drain"), None);
    worker.end(&mut host, open, None);
}

#[test]
fn a_host_without_shared_data_counts_its_own_requests() {
    let mut host = MemoryHost::envoy();
    host.refused.extend(["shared_data", "set_shared_data"]);
    let mut worker = Worker::new(&mut host, &json!({ "version": 1, "drain": {} }));
    let open = worker.get(&mut host, "/x");
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.in_flight"), Some(1));
    worker.end(&mut host, open, None);
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.in_flight"), Some(0));
}
