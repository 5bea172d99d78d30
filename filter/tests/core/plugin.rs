//! Plugin configurations, ticks, and metrics of a worker.

use serde_json::{Value, json};
use sluice_filter::host::LogLevel;

use crate::decisions::{finish, route};
use crate::host::{MemoryHost, Worker};

#[test]
fn a_refused_configuration_leaves_the_one_in_force() {
    let mut host = MemoryHost::new();
    let mut worker = Worker::new(&mut host, &route(json!({ "buffering": "off" })));
    let period = host.tick_ms;
    assert!(!worker.configure(&mut host, r#"{"version":1,"routs":[]}"#));
    let lines = host.logged("configuration rejected: routs: unknown field");
    assert_eq!((lines.len(), lines[0].0), (1, LogLevel::Error));
    assert_eq!(host.metric_value("sluice.config.rejected"), Some(1), "at once, not on a tick");
    assert_eq!(host.tick_ms, period);
    let open = worker.get(&mut host, "/x");
    finish(&mut worker, &mut host, open);
    assert_eq!(host.metric_value("sluice.route.r.requests"), Some(1));
}

#[test]
fn a_configuration_above_the_limit_is_not_read() {
    let mut host = MemoryHost::new();
    let mut worker = Worker::unconfigured();
    let size = 8 * 1024 * 1024 + 1;
    assert!(!worker.plugin.on_configure(&mut worker.vm, &mut host, size));
    assert!(!host.called.contains(&"buffer"));
    host.configuration = vec![b' '; size - 1];
    worker.plugin.on_configure(&mut worker.vm, &mut host, size - 1);
    assert!(host.called.contains(&"buffer"), "8 MiB are read");
    host.called.clear();
    worker.plugin.on_configure(&mut worker.vm, &mut host, 0);
    assert!(!host.called.contains(&"buffer"), "there is nothing to read");
    assert_eq!(host.logged("configuration rejected").len(), 3);
}

#[test]
fn at_most_twenty_warnings_are_logged() {
    let unreachable = |index: usize| json!({ "name": format!("r{index}") });
    let routes: Vec<_> = (0..40).map(unreachable).collect();
    let mut host = MemoryHost::new();
    Worker::new(&mut host, &json!({ "version": 1, "routes": routes }));
    assert_eq!(host.logged("configuration: ").len(), 20);
    assert!(host.log.iter().all(|(level, _)| *level == LogLevel::Warn));
}

#[test]
fn the_plugin_ticks_once_a_refresh_and_three_times_if_streams_are_watched() {
    let period = |configuration| {
        let mut host = MemoryHost::new();
        Worker::new(&mut host, &configuration);
        host.tick_ms
    };
    assert_eq!(period(json!({ "version": 1 })), Some(250));
    assert_eq!(period(json!({ "version": 1, "drain": { "refresh": "600ms" } })), Some(600));
    assert_eq!(period(route(json!({ "timeouts": { "read": "1s" } }))), Some(83));
    let cut =
        json!({ "version": 1, "drain": { "refresh": "600ms" }, "defaults": { "drain": "cut" } });
    assert_eq!(period(cut), Some(200));
}

#[test]
fn a_worker_exchanges_state_once_a_refresh_however_often_it_ticks() {
    let configuration =
        json!({ "version": 1, "drain": { "refresh": "600ms" }, "defaults": { "drain": "cut" } });
    let mut host = MemoryHost::new();
    let mut worker = Worker::new(&mut host, &configuration);
    worker.tick(&mut host);
    host.called.clear();
    worker.ticks(&mut host, 9);
    let reads = host.called.iter().filter(|method| **method == "shared_data").count();
    assert_eq!(reads, 2 * 3, "the drain record and the members, three times");
}

#[test]
fn the_name_of_the_proxy_is_read_only_if_it_is_reported() {
    let reads = |configuration| {
        let mut host = MemoryHost::new();
        Worker::new(&mut host, &configuration);
        host.called.iter().filter(|method| **method == "property").count()
    };
    assert_eq!(reads(json!({ "version": 1, "drain": {} })), 1, "whether the host is Envoy");
    assert_eq!(reads(json!({ "version": 1, "drain": {}, "health": { "path": "/h" } })), 2);
}

#[test]
fn the_end_of_a_plugin_reports_its_counts() {
    let mut host = MemoryHost::new();
    let mut worker = Worker::new(&mut host, &json!({ "version": 1 }));
    worker.exchange(&mut host, "/x", "200");
    assert_eq!(host.metric_value("sluice.route.default.requests"), None);
    assert!(worker.plugin.on_done(&mut worker.vm, &mut host));
    assert_eq!(host.metric_value("sluice.route.default.requests"), Some(1));
}

#[test]
fn a_tick_before_the_first_configuration_reports_metrics_only() {
    let mut host = MemoryHost::new();
    let mut worker = Worker::unconfigured();
    worker.tick_now(&mut host);
    assert!(!host.called.contains(&"shared_data"), "{:?}", host.called);
    assert_eq!(host.metric_value("sluice.config.rejected"), Some(0));
}

/// The host calls of a request and its response, which set the cost of the filter in Envoy.
#[test]
fn a_request_costs_these_host_calls() {
    let measure = |configuration: Value, earlier: usize| {
        let mut host = MemoryHost::envoy();
        let mut worker = Worker::new(&mut host, &configuration);
        host.connection(7);
        for _ in 0..earlier {
            worker.exchange(&mut host, "/x", "200");
        }
        host.called.clear();
        worker.exchange(&mut host, "/x", "200");
        host.called
    };
    let calls = |configuration| measure(configuration, 1);
    let first_calls = |configuration| measure(configuration, 0);
    assert_eq!(calls(route(json!({}))), ["read_headers"]);
    let timeout = json!({ "timeouts": { "request": "5s" } });
    assert_eq!(calls(route(timeout)), ["read_headers", "set_header"]);
    assert_eq!(calls(route(json!({ "buffering": "auto" }))), ["read_headers", "read_headers"]);
    let drains = || json!({ "version": 1, "drain": {} });
    assert_eq!(calls(drains()), ["read_headers", "property", "remove_header"]);
    let idle_drain =
        ["read_headers", "property", "shared_data", "set_shared_data", "remove_header"];
    assert_eq!(first_calls(drains()), idle_drain, "a connection is published once");
    let idle = json!({ "timeouts": { "read": "5s" } });
    assert_eq!(calls(route(idle)), ["read_headers"]);
}

#[test]
fn response_code_details_are_read_only_if_the_response_can_have_failed() {
    let calls = |content_type: &str, status: &str| {
        let mut host = MemoryHost::envoy();
        let mut worker = Worker::new(&mut host, &json!({ "version": 1, "errors": {} }));
        let headers = [("content-type", content_type)];
        let mut open = worker.request(&mut host, "POST", "/x", &headers, true);
        host.called.clear();
        worker.respond(&mut host, &mut open, &[(":status", status)], true);
        host.called
    };
    assert_eq!(calls("text/plain", "200"), ["header"]);
    assert_eq!(calls("text/plain", "404"), ["header", "property"]);
    assert_eq!(calls("application/grpc", "200"), ["header", "property"]);
}
