//! gRPC health checks: which requests the filter replies to, what their clients receive with and
//! without the gRPC bridge, and what becomes of a watch that goes to the upstream.

use serde_json::{Value, json};
use sluice_filter::host::{HeaderMap, LogLevel};
use sluice_filter::stream::Action;

use crate::host::{MemoryHost, Open, Worker, field_list};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];
const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";
const NOT_SERVING: &[u8] = b"\0\0\0\0\x02\x08\x02";

fn configuration(local: bool) -> Value {
    json!({ "version": 1, "drain": {}, "health": { "path": "/health", "local": local } })
}

fn proxy(local: bool) -> (MemoryHost, Worker) {
    let mut host = MemoryHost::envoy();
    let worker = Worker::new(&mut host, &configuration(local));
    (host, worker)
}

fn start(host: &mut MemoryHost, worker: &mut Worker, epoch: u64, mode: &str) {
    let record = format!(r#"{{"epoch":{epoch},"mode":"{mode}","started_ms":1}}"#);
    host.write_shared("sluice.drain", &record);
    worker.tick(host);
}

fn call(host: &mut MemoryHost, worker: &mut Worker, path: &str) -> Open {
    worker.request(host, "POST", path, &GRPC, false)
}

/// The gRPC status of the last reply, and whether it asks the bridge for a body.
fn last_reply(host: &MemoryHost) -> (String, bool) {
    let reply = host.replies.last().expect("a reply");
    assert_eq!(reply.status, 200);
    let value = |name| {
        let mut headers = reply.headers.iter();
        headers.find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    assert_eq!(value("content-type").as_deref(), Some("application/grpc"));
    let marker = value("x-sluice-grpc");
    assert!(marker.is_none() || marker.as_deref() == Some("body"));
    (value("grpc-status").expect("a gRPC status"), marker.is_some())
}

/// The last reply as Envoy makes it of a reply to a gRPC request. The bridge adds a body.
fn as_envoy_sends_it(host: &MemoryHost, has_bridge: bool) -> Vec<(&'static str, String)> {
    let (status, _) = last_reply(host);
    let mut headers = vec![
        (":status", "200".to_owned()),
        ("content-type", "application/grpc".to_owned()),
        ("grpc-status", status),
        ("grpc-message", host.replies.last().expect("a reply").body.clone()),
        ("x-sluice-grpc", "body".to_owned()),
    ];
    if has_bridge {
        headers.push(("content-length", "1".to_owned()));
    }
    headers
}

/// Runs a check through a proxy with the bridge; returns the body that the client receives.
fn check(host: &mut MemoryHost, worker: &mut Worker, chunks: &[&[u8]]) -> Vec<u8> {
    let mut open = call(host, worker, CHECK);
    assert_eq!(open.action, Action::Pause);
    assert!(last_reply(host).1);
    let sent = as_envoy_sends_it(host, true);
    let sent: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (*name, &value[..])).collect();
    assert_eq!(worker.respond(host, &mut open, &sent, false), Action::Continue);
    let expected = field_list(&[(":status", "200"), ("content-type", "application/grpc")]);
    assert_eq!(host.response, expected);
    let mut body = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        let end = index + 1 == chunks.len();
        let (action, passed) = worker.download(host, &mut open, chunk, end);
        assert_eq!(action, Action::Continue);
        assert_eq!(host.trailers, end.then(|| field_list(&[("grpc-status", "0")])));
        body.extend(passed);
    }
    worker.end(host, open, None);
    body
}

#[test]
fn a_check_gets_a_message_and_trailers_through_the_bridge() {
    let (mut host, mut worker) = proxy(true);
    assert_eq!(check(&mut host, &mut worker, &[b"x"]), SERVING);
    start(&mut host, &mut worker, 1, "reload");
    assert_eq!(check(&mut host, &mut worker, &[b"x"]), SERVING);
    start(&mut host, &mut worker, 2, "terminate");
    assert_eq!(check(&mut host, &mut worker, &[b"x"]), NOT_SERVING);
    start(&mut host, &mut worker, 3, "off");
    assert_eq!(check(&mut host, &mut worker, &[b"x", b"yz", b""]), SERVING);
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.in_flight"), Some(0));
    assert_eq!(host.metric_value("sluice.route.default.requests"), None, "not counted");
    assert_eq!(host.logged("gRPC bridge").len(), 0);
}

#[test]
fn a_check_without_the_bridge_gets_a_status_that_is_not_ok() {
    let (mut host, mut worker) = proxy(true);
    let check = |host: &mut MemoryHost, worker: &mut Worker| {
        let mut open = call(host, worker, CHECK);
        let sent = as_envoy_sends_it(host, false);
        let sent: Vec<(&str, &str)> =
            sent.iter().map(|(name, value)| (*name, &value[..])).collect();
        worker.respond(host, &mut open, &sent, true);
        assert_eq!(host.header_value(HeaderMap::Response, "x-sluice-grpc"), None);
        worker.end(host, open, None);
        host.header_value(HeaderMap::Response, "grpc-status")
    };
    for _ in 0..2 {
        assert_eq!(check(&mut host, &mut worker).as_deref(), Some("12"), "UNIMPLEMENTED");
    }
    let lines = host.logged("no gRPC bridge added a body");
    assert_eq!((lines.len(), lines[0].0), (1, LogLevel::Error));
    start(&mut host, &mut worker, 1, "terminate");
    assert_eq!(check(&mut host, &mut worker).as_deref(), Some("14"), "UNAVAILABLE");
}

#[test]
fn without_local_a_check_gets_a_reply_only_during_a_terminate() {
    let (mut host, mut worker) = proxy(false);
    for path in [CHECK, WATCH] {
        let open = call(&mut host, &mut worker, path);
        assert_eq!(open.action, Action::Continue, "{path}");
        worker.end(&mut host, open, None);
    }
    start(&mut host, &mut worker, 1, "terminate");
    assert_eq!(check(&mut host, &mut worker, &[b"x"]), NOT_SERVING);
    let open = call(&mut host, &mut worker, WATCH);
    assert_eq!(open.action, Action::Pause);
    worker.end(&mut host, open, None);
}

/// A message and an end would make clients call again at once.
#[test]
fn a_watch_gets_only_a_status() {
    let (mut host, mut worker) = proxy(true);
    for (mode, status) in [("reload", "12"), ("terminate", "14"), ("off", "12")] {
        let epoch = host.replies.len() as u64 + 1;
        start(&mut host, &mut worker, epoch, mode);
        let mut open = call(&mut host, &mut worker, WATCH);
        assert_eq!(open.action, Action::Pause);
        assert_eq!(last_reply(&host), (status.to_owned(), false), "{mode}");
        worker.respond(&mut host, &mut open, &[(":status", "200"), ("grpc-status", status)], true);
        assert_eq!(host.header_value(HeaderMap::Response, "grpc-status").as_deref(), Some(status));
        worker.end(&mut host, open, None);
    }
}

#[test]
fn other_requests_to_the_health_service_go_to_the_upstream() {
    let (mut host, mut worker) = proxy(true);
    for (method, path, kind) in [
        ("GET", CHECK, "application/grpc"),
        ("POST", CHECK, "application/grpc-web"),
        ("POST", CHECK, "application/json"),
        ("POST", "/grpc.health.v1.Health/List", "application/grpc"),
        ("POST", "/grpc.health.v1.Health/check", "application/grpc"),
        ("POST", "/grpc.health.v1.Health/Check/", "application/grpc"),
        ("POST", "/x/grpc.health.v1.Health/Check", "application/grpc"),
    ] {
        let open = worker.request(&mut host, method, path, &[("content-type", kind)], false);
        assert_eq!(open.action, Action::Continue, "{method} {path} {kind}");
        worker.end(&mut host, open, None);
    }
    for kind in ["application/grpc+proto", "application/grpc;charset=utf-8"] {
        let open = worker.request(&mut host, "POST", CHECK, &[("content-type", kind)], false);
        assert_eq!(open.action, Action::Pause, "{kind}");
        worker.end(&mut host, open, None);
    }
    let mut without = Worker::new(&mut host, &json!({ "version": 1, "drain": {} }));
    start(&mut host, &mut without, 1, "terminate");
    for path in [CHECK, WATCH] {
        let open = call(&mut host, &mut without, path);
        assert_eq!(open.action, Action::Continue, "the configuration has no health path");
        without.end(&mut host, open, None);
    }
}

#[test]
fn a_watch_of_the_upstream_is_not_in_flight_and_ends_when_a_terminate_begins() {
    let (mut host, mut worker) = proxy(false);
    let mut watches: Vec<Open> = (0..40).map(|_| call(&mut host, &mut worker, WATCH)).collect();
    let ended = watches.pop().expect("a stream");
    let gone = ended.context;
    worker.end(&mut host, ended, None);
    let checked = call(&mut host, &mut worker, CHECK);
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.in_flight"), Some(1), "the check");
    assert_eq!(host.metric_value("sluice.route.default.requests"), Some(41));
    start(&mut host, &mut worker, 1, "reload");
    worker.tick(&mut host);
    assert_eq!(host.resets, [0; 0]);
    start(&mut host, &mut worker, 2, "terminate");
    assert_eq!(host.resets.len(), 32, "a tick ends a limited number of streams");
    worker.ticks(&mut host, 3);
    let contexts: Vec<u32> = watches.iter().map(|open| open.context).collect();
    assert_eq!(host.resets, contexts);
    assert!(!host.resets.contains(&gone));
    for open in watches.into_iter().chain([checked]) {
        worker.end(&mut host, open, None);
    }
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.in_flight"), Some(0));
}
