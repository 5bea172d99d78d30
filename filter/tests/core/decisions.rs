//! Decisions on one request and its response: headers, buffering, local replies.

use serde_json::{Value, json};
use sluice_filter::Headers;
use sluice_filter::decision::{self, Decision, Decisions, ResponseDecision};
use sluice_filter::drain::{DrainView, Record};
use sluice_filter::health::{self, HealthCheck};
use sluice_filter::host::HeaderMap;
use sluice_filter::load::load;
use sluice_filter::reason::Reason;
use sluice_filter::request::RequestView;
use sluice_filter::rules::Rules;
use sluice_filter::state::State;
use sluice_filter::stream::Action;

use crate::host::{MemoryHost, Open, Worker, field_list};

pub(crate) fn rules(document: &Value) -> Rules {
    load(document.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}")).rules
}

/// A configuration with one route for every request.
pub(crate) fn route(policy: Value) -> Value {
    let mut route = policy;
    route["name"] = "r".into();
    json!({ "version": 1, "routes": [route] })
}

/// A proxy with this configuration.
fn proxy(configuration: &Value) -> (MemoryHost, Worker) {
    let mut host = MemoryHost::new();
    let worker = Worker::new(&mut host, configuration);
    (host, worker)
}

fn set(rules: &Rules) -> Vec<(&'static str, String)> {
    rules.policy(Some(0)).request_headers().to_vec()
}

fn pairs(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[test]
fn timeouts_and_retries_become_headers_for_envoy() {
    let rules = rules(&route(json!({
        "timeouts": { "request": "1m30s", "per_try": "10s" },
        "retry": { "on": ["connect-failure", "unavailable", "reset"], "attempts": 2 },
    })));
    let expected = pairs(&[
        ("x-envoy-upstream-rq-timeout-ms", "90000"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "10000"),
        ("x-envoy-retry-on", "connect-failure,reset"),
        ("x-envoy-retry-grpc-on", "unavailable"),
        ("x-envoy-max-retries", "1"),
    ]);
    assert_eq!(set(&rules), expected);
}

#[test]
fn retried_statuses_become_a_header_for_envoy() {
    let rules = rules(&route(json!({
        "retry": { "on": ["retriable-status-codes", "reset"], "status": [429, 503], "attempts": 3 },
    })));
    let expected = pairs(&[
        ("x-envoy-retry-on", "retriable-status-codes,reset"),
        ("x-envoy-retriable-status-codes", "429,503"),
        ("x-envoy-max-retries", "2"),
    ]);
    assert_eq!(set(&rules), expected);
    let decision = Decisions::new(&rules).request(&rules, Some(0), false).to_json();
    assert_eq!(parsed(&decision)["retry_status"], "429,503");
}

#[test]
fn a_route_without_a_policy_changes_nothing() {
    let (mut host, mut worker) = proxy(&route(json!({})));
    let mut open = worker.get(&mut host, "/x");
    let request = host.request.clone();
    assert_eq!(open.action, Action::Continue);
    assert_eq!(request, field_list(&[(":method", "GET"), (":authority", "a"), (":path", "/x")]));
    host.called.clear();
    let response = [(":status", "200"), ("content-length", "5")];
    assert_eq!(worker.respond(&mut host, &mut open, &response, false), Action::Continue);
    assert_eq!(host.response, field_list(&response));
    assert_eq!(host.called, [""; 0], "a response without decisions costs no host call");
}

#[test]
fn off_and_one_attempt_switch_off_all_retries() {
    for off in [json!("off"), json!({ "on": ["reset"], "attempts": 1 })] {
        let rules = rules(&json!({
            "version": 1,
            "defaults": { "retry": { "on": ["reset"], "attempts": 3 } },
            "routes": [{ "name": "r", "retry": off }],
        }));
        assert_eq!(set(&rules), pairs(&[("x-envoy-max-retries", "0")]));
        let decision = Decisions::new(&rules).request(&rules, Some(0), false).to_json();
        assert_eq!(parsed(&decision)["retry"], "off");
    }
}

#[test]
fn streaming_switches_off_the_timeout_that_would_cut_it() {
    let timeout = |defaults: Value, route: Value| {
        let mut route = route;
        route["name"] = "r".into();
        let rules = rules(&json!({ "version": 1, "defaults": defaults, "routes": [route] }));
        rules.policy(Some(0)).request_timeout.map(|timeout| timeout.to_string())
    };
    let fifteen = json!({ "timeouts": { "request": "15s" } });
    let off = json!({ "buffering": "off" });
    assert_eq!(timeout(json!({}), off.clone()).as_deref(), Some("0s"));
    assert_eq!(timeout(fifteen.clone(), off.clone()).as_deref(), Some("0s"), "not the route's");
    assert_eq!(timeout(fifteen.clone(), json!({})).as_deref(), Some("15s"));
    let both = json!({ "buffering": "off", "timeouts": { "request": "1h" } });
    assert_eq!(timeout(fifteen.clone(), both).as_deref(), Some("1h"));
    let both = json!({ "buffering": "off", "timeouts": { "request": "15s" } });
    assert_eq!(timeout(both, json!({})).as_deref(), Some("15s"), "both in one place");
    assert_eq!(timeout(off.clone(), json!({})).as_deref(), Some("0s"));
    assert_eq!(timeout(off.clone(), json!({ "buffering": "on" })), None);
    assert_eq!(timeout(off, fifteen).as_deref(), Some("15s"));
}

#[test]
fn a_route_inherits_each_missing_field_from_the_defaults() {
    let rules = rules(&json!({
        "version": 1,
        "defaults": {
            "buffering": { "response": "on", "request": "on", "max_bytes": 7 },
            "timeouts": { "request": "15s", "per_try": "5s" },
        },
        "routes": [{ "name": "r", "buffering": { "max_bytes": 9 }, "timeouts": { "per_try": "1s" } }],
    }));
    let (route, defaults) = (rules.policy(Some(0)), rules.policy(None));
    assert_eq!(route.response_buffering, defaults.response_buffering);
    assert_eq!((route.buffer_request, route.max_bytes, defaults.max_bytes), (true, 9, 7));
    assert_eq!(route.request_timeout.map(|t| t.as_millis()), Some(15_000));
    assert_eq!(route.per_try_timeout.map(|t| t.as_millis()), Some(1_000));
    assert_eq!(defaults.per_try_timeout.map(|t| t.as_millis()), Some(5_000));
}

#[test]
fn reserved_headers_of_clients_are_overwritten_or_removed() {
    let (mut host, mut worker) = proxy(&route(json!({ "timeouts": { "request": "5s" } })));
    let sent = [
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
        ("x-envoy-upstream-stream-duration-ms", "1"),
        ("x-envoy-upstream-rq-timeout-alt-response", "1"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-retry-on", "reset"),
        ("x-envoy-retry-grpc-on", "internal"),
        ("x-envoy-max-retries", "9"),
        ("x-envoy-retriable-status-codes", "404"),
        ("x-envoy-hedge-on-per-try-timeout", "true"),
        ("x-envoy-expected-rq-timeout-ms", "1"),
        ("x-sluice-drain", "close"),
        ("x-envoy-original-path", "/"),
        ("x-request-id", "1"),
    ];
    worker.request(&mut host, "GET", "/x", &sent, true);
    let left: Vec<&str> = host.request.iter().skip(3).map(|(name, _)| name.as_str()).collect();
    assert_eq!(left, ["x-envoy-original-path", "x-request-id", "x-envoy-upstream-rq-timeout-ms"]);
    let timeout = host.header_value(HeaderMap::Request, "x-envoy-upstream-rq-timeout-ms");
    assert_eq!(timeout.as_deref(), Some("5000"));
    let removals = host.called.iter().filter(|method| **method == "remove_header").count();
    assert_eq!(removals, 10, "one call for each name that is not overwritten");
}

/// Whether the filter buffers a response with these headers.
fn buffers(buffering: Value, method: &str, fields: &[(&str, &str)]) -> bool {
    let (mut host, mut worker) = proxy(&route(json!({ "buffering": buffering })));
    let mut open = worker.request(&mut host, method, "/x", &[], true);
    worker.respond(&mut host, &mut open, fields, false);
    let (action, passed) = worker.download(&mut host, &mut open, b"abc", false);
    assert_eq!(action == Action::Pause, passed.is_empty());
    action == Action::Pause
}

const SMALL: [(&str, &str); 3] =
    [(":status", "200"), ("content-length", "5"), ("content-type", "text/html")];

fn small_with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    SMALL.iter().chain(more).copied().collect()
}

#[test]
fn on_buffers_a_declared_length_that_fits() {
    assert!(buffers(json!("on"), "GET", &SMALL));
    let with = |length: &str, max: u32| {
        let buffering = json!({ "response": "on", "max_bytes": max });
        buffers(buffering, "GET", &[(":status", "200"), ("content-length", length)])
    };
    assert!(with("10", 10) && !with("11", 10) && !with("0", 10));
    for invalid in ["", "-1", "1e1", "+5", "5, 5", "99999999999999999999"] {
        assert!(!with(invalid, 10), "{invalid}");
    }
    assert!(!buffers(json!("on"), "GET", &[(":status", "200")]), "no length");
    let two = |second| [(":status", "200"), ("content-length", "5"), ("content-length", second)];
    assert!(buffers(json!("on"), "GET", &two("5")) && !buffers(json!("on"), "GET", &two("6")));
    let at_default =
        |length| buffers(json!("on"), "GET", &[(":status", "200"), ("content-length", length)]);
    assert!(at_default("32768") && !at_default("32769"));
}

#[test]
fn a_response_without_a_body_is_not_buffered() {
    assert!(!buffers(json!("on"), "HEAD", &SMALL));
    for status in ["204", "304", "101"] {
        let fields = [(":status", status), ("content-length", "5")];
        assert!(!buffers(json!("on"), "GET", &fields), "{status}");
    }
    assert!(!buffers(json!("on"), "GET", &small_with(&[("upgrade", "websocket")])));
    assert!(!buffers(json!("on"), "CONNECT", &SMALL));
    let (mut host, mut worker) = proxy(&route(json!({ "buffering": "on" })));
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &SMALL, true);
    worker.end(&mut host, open, None);
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.route.r.buffered"), Some(0), "its headers end the stream");
}

#[test]
fn auto_streams_content_types_of_streams() {
    let typed = |content_type| {
        let fields = [(":status", "200"), ("content-length", "5"), ("content-type", content_type)];
        buffers(json!("auto"), "GET", &fields)
    };
    let streams = [
        "text/event-stream",
        "Text/Event-Stream; charset=utf-8",
        "application/x-ndjson",
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web",
        "multipart/x-mixed-replace;boundary=x",
    ];
    assert_eq!(streams.map(typed), [false; 7]);
    let others = [
        "",
        "application/json",
        "text/event-streams",
        "application/grpcx",
        "text/html; x=text/event-stream",
    ];
    assert_eq!(others.map(typed), [true; 5]);
    assert!(!buffers(json!("auto"), "GET", &[(":status", "200")]), "no length");
}

#[test]
fn accel_buffering_of_the_upstream_decides_in_auto_only() {
    let decides = |mode: &str, content_type, accel| {
        let fields = [
            (":status", "200"),
            ("content-length", "5"),
            ("content-type", content_type),
            ("x-accel-buffering", accel),
        ];
        buffers(json!(mode), "GET", &fields)
    };
    assert!(!decides("auto", "text/html", "no") && decides("auto", "text/event-stream", "YES"));
    assert!(decides("auto", "text/html", "perhaps"));
    assert!(decides("on", "text/html", "no") && !decides("off", "text/html", "yes"));
}

#[test]
fn off_disables_buffering_in_the_proxies_in_front_without_reading_headers() {
    let (mut host, mut worker) = proxy(&route(json!({ "buffering": "off" })));
    let mut open = worker.get(&mut host, "/x");
    host.called.clear();
    worker.respond(&mut host, &mut open, &SMALL, false);
    assert_eq!(host.called, ["set_header"]);
    let accel = host.header_value(HeaderMap::Response, "x-accel-buffering");
    assert_eq!(accel.as_deref(), Some("no"));
    let chunk = worker.download(&mut host, &mut open, b"abcde", false);
    assert_eq!(chunk, (Action::Continue, b"abcde".to_vec()));
}

#[test]
fn a_buffered_body_passes_at_its_end_or_above_the_limit() {
    let buffering = json!({ "response": "on", "request": "on", "max_bytes": 10 });
    let (mut host, mut worker) = proxy(&route(json!({ "buffering": buffering })));
    let length = [("content-length", "10")];
    let mut open = worker.request(&mut host, "POST", "/x", &length, false);
    assert_eq!(worker.upload(&mut host, &mut open, b"abcd", false), Action::Pause);
    assert_eq!(worker.upload(&mut host, &mut open, b"efghij", false), Action::Pause);
    assert_eq!(worker.upload(&mut host, &mut open, b"", true), Action::Continue);
    worker.respond(&mut host, &mut open, &SMALL, false);
    assert_eq!(worker.download(&mut host, &mut open, b"abcde", false).0, Action::Pause);
    let (action, passed) = worker.download(&mut host, &mut open, b"fghijk", false);
    assert_eq!((action, &passed[..]), (Action::Continue, &b"abcdefghijk"[..]), "over the limit");
    assert_eq!(worker.download(&mut host, &mut open, b"l", false).0, Action::Continue);
    worker.end(&mut host, open, None);
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.route.r.buffered"), Some(1));
    assert_eq!(host.metric_value("sluice.route.r.request_buffered"), Some(1));
}

#[test]
fn an_upload_is_buffered_refused_or_streamed_by_its_declared_length() {
    let buffering = json!({ "request": "on", "max_bytes": 10 });
    let upload = |more: &[(&str, &str)], end_of_stream| {
        let (mut host, mut worker) = proxy(&route(json!({ "buffering": buffering })));
        let mut open = worker.request(&mut host, "POST", "/x", more, end_of_stream);
        let action = worker.upload(&mut host, &mut open, b"abc", end_of_stream);
        let reply = host.replies.pop();
        (action == Action::Pause, reply.map(|reply| (reply.status, reply.body)))
    };
    assert_eq!(upload(&[("content-length", "10")], false), (true, None));
    let refused = "the request body has 11 bytes; at most 10 are accepted\n".to_owned();
    assert_eq!(upload(&[("content-length", "11")], false), (false, Some((413, refused))));
    assert_eq!(upload(&[], false), (false, None), "no length");
    assert_eq!(upload(&[("content-length", "5"), ("upgrade", "h2c")], false), (false, None));
    assert_eq!(upload(&[("content-length", "11")], true), (false, None), "no body");
}

#[test]
fn the_policy_does_not_apply_to_local_replies() {
    let buffering = json!({ "response": "off", "request": "on", "max_bytes": 10 });
    let (mut host, mut worker) = proxy(&route(json!({ "buffering": buffering })));
    let length = [("content-length", "11")];
    let mut open = worker.request(&mut host, "POST", "/x", &length, false);
    assert_eq!((open.action, host.replies.len()), (Action::Pause, 1));
    worker.respond(&mut host, &mut open, &[(":status", "413")], false);
    assert_eq!(host.response, field_list(&[(":status", "413")]));
}

/// A proxy in which a terminate drain is in force.
fn terminating(host: &mut MemoryHost, more: Value) -> Worker {
    let mut configuration = json!({ "version": 1, "drain": {} });
    configuration
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().cloned().unwrap_or_default());
    host.write_shared("sluice.drain", r#"{"epoch":1,"mode":"terminate","started_ms":1}"#);
    host.connection(7);
    host.set("request.protocol", b"HTTP/1.1");
    Worker::new(host, &configuration)
}

#[test]
fn a_drain_closes_a_connection_only_after_a_complete_exchange() {
    let closes = |method: &str, status: &str| {
        let mut host = MemoryHost::envoy();
        let mut worker = terminating(&mut host, json!({}));
        let mut open = worker.request(&mut host, method, "/x", &[], true);
        let fields = [(":status", status), ("x-sluice-drain", "forged")];
        worker.respond(&mut host, &mut open, &fields, false);
        let marker = host.header_value(HeaderMap::Response, "x-sluice-drain");
        let is_interim = matches!(status, "100" | "103");
        assert!(is_interim || marker.as_deref() != Some("forged"), "{method} {status}");
        marker.as_deref() == Some("close")
    };
    for (method, status) in
        [("GET", "200"), ("GET", "404"), ("POST", "503"), ("HEAD", "200"), ("CONNECT", "403")]
    {
        assert!(closes(method, status), "{method} {status}");
    }
    for (method, status) in [("GET", "100"), ("GET", "103"), ("GET", "101"), ("CONNECT", "200")] {
        assert!(!closes(method, status), "{method} {status}");
    }
}

#[test]
fn a_connection_closes_by_the_marker_in_envoy_and_by_a_header_in_other_hosts() {
    let closed_by = |mut host: MemoryHost, signal: Option<&str>, protocol: &str| {
        let mut worker =
            terminating(&mut host, json!({ "drain": { "signal": signal.unwrap_or("auto") } }));
        host.set("request.protocol", protocol.as_bytes());
        let mut open = worker.get(&mut host, "/x");
        worker.respond(&mut host, &mut open, &[(":status", "200")], true);
        let names = ["connection", "x-sluice-drain"];
        names.into_iter().find(|name| host.header_value(HeaderMap::Response, name).is_some())
    };
    let marker = Some("x-sluice-drain");
    assert_eq!(closed_by(MemoryHost::envoy(), None, "HTTP/2"), marker);
    assert_eq!(closed_by(MemoryHost::new(), None, "HTTP/1.1"), Some("connection"));
    assert_eq!(closed_by(MemoryHost::new(), None, "HTTP/2"), None, "HTTP/2 has no such header");
    assert_eq!(closed_by(MemoryHost::new(), Some("marker"), "HTTP/2"), marker);
    assert_eq!(closed_by(MemoryHost::envoy(), Some("header"), "HTTP/1.0"), Some("connection"));
}

#[test]
fn an_interim_response_gets_no_header() {
    let document = json!({ "version": 1, "defaults": { "buffering": "on" },
                           "report": { "header": true } });
    let (mut host, mut worker) = proxy(&document);
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &[(":status", "103")], false);
    assert_eq!(host.header_value(HeaderMap::Response, "x-sluice-decision"), None);
    worker.respond(&mut host, &mut open, &SMALL, false);
    assert!(host.header_value(HeaderMap::Response, "x-sluice-decision").is_some());
}

#[test]
fn the_final_response_is_decided_after_an_interim_one() {
    let (mut host, mut worker) = proxy(&route(json!({ "buffering": "on" })));
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &[(":status", "103")], false);
    worker.respond(&mut host, &mut open, &SMALL, false);
    assert_eq!(worker.download(&mut host, &mut open, b"abc", false).0, Action::Pause);
}

#[test]
fn a_marker_from_the_upstream_is_removed_if_the_configuration_has_drains() {
    let forged = [(":status", "200"), ("x-sluice-drain", "close")];
    let removes = |document: Value| {
        let (mut host, mut worker) = proxy(&document);
        let mut open = worker.get(&mut host, "/x");
        worker.respond(&mut host, &mut open, &forged, false);
        host.header_value(HeaderMap::Response, "x-sluice-drain").is_none()
    };
    assert!(removes(json!({ "version": 1, "drain": {} })));
    assert!(removes(json!({ "version": 1, "drain": {}, "defaults": { "buffering": "on" } })));
    assert!(!removes(json!({ "version": 1 })));
}

#[test]
fn health_checks_get_a_reply_while_the_proxy_terminates_and_otherwise_if_they_are_local() {
    let rules_with = |local: bool| {
        let health = json!({ "path": "/health", "drain_status": 503, "local": local });
        rules(&json!({ "version": 1, "drain": {}, "health": health }))
    };
    let (upstream, local) = (rules_with(false), rules_with(true));
    let list: Headers = [(":method", "GET"), (":path", "/health?from=lb")].into_iter().collect();
    let check = RequestView::new(&list);
    let mut view = DrainView::default();
    let statuses = |view: &DrainView| {
        [&upstream, &local].map(|rules| health::check(rules, view, &check, || None))
    };
    let http = |status| Some(HealthCheck::Http(status));
    assert_eq!(statuses(&view), [None, http(200)]);
    let mut learn = |epoch: u64, mode: &str| {
        let json = format!(r#"{{"epoch":{epoch},"mode":"{mode}","started_ms":1}}"#);
        view.merge(Some(json.as_bytes()), 1);
        statuses(&view)
    };
    assert_eq!(learn(1, "reload"), [None, http(200)]);
    assert_eq!(learn(2, "terminate"), [http(503), http(503)]);
    assert_eq!(learn(3, "off"), [None, http(200)]);
    let other: Headers = [(":method", "GET"), (":path", "/x")].into_iter().collect();
    assert_eq!(health::check(&local, &view, &RequestView::new(&other), || None), None);
}

#[test]
fn the_state_is_json() {
    let record =
        Record::parse(br#"{"epoch":2,"mode":"terminate","started_ms":1}"#).expect("a record");
    let mut state = State {
        record: Some(&record),
        instance: "node \"1\"\n",
        in_flight: 3,
        now_ms: 1_000,
        waits_for: &[],
    };
    let reply = health::reply(503, &state);
    assert_eq!((reply.status, &*reply.content_type), (503, "application/json"));
    let expected = json!({
        "status": "draining", "instance": "node \"1\"\n", "epoch": 2, "mode": "terminate",
        "in_flight": 3, "timestamp": "1970-01-01T00:00:01.000Z",
    });
    assert_eq!(parsed(&reply.body), expected);
    let full = parsed(&state.to_full_json(17));
    assert_eq!(full["closed"], 17);
    let expected = json!({ "epoch": 2, "mode": "terminate", "started_ms": 1, "window_ms": 0 });
    assert_eq!(full["record"], expected);
    state.record = None;
    let body = parsed(&state.to_json());
    assert_eq!((&body["status"], body.get("epoch")), (&json!("ok"), None));
}

#[test]
fn decisions_are_compact_json() {
    let rules = rules(&route(json!({
        "buffering": { "response": "on", "request": "on" },
        "timeouts": { "request": "60s", "per_try": "10s" },
        "retry": { "on": ["connect-failure", "reset"], "attempts": 2 },
    })));
    let decisions = Decisions::new(&rules);
    let request = |route, hold| decisions.request(&rules, route, hold).to_json();
    let decision = r#"{"phase":"request","route":"r","timeout_ms":60000,"per_try_ms":10000,"retry":"connect-failure,reset","attempts":2,"hold":true}"#;
    assert_eq!(request(Some(0), true), decision);
    assert_eq!(request(Some(0), false), decision.replace(r#","hold":true"#, ""));
    assert_eq!(request(None, false), r#"{"phase":"request"}"#);
    for (buffer, body) in [(false, "stream"), (true, "hold")] {
        for disable_buffering in [false, true].into_iter().filter(|off| !(buffer && *off)) {
            for close in [false, true] {
                let response = ResponseDecision {
                    buffer,
                    close,
                    disable_buffering,
                    ..ResponseDecision::default()
                };
                let mut expected = json!({ "phase": "response", "body": body });
                if close {
                    expected["close"] = json!(true);
                }
                if disable_buffering {
                    expected["accel"] = json!("no");
                }
                let json = Decision::default().with_response(&response).to_json();
                assert_eq!(parsed(&json), expected);
            }
        }
    }
}

#[test]
fn an_access_log_gets_both_decisions_in_one_object() {
    let rules = rules(&route(json!({ "timeouts": { "request": "60s" } })));
    let decisions = Decisions::new(&rules);
    let response = ResponseDecision::default();
    let both = decisions.request(&rules, Some(0), true).with_response(&response);
    let expected =
        r#"{"phase":"response","body":"stream","route":"r","timeout_ms":60000,"hold":true}"#;
    assert_eq!(both.to_json(), expected);
    let defaults = decisions.request(&rules, None, false).with_response(&response);
    assert_eq!(defaults.to_json(), r#"{"phase":"response","body":"stream"}"#);
}

/// `sluice import` compares decisions and has to know which fields may be absent.
#[test]
fn the_optional_fields_of_a_decision_are_complete() {
    let every = json!({
        "buffering": { "response": "off", "request": "on" },
        "timeouts": { "request": "60s", "per_try": "10s", "read": "5s", "send": "5s",
                      "first_event": "5s", "event_gap": "5s" },
        "retry": { "on": ["retriable-status-codes"], "status": [429], "attempts": 2 },
        "drain": { "streams": "finish", "within": "60s" },
    });
    let decision = |document: &Value, route, is_full: bool, response: &ResponseDecision| {
        let rules = rules(document);
        let decisions = Decisions::new(&rules);
        let decision = decisions.request(&rules, route, is_full).with_response(response);
        let reason = is_full.then_some(Reason::ReadTimeout);
        parsed(&decision.with_epoch(is_full.then_some(7)).with_reason(reason).to_json())
    };
    let all = ResponseDecision {
        close: true,
        disable_buffering: true,
        holds_headers: true,
        ..ResponseDecision::default()
    };
    let most = decision(&route(every), Some(0), true, &all);
    let least = decision(&json!({ "version": 1 }), None, false, &ResponseDecision::default());
    let (most, least) = (most.as_object().expect("an object"), least.as_object().expect("one"));
    let absent = most.keys().filter(|field| !least.contains_key(*field));
    // The number of attempts comes with the retry conditions.
    let mut absent: Vec<&str> = absent.map(String::as_str).filter(|f| *f != "attempts").collect();
    let mut optional = decision::OPTIONAL.to_vec();
    absent.sort_unstable();
    optional.sort_unstable();
    assert_eq!(absent, optional);
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

/// Ends a stream and ticks, so that its counts are in the host.
pub(crate) fn finish(worker: &mut Worker, host: &mut MemoryHost, open: Open) {
    worker.end(host, open, None);
    worker.tick(host);
}
