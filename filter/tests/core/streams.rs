//! Whole streams: idle timeouts, error pages, tunnels, cuts, reports.

use serde_json::{Value, json};
use sluice_filter::host::{HeaderMap, LogLevel};
use sluice_filter::stream::Action;

use crate::decisions::route;
use crate::host::{MemoryHost, Open, Worker, field_list};

pub(crate) fn proxy(configuration: &Value) -> (MemoryHost, Worker) {
    let mut host = MemoryHost::new();
    let worker = Worker::new(&mut host, configuration);
    (host, worker)
}

pub(crate) const OK: [(&str, &str); 1] = [(":status", "200")];
pub(crate) const EVENTS: [(&str, &str); 2] =
    [(":status", "200"), ("content-type", "text/event-stream")];

/// Ticks for this long.
pub(crate) fn wait(worker: &mut Worker, host: &mut MemoryHost, ms: u64) {
    let until = host.now() + ms;
    while host.now() < until {
        worker.tick(host);
    }
}

/// The text of a local reply, and its status.
pub(crate) fn reply(host: &MemoryHost) -> (Option<u32>, u16, &str) {
    let reply = host.replies.last().expect("a reply");
    (reply.context, reply.status, &reply.body)
}

#[test]
fn a_stream_before_the_first_configuration_passes_unchanged() {
    let mut host = MemoryHost::new();
    let mut worker = Worker::unconfigured();
    let mut open = worker.request(&mut host, "POST", "/x", &[("x-sluice-drain", "1")], false);
    assert_eq!(open.action, Action::Continue);
    assert_eq!(worker.upload(&mut host, &mut open, b"abc", true), Action::Continue);
    assert_eq!(open.stream.on_request_trailers(&mut worker.vm, &mut host), Action::Continue);
    assert_eq!(worker.respond(&mut host, &mut open, &OK, false), Action::Continue);
    assert_eq!(worker.download(&mut host, &mut open, b"abc", true).0, Action::Continue);
    assert_eq!(open.stream.on_response_trailers(&mut worker.vm), Action::Continue);
    worker.end(&mut host, open, Some("response_timeout"));
    assert_eq!(host.called, [""; 0], "without a configuration the filter makes no host call");
}

#[test]
fn a_stream_keeps_the_configuration_under_which_it_began() {
    let (mut host, mut worker) = proxy(&route(json!({ "buffering": "off" })));
    let mut open = worker.get(&mut host, "/x");
    assert!(worker.configure(&mut host, &json!({ "version": 1 }).to_string()));
    worker.respond(&mut host, &mut open, &OK, true);
    assert!(host.header_value(HeaderMap::Response, "x-accel-buffering").is_some());
}

#[test]
fn the_read_timeout_replies_before_the_response_and_resets_after_it() {
    let (mut host, mut worker) = proxy(&route(json!({ "timeouts": { "read": "1s" } })));
    let open = worker.get(&mut host, "/x");
    wait(&mut worker, &mut host, 1_500);
    assert_eq!(reply(&host), (Some(1), 504, "read_timeout: no data from the upstream for 1s\n"));
    worker.end(&mut host, open, None);

    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &EVENTS, false);
    for _ in 0..5 {
        wait(&mut worker, &mut host, 500);
        worker.download(&mut host, &mut open, b"data: x\n\n", false);
    }
    assert_eq!(host.resets, [0; 0]);
    wait(&mut worker, &mut host, 1_500);
    assert_eq!((&host.resets[..], host.replies.len()), (&[2][..], 1));
    worker.end(&mut host, open, None);
    wait(&mut worker, &mut host, 5_000);
    assert_eq!(host.metric_value("sluice.route.r.ended.read_timeout"), Some(2));
    assert_eq!((host.resets.len(), host.replies.len()), (1, 1), "each stream ends once");
}

#[test]
fn the_send_timeout_ends_an_upload_that_pauses() {
    let timeouts = json!({ "timeouts": { "read": "30s", "send": "1s" } });
    let (mut host, mut worker) = proxy(&route(timeouts));
    let mut open = worker.request(&mut host, "POST", "/x", &[], false);
    for _ in 0..5 {
        worker.upload(&mut host, &mut open, b"abc", false);
        wait(&mut worker, &mut host, 500);
    }
    assert_eq!(host.replies.len(), 0);
    wait(&mut worker, &mut host, 1_000);
    assert_eq!(reply(&host), (Some(1), 504, "send_timeout: no data to the upstream for 1s\n"));

    let mut complete = worker.request(&mut host, "POST", "/x", &[], false);
    worker.upload(&mut host, &mut complete, b"abc", true);
    let mut trailers = worker.request(&mut host, "POST", "/x", &[], false);
    trailers.stream.on_request_trailers(&mut worker.vm, &mut host);
    wait(&mut worker, &mut host, 10_000);
    assert_eq!(host.replies.len(), 1, "the end of an upload stops its timer");
}

#[test]
fn no_timer_runs_while_the_filter_buffers_the_upload() {
    let policy =
        json!({ "buffering": { "request": "on" }, "timeouts": { "read": "1s", "send": "1s" } });
    let (mut host, mut worker) = proxy(&route(policy));
    let length = [("content-length", "6")];
    let mut open = worker.request(&mut host, "POST", "/x", &length, false);
    worker.upload(&mut host, &mut open, b"abc", false);
    wait(&mut worker, &mut host, 10_000);
    assert_eq!(host.replies.len(), 0);
    assert_eq!(worker.upload(&mut host, &mut open, b"def", true), Action::Continue);
    wait(&mut worker, &mut host, 1_500);
    assert_eq!(reply(&host).1, 504);
}

/// Envoy begins the body of an upgrade with an empty chunk.
#[test]
fn an_empty_chunk_of_an_upgrade_starts_no_send_timer() {
    let timeouts = json!({ "timeouts": { "read": "30s", "send": "1s" } });
    let (mut host, mut worker) = proxy(&route(timeouts));
    let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
    let mut open = worker.request(&mut host, "GET", "/x", &upgrade, false);
    worker.upload(&mut host, &mut open, b"", false);
    wait(&mut worker, &mut host, 5_000);
    assert_eq!(host.replies.len(), 0, "the client has to wait for the response");
    worker.upload(&mut host, &mut open, b"early", false);
    wait(&mut worker, &mut host, 1_500);
    assert_eq!(reply(&host).2, "send_timeout: no data to the upstream for 1s\n");
}

#[test]
fn bytes_in_both_directions_keep_a_tunnel_open() {
    let timeouts = json!({ "timeouts": { "read": "1s" } });
    let (mut host, mut worker) = proxy(&route(timeouts));
    let mut open = worker.request(&mut host, "CONNECT", "", &[], false);
    worker.respond(&mut host, &mut open, &OK, false);
    for _ in 0..5 {
        wait(&mut worker, &mut host, 700);
        worker.upload(&mut host, &mut open, b"abc", false);
    }
    assert_eq!(host.resets, [0; 0]);
    wait(&mut worker, &mut host, 1_500);
    assert_eq!(host.resets, [1]);
}

#[test]
fn a_download_with_a_length_is_watched_up_to_the_buffer_limit() {
    let policy = json!({ "buffering": { "max_bytes": 10 }, "timeouts": { "read": "1s" } });
    let resets = |fields: &[(&str, &str)], bytes: usize| {
        let (mut host, mut worker) = proxy(&route(policy.clone()));
        let mut open = worker.get(&mut host, "/x");
        worker.respond(&mut host, &mut open, fields, false);
        worker.download(&mut host, &mut open, &vec![b'x'; bytes], false);
        wait(&mut worker, &mut host, 2_000);
        host.resets.len()
    };
    let sized = [(":status", "200"), ("content-length", "100")];
    assert_eq!((resets(&sized, 9), resets(&sized, 10)), (1, 0));
    assert_eq!(resets(&EVENTS, 10), 1);
}

#[test]
fn a_buffered_response_is_watched_to_its_end() {
    let policy =
        json!({ "buffering": { "response": "on", "max_bytes": 10 }, "timeouts": { "read": "1s" } });
    let (mut host, mut worker) = proxy(&route(policy));
    let mut open = worker.get(&mut host, "/x");
    let fields = [(":status", "200"), ("content-length", "10")];
    worker.respond(&mut host, &mut open, &fields, false);
    worker.download(&mut host, &mut open, b"0123456789", false);
    wait(&mut worker, &mut host, 2_000);
    assert_eq!(host.resets, [1], "its client cannot have caused the pause");
}

#[test]
fn a_complete_response_is_never_reset() {
    let complete = |how: &dyn Fn(&mut Worker, &mut MemoryHost, &mut Open)| {
        let (mut host, mut worker) = proxy(&route(json!({ "timeouts": { "read": "1s" } })));
        let mut open = worker.get(&mut host, "/x");
        how(&mut worker, &mut host, &mut open);
        wait(&mut worker, &mut host, 5_000);
        assert_eq!((host.resets.len(), host.replies.len()), (0, 0));
    };
    complete(&|worker, host, open| {
        worker.respond(host, open, &OK, true);
    });
    complete(&|worker, host, open| {
        worker.respond(host, open, &OK, false);
        worker.download(host, open, b"abc", true);
    });
    complete(&|worker, host, open| {
        worker.respond(host, open, &OK, false);
        open.stream.on_response_trailers(&mut worker.vm);
    });
}

#[test]
fn a_tick_ends_32_streams_and_the_plugin_ticks_faster_while_more_are_due() {
    let (mut host, mut worker) = proxy(&route(json!({ "timeouts": { "read": "1s" } })));
    let period = host.tick_ms;
    let open: Vec<Open> = (0..70).map(|_| worker.get(&mut host, "/x")).collect();
    while host.replies.is_empty() {
        worker.tick(&mut host);
    }
    assert_eq!((host.replies.len(), host.tick_ms), (32, Some(1)));
    worker.tick(&mut host);
    assert_eq!((host.replies.len(), host.tick_ms), (64, Some(1)));
    worker.tick(&mut host);
    assert_eq!((host.replies.len(), host.tick_ms), (70, period));
    open.into_iter().for_each(|open| worker.end(&mut host, open, None));
}

#[test]
fn a_stream_that_ended_before_its_timeout_is_not_ended_again() {
    let (mut host, mut worker) = proxy(&route(json!({ "timeouts": { "read": "1s" } })));
    let open = worker.get(&mut host, "/x");
    worker.end(&mut host, open, None);
    wait(&mut worker, &mut host, 5_000);
    assert_eq!((host.resets.len(), host.replies.len(), host.log.len()), (0, 0, 0));
}

#[test]
fn streams_outlive_their_plugin() {
    let (mut host, mut worker) = proxy(&route(json!({ "timeouts": { "read": "1s" } })));
    let mut open = worker.get(&mut host, "/x");
    assert!(worker.plugin.on_done(&mut worker.vm, &mut host));
    worker.plugin.end(&mut worker.vm);
    let mut other = Worker { plugin: sluice_filter::plugin::Plugin::new(&mut worker.vm), ..worker };
    assert!(other.configure(&mut host, &json!({ "version": 1 }).to_string()));
    other.respond(&mut host, &mut open, &OK, false);
    other.download(&mut host, &mut open, b"abc", true);
    other.end(&mut host, open, None);
}

fn pages() -> Value {
    json!({
        "version": 1,
        "routes": [{ "name": "r", "timeouts": { "read": "1s" }, "buffering": { "request": "on", "max_bytes": 5 } }],
        "errors": { "content_type": "application/json", "body": "{\"error\":\"{reason}\",\"route\":\"{route}\",\"status\":{status}}" },
    })
}

const PAGE: &str = r#"{"error":"overflow","route":"r","status":503}"#;

#[test]
fn an_error_page_replaces_the_body_of_the_reply_of_the_proxy() {
    let (mut host, mut worker) = proxy(&pages());
    let mut open = worker.get(&mut host, "/x");
    host.set("response.code_details", b"upstream_reset_before_response_started{overflow}");
    let fields = [
        (":status", "503"),
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
        ("content-length", "19"),
    ];
    assert_eq!(worker.respond(&mut host, &mut open, &fields, false), Action::Continue);
    let length = PAGE.len().to_string();
    let expected =
        [(":status", "503"), ("content-type", "application/json"), ("content-length", &length)];
    assert_eq!(host.response, field_list(&expected));
    let chunk = worker.download(&mut host, &mut open, b"upstream connect", false);
    assert_eq!(chunk, (Action::Continue, PAGE.as_bytes().to_vec()));
    let chunk = worker.download(&mut host, &mut open, b" error", true);
    assert_eq!(chunk, (Action::Continue, Vec::new()), "later chunks are emptied");
    worker.end(&mut host, open, None);
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.route.r.ended.overflow"), Some(1));
}

#[test]
fn an_error_page_is_a_local_reply_if_the_reply_of_the_proxy_has_no_body() {
    let (mut host, mut worker) = proxy(&pages());
    let mut open = worker.get(&mut host, "/x");
    host.set("response.code_details", b"overflow");
    let action = worker.respond(&mut host, &mut open, &[(":status", "503")], true);
    assert_eq!((action, reply(&host)), (Action::Pause, (None, 503, PAGE)));
    let headers = &host.replies[0].headers;
    assert_eq!(headers, &[("content-type".to_owned(), "application/json".to_owned())]);
    assert_eq!(
        worker.respond(&mut host, &mut open, &[(":status", "503")], false),
        Action::Continue
    );
    assert_eq!(host.replies.len(), 1, "the page itself is not replaced");

    let mut open = worker.request(&mut host, "HEAD", "/x", &[], true);
    host.set("response.code_details", b"overflow");
    worker.respond(&mut host, &mut open, &[(":status", "503")], true);
    assert_eq!(host.replies.len(), 1, "a response to HEAD has no body to send");
}

#[test]
fn responses_of_the_upstream_and_of_other_filters_keep_their_body() {
    for details in [None, Some("via_upstream"), Some("rbac_access_denied")] {
        let (mut host, mut worker) = proxy(&pages());
        let mut open = worker.get(&mut host, "/x");
        if let Some(details) = details {
            host.set("response.code_details", details.as_bytes());
        }
        worker.respond(&mut host, &mut open, &[(":status", "503")], false);
        let chunk = worker.download(&mut host, &mut open, b"body", true);
        assert_eq!(chunk, (Action::Continue, b"body".to_vec()), "{details:?}");
    }
}

#[test]
fn a_grpc_client_gets_a_status_and_no_page() {
    let (mut host, mut worker) = proxy(&pages());
    let grpc = [("content-type", "application/grpc")];
    worker.request(&mut host, "POST", "/x", &grpc, true);
    wait(&mut worker, &mut host, 1_500);
    assert_eq!(reply(&host), (Some(1), 504, "read_timeout"));
    let status = host.replies[0].headers.iter().find(|(name, _)| name == "grpc-status");
    assert_eq!(status.map(|(_, value)| value.as_str()), Some("4"));

    let mut open = worker.request(&mut host, "POST", "/x", &grpc, true);
    host.set("response.code_details", b"overflow");
    worker.respond(&mut host, &mut open, &[(":status", "503")], false);
    let chunk = worker.download(&mut host, &mut open, b"body", true);
    assert_eq!(chunk.1, b"body", "the proxy's reply already fits a gRPC client");
}

#[test]
fn errors_of_the_filter_have_pages_too() {
    let (mut host, mut worker) = proxy(&pages());
    let length = [("content-length", "6")];
    let mut open = worker.request(&mut host, "POST", "/x", &length, false);
    let page = r#"{"error":"body_too_large","route":"r","status":413}"#;
    assert_eq!((open.action, reply(&host)), (Action::Pause, (None, 413, page)));
    // Envoy has details for the filter's reply.
    host.set("response.code_details", b"overflow");
    worker.respond(&mut host, &mut open, &[(":status", "413")], false);
    let chunk = worker.download(&mut host, &mut open, page.as_bytes(), true);
    assert_eq!(chunk.1, page.as_bytes());
    worker.end(&mut host, open, None);

    let mut open = worker.get(&mut host, "/x");
    wait(&mut worker, &mut host, 1_500);
    let page = r#"{"error":"read_timeout","route":"r","status":504}"#;
    assert_eq!(reply(&host).2, page);
    worker.respond(&mut host, &mut open, &[(":status", "504")], false);
    let chunk = worker.download(&mut host, &mut open, page.as_bytes(), true);
    assert_eq!(chunk.1, page.as_bytes());
    worker.end(&mut host, open, None);
    worker.tick(&mut host);
    for reason in ["body_too_large", "read_timeout"] {
        let metric = format!("sluice.route.r.ended.{reason}");
        assert_eq!(host.metric_value(&metric), Some(1), "{reason}");
    }
    assert_eq!(host.metric_value("sluice.route.r.ended.overflow"), None);
}

fn reporting() -> Value {
    json!({ "version": 1, "drain": {}, "report": { "access_log": true, "header": true },
            "routes": [{ "name": "r", "timeouts": { "read": "1s" } }] })
}

/// The decision in the property for the access log.
fn logged(host: &MemoryHost) -> String {
    String::from_utf8_lossy(&host.properties["sluice.decision"]).into_owned()
}

#[test]
fn decisions_are_reported_in_a_header_and_in_the_access_log() {
    let (mut host, mut worker) = proxy(&reporting());
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &OK, true);
    let decision = r#"{"phase":"response","body":"stream","route":"r","read_ms":1000}"#;
    let header = host.header_value(HeaderMap::Response, "x-sluice-decision");
    assert_eq!(header.as_deref(), Some(decision));
    worker.end(&mut host, open, None);
    assert_eq!(logged(&host), decision);

    let open = worker.get(&mut host, "/x");
    worker.end(&mut host, open, Some("downstream_remote_disconnect"));
    let decision = r#"{"phase":"request","route":"r","read_ms":1000,"reason":"client_closed"}"#;
    assert_eq!(logged(&host), decision, "the client closed before the response");

    host.write_shared("sluice.drain", r#"{"epoch":3,"mode":"reload","started_ms":1}"#);
    wait(&mut worker, &mut host, 500);
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &OK, true);
    worker.end(&mut host, open, None);
    let decision = r#"{"phase":"response","body":"stream","route":"r","read_ms":1000,"epoch":3}"#;
    assert_eq!(logged(&host), decision);
    assert_eq!(host.decisions, None);
}

#[test]
fn a_host_with_the_foreign_function_receives_each_decision() {
    let mut host = MemoryHost { decisions: Some(Vec::new()), ..MemoryHost::new() };
    let mut worker = Worker::new(&mut host, &route(json!({ "timeouts": { "read": "1s" } })));
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &OK, false);
    wait(&mut worker, &mut host, 1_500);
    worker.end(&mut host, open, None);
    let expected = [
        r#"{"phase":"request","route":"r","read_ms":1000}"#,
        r#"{"phase":"response","body":"stream"}"#,
        r#"{"reason":"read_timeout"}"#,
    ];
    assert_eq!(host.decisions.as_deref(), Some(&expected.map(str::to_owned)[..]));
    assert!(!host.properties.contains_key("sluice.decision"));
}

#[test]
fn the_reason_of_a_failure_comes_from_the_end_of_the_stream() {
    let reason = |method: &str, status: &str, complete: bool, details: &str| {
        let (mut host, mut worker) = proxy(&reporting());
        let mut open = worker.request(&mut host, method, "/x", &[], method == "GET");
        worker.respond(&mut host, &mut open, &[(":status", status)], complete);
        worker.end(&mut host, open, Some(details));
        worker.tick(&mut host);
        let count = |reason| host.metric_value(&format!("sluice.route.r.ended.{reason}"));
        let json: Value = serde_json::from_str(&logged(&host)).expect("JSON");
        let reason = json["reason"].as_str().map(str::to_owned);
        assert_eq!(reason.as_deref().and_then(count), reason.as_ref().map(|_| 1));
        reason
    };
    let reset = "upstream_reset_after_response_started{remote_reset}";
    assert_eq!(reason("GET", "200", false, reset).as_deref(), Some("upstream_reset"));
    assert_eq!(reason("GET", "200", true, reset), None, "the response was complete");
    assert_eq!(reason("CONNECT", "200", false, reset), None, "a tunnel ends when a side closes");
    let idle = reason("CONNECT", "200", false, "stream_idle_timeout");
    assert_eq!(idle.as_deref(), Some("idle_timeout"), "the proxy ended the tunnel");
    assert_eq!(reason("CONNECT", "403", false, reset).as_deref(), Some("upstream_reset"));
}

#[test]
fn without_pages_and_reports_no_failure_reason_is_read() {
    let (mut host, mut worker) = proxy(&route(json!({})));
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &[(":status", "503")], false);
    worker.end(&mut host, open, Some("overflow"));
    assert_eq!(
        host.called.iter().filter(|method| **method == "property").count(),
        1,
        "the host's name"
    );
}

#[test]
fn a_marker_that_no_bridge_removed_is_reported_once() {
    let mut host = MemoryHost::envoy();
    host.write_shared("sluice.drain", r#"{"epoch":1,"mode":"terminate","started_ms":1}"#);
    let mut worker = Worker::new(&mut host, &json!({ "version": 1, "drain": {} }));
    host.connection(7);
    for _ in 0..2 {
        worker.exchange(&mut host, "/x", "200");
    }
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &OK, true);
    host.response.retain(|(name, _)| name != "x-sluice-drain");
    worker.end(&mut host, open, None);
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.drain.bridge_missing"), Some(2));
    let lines = host.logged("no drain bridge removed x-sluice-drain");
    assert_eq!((lines.len(), lines[0].0), (1, LogLevel::Error));
}

/// Envoy calls a filter behind one that replied only to log the stream.
#[test]
fn a_reply_of_an_earlier_filter_is_reported_if_a_drain_would_have_closed_its_connection() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &json!({ "version": 1, "drain": {} }));
    let mut denied = |host: &mut MemoryHost, response: &[(&str, &str)]| {
        host.response = field_list(response);
        host.set("response.code_details", b"rbac_access_denied");
        let mut stream = worker.plugin.new_stream(&mut worker.vm, 100);
        stream.on_log(&mut worker.vm, host);
        stream.end(&mut worker.vm);
        worker.tick(host);
        host.metric_value("sluice.drain.bypassed")
    };
    let reply = [(":status", "403")];
    host.connection(7);
    assert_eq!(denied(&mut host, &reply), Some(0), "no drain is in force");
    host.write_shared("sluice.drain", r#"{"epoch":1,"mode":"terminate","started_ms":1}"#);
    assert_eq!(denied(&mut host, &reply), Some(0), "the drain is not known yet");
    assert_eq!(denied(&mut host, &[]), Some(0), "the client left before the reply");
    assert_eq!(denied(&mut host, &[(":status", "400"), ("connection", "close")]), Some(0));
    for count in 1..=2 {
        assert_eq!(denied(&mut host, &reply), Some(count));
    }
    let lines = host.logged("a filter before this one replied (rbac_access_denied)");
    assert_eq!((lines.len(), lines[0].0), (1, LogLevel::Error));
    host.write_shared("sluice.drain", r#"{"epoch":2,"mode":"reload","started_ms":1}"#);
    assert_eq!(denied(&mut host, &reply), Some(3), "learned with the next tick");
    assert_eq!(denied(&mut host, &reply), Some(3), "the connection is not old");
}

#[test]
fn a_route_can_depend_on_the_control_planes_route_and_its_metadata() {
    let routes = json!([
        { "name": "named", "match": { "route_name": "checkout" } },
        { "name": "policy", "match": { "policy": "strict" } },
    ]);
    let (mut host, mut worker) = proxy(&json!({ "version": 1, "routes": routes }));
    let mut count = |properties: &[(&str, &str)], route: &str| {
        for (name, value) in properties {
            host.set(name, value.as_bytes());
        }
        worker.exchange(&mut host, "/x", "200");
        for (name, _) in properties {
            host.properties.remove(*name);
        }
        worker.tick(&mut host);
        host.metric_value(&format!("sluice.route.{route}.requests"))
    };
    let route_policy = "xds.route_metadata.filter_metadata.sluice.policy";
    let host_policy = "xds.virtual_host_metadata.filter_metadata.sluice.policy";
    assert_eq!(count(&[("xds.route_name", "checkout")], "named"), Some(1));
    assert_eq!(count(&[(route_policy, "strict")], "policy"), Some(1));
    assert_eq!(count(&[(host_policy, "strict")], "policy"), Some(2));
    let both = [(route_policy, "lax"), (host_policy, "strict")];
    assert_eq!(count(&both, "default"), Some(1), "the route's metadata comes first");
}

fn cutting() -> Value {
    json!({ "version": 1, "drain": {}, "routes": [{ "name": "r", "drain": "cut" }] })
}

/// A stream of events on connection 7, and then a reload in which the connection is old.
fn events_in_a_reload(host: &mut MemoryHost) -> (Worker, Open) {
    let mut worker = Worker::new(host, &cutting());
    host.connection(7);
    let mut open = worker.get(host, "/x");
    worker.respond(host, &mut open, &EVENTS, false);
    assert_eq!(worker.download(host, &mut open, b"id: 1\n", false).1, b"id: 1\n");
    host.write_shared("sluice.drain", r#"{"epoch":1,"mode":"reload","started_ms":1}"#);
    wait(&mut worker, host, 300);
    (worker, open)
}

#[test]
fn a_drain_cuts_a_stream_at_a_boundary() {
    let mut host = MemoryHost::envoy();
    let (mut worker, mut open) = events_in_a_reload(&mut host);
    let passed = worker.download(&mut host, &mut open, b"data: x\n\nid: 2\n", false);
    assert_eq!(passed, (Action::Continue, b"data: x\n\n".to_vec()));
    let later = worker.download(&mut host, &mut open, b"data: y\n\n", false);
    assert_eq!(later, (Action::Continue, Vec::new()), "nothing passes after the boundary");
    let end = worker.download(&mut host, &mut open, b"", true);
    assert_eq!(end.0, Action::Pause, "the client must not take the response for complete");
    assert_eq!(open.stream.on_response_trailers(&mut worker.vm), Action::Pause);
    assert_eq!(host.resets, [0; 0], "the last bytes need time to reach the client");
    wait(&mut worker, &mut host, 600);
    assert_eq!((&host.resets[..], host.replies.len()), (&[1][..], 0));
    worker.end(&mut host, open, None);
    worker.tick(&mut host);
    assert_eq!(host.metric_value("sluice.route.r.ended.drain_cut"), Some(1));
}

#[test]
fn a_stream_that_ends_before_a_boundary_is_complete() {
    let mut host = MemoryHost::envoy();
    let (mut worker, mut open) = events_in_a_reload(&mut host);
    let end = worker.download(&mut host, &mut open, b"data: x\n", true);
    assert_eq!(end, (Action::Continue, b"data: x\n".to_vec()));
    wait(&mut worker, &mut host, 5_000);
    assert_eq!(host.resets, [0; 0]);
}

#[test]
fn a_drain_cuts_only_old_streams_with_boundaries_and_without_a_length() {
    let resets = |route: &str, connection: Option<u64>, fields: &[(&str, &str)]| {
        let mut host = MemoryHost::envoy();
        let mut worker = Worker::new(
            &mut host,
            &json!({ "version": 1, "drain": {}, "routes": [
            { "name": "cut", "match": { "path": { "prefix": "/cut" } }, "drain": "cut" },
            { "name": "wait", "match": { "path": { "prefix": "/wait" } } },
        ] }),
        );
        if let Some(connection) = connection {
            host.connection(connection);
        }
        let mut open = worker.get(&mut host, &format!("/{route}"));
        worker.respond(&mut host, &mut open, fields, false);
        worker.download(&mut host, &mut open, b"id: 1\n\n", false);
        let record = r#"{"epoch":1,"mode":"reload","started_ms":1,"routes":["cut","wait"]}"#;
        host.write_shared("sluice.drain", record);
        wait(&mut worker, &mut host, 2_000);
        host.resets.len()
    };
    assert_eq!(resets("cut", Some(7), &EVENTS), 1);
    assert_eq!(resets("wait", Some(7), &EVENTS), 0, "the route waits for the end");
    assert_eq!(resets("cut", None, &EVENTS), 0, "the host has no connection ids");
    let not_cut: [&[(&str, &str)]; 4] = [
        &[(":status", "200"), ("content-type", "text/event-stream"), ("content-length", "9")],
        &[(":status", "200"), ("content-type", "text/event-stream"), ("content-encoding", "br")],
        &[(":status", "200"), ("content-type", "text/html")],
        &[(":status", "404"), ("content-type", "text/event-stream")],
    ];
    for fields in not_cut {
        assert_eq!(resets("cut", Some(7), fields), 0, "{fields:?}");
    }
    let lines = [(":status", "200"), ("content-type", "application/x-ndjson")];
    assert_eq!(resets("cut", Some(7), &lines), 1);
}

#[test]
fn a_drain_of_other_routes_cuts_nothing() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &cutting());
    host.connection(7);
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &EVENTS, false);
    let record = r#"{"epoch":1,"mode":"reload","started_ms":1,"routes":["other"]}"#;
    host.write_shared("sluice.drain", record);
    wait(&mut worker, &mut host, 2_000);
    assert_eq!(host.resets, [0; 0]);
    assert_eq!(host.logged("this configuration has no route other").len(), 1);
}

fn finishing() -> Value {
    json!({ "version": 1, "drain": {}, "routes": [{ "name": "r",
            "drain": { "streams": "finish", "within": "5s", "last_event": "data: bye\n\n" } }] })
}

/// A stream on connection 7, with the response if there is one, and then a reload in which the
/// connection is old. The bound has passed.
fn past_its_bound(host: &mut MemoryHost, response: Option<&[(&str, &str)]>) -> (Worker, Open) {
    let mut worker = Worker::new(host, &finishing());
    host.connection(7);
    let mut open = worker.get(host, "/x");
    if let Some(response) = response {
        worker.respond(host, &mut open, response, false);
    }
    let record = format!(r#"{{"epoch":1,"mode":"reload","started_ms":{}}}"#, host.now());
    host.write_shared("sluice.drain", &record);
    wait(&mut worker, host, 4_500);
    assert_eq!((host.resets.len(), host.replies.len()), (0, 0), "it may last for 5 s");
    wait(&mut worker, host, 800);
    (worker, open)
}

#[test]
fn an_event_stream_ends_with_the_last_event_after_its_bound() {
    let mut host = MemoryHost::envoy();
    let (mut worker, mut open) = past_its_bound(&mut host, Some(&EVENTS));
    let passed = worker.download(&mut host, &mut open, b"id: 1\n\nid: 2\n", false);
    assert_eq!(passed, (Action::Continue, b"id: 1\n\ndata: bye\n\n".to_vec()));
    wait(&mut worker, &mut host, 600);
    assert_eq!(host.resets, [1]);
}

#[test]
fn downloads_and_other_responses_end_a_second_after_their_bound() {
    for fields in [
        &[(":status", "200"), ("content-length", "100000")][..],
        &[(":status", "200"), ("content-type", "application/json")],
        &[(":status", "101"), ("upgrade", "other")],
    ] {
        let mut host = MemoryHost::envoy();
        let (mut worker, mut open) = past_its_bound(&mut host, Some(fields));
        let passed = worker.download(&mut host, &mut open, b"abc", false);
        assert_eq!(passed, (Action::Continue, b"abc".to_vec()), "{fields:?}");
        assert_eq!(host.resets, [0; 0]);
        wait(&mut worker, &mut host, 1_000);
        assert_eq!(host.resets, [1], "{fields:?}");
        worker.end(&mut host, open, None);
        worker.ticks(&mut host, 4);
        assert_eq!(host.metric_value("sluice.route.r.ended.drain_deadline"), Some(1));
    }
}

#[test]
fn a_request_without_a_response_gets_503_at_its_bound() {
    let mut host = MemoryHost::envoy();
    past_its_bound(&mut host, None);
    assert_eq!((host.resets.len(), host.replies.len()), (0, 1));
    assert_eq!(host.replies[0].status, 503);
    assert_eq!(host.replies[0].body, "drain_deadline: no response before the proxy stops\n");
}

#[test]
fn a_websocket_gets_a_close_frame_and_broken_framing_is_counted() {
    let upgrade = [(":status", "101"), ("upgrade", "WebSocket")];
    let mut host = MemoryHost::envoy();
    let (mut worker, mut open) = past_its_bound(&mut host, Some(&upgrade));
    let passed = worker.download(&mut host, &mut open, b"\x81\x01a\x81", false);
    assert_eq!(passed, (Action::Continue, b"\x81\x01a\x88\x02\x03\xf4".to_vec()));

    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &finishing());
    host.connection(7);
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &upgrade, false);
    for _ in 0..2 {
        let passed = worker.download(&mut host, &mut open, b"not a frame", false);
        assert_eq!(passed, (Action::Continue, b"not a frame".to_vec()));
    }
    worker.ticks(&mut host, 4);
    assert_eq!(host.metric_value("sluice.drain.broken_framing"), Some(1));
}

/// Payloads are skipped by their length.
#[test]
fn a_long_frame_costs_one_read_of_its_header() {
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &finishing());
    host.connection(7);
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &[(":status", "101"), ("upgrade", "websocket")], false);
    worker.download(&mut host, &mut open, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0, 7, 7], false);
    host.called.clear();
    for _ in 0..100 {
        worker.download(&mut host, &mut open, &[7; 100], false);
    }
    assert_eq!(host.called, [""; 0]);
}

#[test]
fn a_stream_that_begins_after_its_connection_is_due_has_its_whole_time() {
    let mut host = MemoryHost::envoy();
    let (mut worker, _) = past_its_bound(&mut host, None);
    host.replies.clear();
    let mut late = worker.get(&mut host, "/x");
    wait(&mut worker, &mut host, 4_900);
    assert_eq!(host.replies.len(), 0);
    worker.respond(&mut host, &mut late, &EVENTS, false);
    worker.download(&mut host, &mut late, b"id: 1\n", false);
    wait(&mut worker, &mut host, 300);
    let passed = worker.download(&mut host, &mut late, b"\nid: 2", false);
    assert_eq!(passed.1, b"\ndata: bye\n\n");
}
