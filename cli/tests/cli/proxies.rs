//! `--proxy`: the proxy as its user runs it decides what a trace gives. The results are those of
//! Envoy 1.40 with the same settings.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use sluice_test_kit::program::{Run, replay, run};

fn written(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, text).expect("a file");
    file.to_str().expect("UTF-8").to_owned()
}

/// Replays a trace with this configuration of the filter and this file of the proxy.
fn replay_with(configuration: &Value, proxy: &str, trace: &str, more: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = written(folder.path(), "config.json", &configuration.to_string());
    let proxy = written(folder.path(), "proxy.json", proxy);
    let trace = written(folder.path(), "day.jsonl", trace);
    let arguments = ["--config", &configuration, "--proxy", &proxy, &trace];
    replay(arguments.into_iter().chain(more.iter().copied()))
}

fn passes(run: &Run) {
    assert_eq!(run.status, 0, "{}{}", run.stdout, run.stderr);
}

#[test]
fn an_imported_log_of_a_mesh_passes_with_the_settings_of_the_mesh() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = json!({
        "start_time": "2026-11-21T13:23:18.058Z", "duration": 61_000, "protocol": "HTTP/1.1",
        "method": "GET", "authority": "shop.example.com", "path": "/export", "response_code": 200,
        "bytes_received": 0, "bytes_sent": 9, "response_flags": "-", "response_code_details": "via_upstream",
        "downstream_remote_address": "10.0.0.9:40000", "upstream_host": "10.0.1.7:8080",
    });
    let log = written(folder.path(), "access.log", &format!("{line}\n"));
    let trace = folder.path().join("day.jsonl").to_str().expect("UTF-8").to_owned();
    assert_eq!(run(["import", "envoy-log", "-o", &trace, &log]).status, 0);
    let configuration = written(folder.path(), "config.json", r#"{"version":1}"#);
    for (preset, status) in
        [("istio-sidecar", 0), ("istio-gateway", 0), ("envoy", 1), ("envoy-gateway", 1)]
    {
        let proxy = json!({ "proxy": { "preset": preset } }).to_string();
        let proxy = written(folder.path(), "proxy.json", &proxy);
        let run = replay(["--config", &configuration, "--proxy", &proxy, &trace]);
        assert_eq!(run.status, status, "{preset}: {}{}", run.stdout, run.stderr);
    }
}

#[test]
fn silence_longer_than_the_idle_timeout_ends_a_stream_with_longer_timeouts() {
    let configuration = json!({ "version": 1, "errors": {}, "routes": [
        { "name": "model", "match": { "path": { "prefix": "/v1/" } },
          "timeouts": { "request": "30m", "read": "25m" } }] });
    let trace = |status: u16, end: &str, at: &str| {
        format!(
            "{}\n{}",
            json!({ "at": "0s", "id": "one", "request": { "path": "/v1/one" }, "upstream": { "after": "7m" },
                    "expect": { "status": status, "last_byte": at } }),
            json!({ "at": "0s", "id": "two", "request": { "path": "/v1/two" },
                    "upstream": { "body": [{ "text": "a" }, { "after": "7m", "text": "b" }] },
                    "expect": { "status": 200, "end": end, "last_byte": at } }),
        )
    };
    let cut = trace(504, "cut", "5m..5m1s");
    passes(&replay_with(&configuration, "{}", &cut, &[]));
    let whole = trace(200, "complete", "7m..7m1s");
    for raised in [r#"{"stream_idle_timeout":"10m"}"#, r#"{"proxy":{"route_idle_timeout":"0s"}}"#] {
        passes(&replay_with(&configuration, raised, &whole, &[]));
    }
}

#[test]
fn grpc_statuses_are_retried_and_the_headers_do_not_reach_the_upstream() {
    let configuration = json!({ "version": 1, "routes": [
        { "name": "rpc", "match": { "path": { "prefix": "/a.B/" } },
          "retry": { "on": ["resource-exhausted", "connect-failure"], "attempts": 3 } }] });
    let trace = format!(
        "{}\n{}",
        json!({ "at": "0s", "connection": "c", "open": { "protocol": "HTTP/2" } }),
        json!({ "at": "1s", "connection": "c",
                "request": { "method": "POST", "path": "/a.B/C", "headers": [["content-type", "application/grpc"]], "body": [{ "bytes": 5 }] },
                "upstream": [{ "headers": [["grpc-status", "8"]] }, { "end": "refused" },
                             { "body": [{ "bytes": 7 }], "trailers": [["grpc-status", "0"]] }],
                "expect": { "status": 200, "body_bytes": 7, "upstream": { "attempts": 3,
                    "absent": ["x-envoy-retry-grpc-on", "x-envoy-retry-on", "x-envoy-max-retries"] } } }),
    );
    passes(&replay_with(&configuration, "{}", &trace, &[]));
}

#[test]
fn policy_of_the_route_is_added_to_that_of_the_filter() {
    let configuration = json!({ "version": 1, "routes": [
        { "name": "pay", "match": { "path": { "prefix": "/pay" } }, "retry": { "on": ["connect-failure"], "attempts": 3 } },
        { "name": "once", "match": { "path": { "prefix": "/once" } }, "retry": { "on": ["connect-failure"], "attempts": 1 } }] });
    let trace = |pay: u32, once: u32| {
        [("/pay", pay), ("/once", once)]
            .map(|(path, attempts)| {
                json!({ "at": "0s", "request": { "method": "POST", "path": path, "body": [{ "text": "{}" }] },
                        "upstream": { "status": 503 }, "expect": { "upstream": { "attempts": attempts } } })
                .to_string()
            })
            .join("\n")
    };
    let policy = r#"{"proxy":{"preset":"istio-sidecar","retry_policy":{"retry_on":"retriable-status-codes","num_retries":2,"retriable_status_codes":[503]}}}"#;
    passes(&replay_with(&configuration, policy, &trace(3, 1), &[]));
    passes(&replay_with(&configuration, "{}", &trace(1, 1), &[]));
}

#[test]
fn h2c_offers_are_held_and_limited_like_other_requests() {
    let configuration = json!({ "version": 1, "report": { "header": true }, "routes": [
        { "name": "api", "match": { "path": { "prefix": "/" } },
          "buffering": { "request": "on", "max_bytes": 1024 } }] });
    let offer = |at: &str, bytes: usize, expect: Value| {
        json!({ "at": at, "connection": "java", "expect": expect,
                "request": { "method": "PUT", "body": [{ "bytes": bytes }],
                    "headers": [["connection", "Upgrade, HTTP2-Settings"], ["upgrade", "h2c"],
                                ["http2-settings", "AA"], ["content-length", bytes.to_string()]] } })
    };
    let trace = format!(
        "{}\n{}",
        offer(
            "0s",
            9,
            json!({ "status": 200, "closed": false, "decision": { "hold": true },
            "upstream": { "body_bytes": 9, "absent": ["upgrade", "http2-settings"] } })
        ),
        offer("1s", 4000, json!({ "status": 413 })),
    );
    passes(&replay_with(&configuration, "{}", &trace, &[]));
}

#[test]
fn what_is_not_simulated_is_a_warning_with_its_line() {
    let trace = "{\"at\":\"0s\",\"connection\":\"c\",\"open\":{\"protocol\":\"HTTP/3\"}}\n\n{\"at\":\"0s\",\"connection\":\"c\",\"request\":{},\"expect\":{\"status\":200}}";
    let configuration = json!({ "version": 1 });
    let table = replay_with(&configuration, "{}", trace, &[]);
    passes(&table);
    assert!(
        table.stderr.ends_with("day.jsonl:1: warning: HTTP/3 is simulated as HTTP/2\n"),
        "{}",
        table.stderr
    );
    assert!(
        table.stdout.contains("day.jsonl:1: warning: HTTP/3 is simulated as HTTP/2"),
        "{}",
        table.stdout
    );
    let json = replay_with(&configuration, "{}", trace, &["--format", "json"]);
    let report: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(
        report["replays"][0]["warnings"],
        json!([{ "line": 1, "text": "HTTP/3 is simulated as HTTP/2" }])
    );
}

#[test]
fn mistakes_in_the_file_are_one_sentence() {
    let trace = r#"{"at":"0s","request":{}}"#;
    for (proxy, mistake) in [
        ("", "line: is not valid JSON"),
        (
            r#"{"preset":"kong"}"#,
            r#"preset: unknown preset "kong"; known presets: envoy, istio-sidecar"#,
        ),
        (
            r#"{"proxy":{"version":"2"}}"#,
            r#"proxy.version: unknown version "2"; known versions: 1.37"#,
        ),
        (
            r#"{"proxy":{"timeout":"1s"}}"#,
            "proxy.timeout: unknown field `timeout`; expected one of `preset`",
        ),
        (r#"{"clusters":"etcd"}"#, r#"clusters: found "etcd"; expected a list"#),
        (r#"{"at":"1s","clusters":[]}"#, "at: is not the start"),
    ] {
        let run = replay_with(&json!({ "version": 1 }), proxy, trace, &[]);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{proxy}");
        assert!(run.stderr.contains(&format!("proxy.json: {mistake}")), "{proxy}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}
