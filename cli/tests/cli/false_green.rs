//! Runs that check nothing, or whose filter does not work, never pass.

use std::fs;

use serde_json::Value;

use sluice_test_kit::program::{Run, run};

/// A callback of two, three or more parameters; its result is the last one.
fn callback(name: &str, parameters: usize, has_result: bool, body: &str) -> String {
    let parameters = "i32 ".repeat(parameters);
    let result = if has_result { "(result i32)" } else { "" };
    format!(r#"(func (export "proxy_on_{name}") (param {parameters}) {result} {body})"#)
}

/// Replays `trace` with a guest that has `callbacks`.
fn replayed(callbacks: &str, trace: &str, arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        r#"(module
            (import "env" "proxy_set_tick_period_milliseconds"
              (func $set_tick_period (param i32) (result i32)))
            (import "env" "proxy_define_metric" (func $define_metric (param i32 i32 i32 i32)
              (result i32)))
            (import "env" "proxy_get_metric" (func $get_metric (param i32 i32) (result i32)))
            (import "env" "proxy_increment_metric" (func $increment_metric (param i32 i64)
              (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "configured")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024)
            {callbacks})"#
    );
    let wasm = wat::parse_str(text).expect("valid WebAssembly text");
    let (module, file) = (folder.path().join("guest.wasm"), folder.path().join("day.jsonl"));
    fs::write(&module, wasm).expect("a file");
    fs::write(&file, trace).expect("a file");
    let [module, file] = [&module, &file].map(|path| path.to_str().expect("UTF-8"));
    let filter = match arguments.contains(&"--without-filter") {
        true => Vec::new(),
        false => vec!["--wasm", module],
    };
    run(["replay"].into_iter().chain(filter).chain(arguments.iter().copied()).chain([file]))
}

/// A request with these expectations.
fn request(expect: &str) -> String {
    format!(r#"{{"at":"1s","connection":"c","request":{{}},"expect":{expect}}}"#)
}

/// As [`request`], to a proxy that never ends it.
fn endless_request(expect: &str) -> String {
    let proxy = r#"{"at":"0s","proxy":{"stream_idle_timeout":"0s"}}"#;
    format!("{proxy}\n{}", request(expect))
}

const CRASH: &str = "unreachable";

#[test]
fn an_unexpected_crash_fails_the_run_whatever_else_is_expected() {
    let tick = callback(
        "configure",
        2,
        true,
        "(call $set_tick_period (i32.const 100)) drop (i32.const 1)",
    ) + &callback("tick", 1, false, CRASH);
    for (name, guest, line) in [
        ("request_headers", callback("request_headers", 3, true, CRASH), "day.jsonl:1: "),
        ("response_headers", callback("response_headers", 3, true, CRASH), "day.jsonl:1: "),
        ("log", callback("log", 1, false, CRASH), "day.jsonl:1: "),
        ("delete", callback("delete", 1, false, CRASH), "day.jsonl:1: "),
        ("tick", tick, "day.jsonl: "),
    ] {
        let run = replayed(&guest, &request(r#"{"upstream":{"attempts":1}}"#), &[]);
        assert_eq!((run.status, run.stderr.as_str()), (1, ""), "{name}: {}", run.stdout);
        let sentence = run.words();
        assert!(sentence.contains("expected no crash"), "{name}: {sentence}");
        assert!(sentence.contains(line), "{sentence}");
        assert!(sentence.contains(&format!("proxy_on_{name}")), "{sentence}");
        assert!(sentence.contains(r#"write "expect":{"trap":true}"#), "{sentence}");
        assert!(run.stdout.contains(" problem"), "{}", run.stdout);
    }
}

#[test]
fn a_crash_that_the_trace_expects_passes() {
    let guest = callback("request_headers", 3, true, CRASH);
    for (expect, status) in [
        (r#"{"status":503,"trap":true}"#, 0),
        (r#"{"trap":"unreachable"}"#, 0),
        (r#"{"trap":"proxy_on_request_headers"}"#, 0),
        (r#"{"trap":"proxy_on_request_body"}"#, 1),
        (r#"{"trap":false}"#, 1),
        (r#"{"status":503}"#, 1),
    ] {
        let run = replayed(&guest, &request(expect), &[]);
        assert_eq!(run.status, status, "{expect}: {}", run.stdout);
    }
    let final_callback = callback("log", 1, false, CRASH);
    let run = replayed(&final_callback, &request(r#"{"trap":true}"#), &[]);
    assert_eq!(run.status, 0, "{}", run.stdout);
    let run = replayed("", &request(r#"{"status":200,"trap":true}"#), &[]);
    assert_eq!(run.status, 1, "no crash: {}", run.stdout);
    assert!(run.stdout.contains("expected trap a crash, got no crash"), "{}", run.stdout);
}

#[test]
fn a_crash_outside_of_exchanges_can_be_expected_with_the_configuration() {
    let tick = callback(
        "configure",
        2,
        true,
        "(call $set_tick_period (i32.const 100)) drop (i32.const 1)",
    ) + &callback("tick", 1, false, CRASH);
    let configure = callback("configure", 2, true, CRASH);
    for (guest, expect, status) in [
        (&tick, r#"{"trap":true}"#, 0),
        (&tick, r#"{"accepted":true,"trap":"proxy_on_tick"}"#, 0),
        (&tick, r#"{"trap":"proxy_on_configure"}"#, 1),
        (&tick, r#"{"accepted":true}"#, 1),
        (&configure, r#"{"trap":true}"#, 0),
        (&configure, r#"{"accepted":false,"trap":true}"#, 0),
        (&configure, r#"{"accepted":true,"trap":true}"#, 1),
        (&configure, r#"{"accepted":false}"#, 1),
    ] {
        let trace = format!(
            "{{\"at\":\"0s\",\"configure\":{{}},\"expect\":{expect}}}\n{{\"at\":\"2s\",\"clock\":\"2026-01-01T00:00:00Z\"}}\n"
        );
        let run = replayed(guest, &trace, &[]);
        assert_eq!(run.status, status, "{expect}: {}{}", run.stdout, run.stderr);
    }
}

#[test]
fn the_report_lists_crashes() {
    let guest = callback("request_headers", 3, true, CRASH);
    let run = replayed(&guest, &request("{}"), &["--format", "json"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((run.status, &report["failed"]), (1, &Value::from(1)));
    let trap = &report["replays"][0]["traps"][0];
    assert_eq!(trap["line"], 1);
    assert_eq!(trap["at"], 1_000_000_000);
    assert_eq!(trap["callback"], "proxy_on_request_headers");
    assert_eq!(trap["expected"], false);
    assert!(trap["message"].as_str().is_some_and(|text| text.contains("unreachable")), "{trap}");
    assert_eq!(report["replays"][0]["problems"][0]["line"], 1);
}

#[test]
fn a_filter_for_tcp_in_an_http_trace_is_bad_input() {
    let guest = callback("new_connection", 1, true, "i32.const 0")
        + &callback("downstream_data", 3, true, "i32.const 0");
    let run = replayed(&guest, &request(r#"{"status":200}"#), &[]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(
        run.stderr.contains("day.jsonl:1: request: the module has callbacks for TCP"),
        "{run:?}"
    );
    let both = guest + &callback("request_headers", 3, true, "i32.const 0");
    assert_eq!(replayed(&both, &request(r#"{"status":200}"#), &[]).status, 0);
}

#[test]
fn a_trace_that_can_check_nothing_is_bad_input() {
    for trace in [
        "",
        "\n\n",
        r#"{"at":"0s","connection":"c","open":{}}"#,
        r#"{"at":"0s","clock":"2026-01-01T00:00:00Z"}"#,
    ] {
        for arguments in [&[][..], &["--without-filter"], &["--report-only"]] {
            let run = replayed("", trace, arguments);
            assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{trace}");
            assert!(run.stderr.contains("day.jsonl: found no request, configure or"), "{run:?}");
        }
    }
}

#[test]
fn a_run_without_expectations_is_a_report_and_not_a_success() {
    let trace = r#"{"at":"0s","request":{}}"#;
    let run = replayed("", trace, &[]);
    assert_eq!(run.status, 2, "{}", run.stdout);
    assert!(run.stdout.contains("1 exchange, "), "the report is printed: {}", run.stdout);
    assert!(run.stderr.contains("found no expectation"), "{}", run.stderr);
    let run = replayed("", trace, &["--report-only"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    let crash = callback("request_headers", 3, true, CRASH);
    assert_eq!(replayed(&crash, trace, &["--report-only"]).status, 1);
    assert_eq!(replayed(&crash, trace, &[]).status, 1);
}

#[test]
fn an_expectation_about_the_filter_fails_if_no_filter_handled_the_exchange() {
    for expect in [r#"{"route":""}"#, r#"{"decision":{"body":null}}"#, r#"{"reason":""}"#] {
        for arguments in [&[][..], &["--without-filter"]] {
            let run = replayed("", &request(expect), arguments);
            assert_eq!(run.status, 1, "{expect}: {}", run.stdout);
            assert!(run.words().contains("no filter reported a decision"), "{}", run.stdout);
        }
    }
    let trace = r#"{"at":"0s","configure":{},"expect":{"accepted":true}}"#;
    let run = replayed("", trace, &["--without-filter"]);
    assert_eq!(run.status, 1, "{}", run.stdout);
}

#[test]
fn a_metric_that_nobody_defined_has_no_value() {
    let guest = callback(
        "configure",
        2,
        true,
        "(call $define_metric (i32.const 0) (i32.const 16) (i32.const 10) (i32.const 0)) drop (i32.const 1)",
    );
    let metrics = |expect: &str| format!(r#"{{"at":"1s","metrics":{{{expect}}}}}"#);
    for (expect, status) in [
        (r#""configured":0"#, 0),
        (r#""configured":1"#, 1),
        (r#""configured":null"#, 1),
        (r#""other":0"#, 1),
        (r#""other":null"#, 0),
    ] {
        let run = replayed(&guest, &metrics(expect), &[]);
        assert_eq!(run.status, status, "{expect}: {}", run.stdout);
    }
    let run = replayed("", &metrics(r#""other":0"#), &["--without-filter"]);
    assert!(run.stdout.contains("expected other 0, got no such metric"), "{}", run.stdout);
}

#[test]
fn a_request_that_was_never_sent_fails() {
    let trace = [
        r#"{"at":"0s","proxy":{"route_timeout":"0s","stream_idle_timeout":"0s"}}"#,
        r#"{"at":"0s","connection":"c","request":{},"upstream":{"status":200,"end":"never"},"expect":{"status":200}}"#,
        r#"{"at":"1s","connection":"c","request":{},"expect":{"closed":false,"upstream":{"attempts":0}}}"#,
    ]
    .join("\n");
    let pauses = callback("request_headers", 3, true, "i32.const 1");
    let run = replayed(&pauses, &endless_request(r#"{"upstream":{"attempts":0}}"#), &[]);
    assert_eq!(run.status, 1, "an exchange that never ends: {}", run.stdout);
    assert!(run.words().contains("open at the end of the trace"), "{}", run.stdout);
    let run =
        replayed(&pauses, &endless_request(r#"{"end":"open","upstream":{"attempts":0}}"#), &[]);
    assert_eq!(run.status, 0, "{}", run.stdout);
    let run = replayed(&pauses, &trace.replace(r#""status":200,"end":"never""#, ""), &[]);
    assert_eq!(run.status, 1, "{}", run.stdout);
    assert!(run.words().contains("expected request to be sent"), "{}", run.stdout);
}

#[test]
fn nothing_is_absent_from_a_response_that_never_came() {
    let pauses = callback("request_headers", 3, true, "i32.const 1");
    for (expect, got) in [
        (r#"{"end":"open","absent":["x-a"]}"#, "got no response"),
        (r#"{"end":"open","upstream":{"absent":["x-a"]}}"#, "got no request"),
        (r#"{"end":"open","upstream":{"body_bytes":0}}"#, "got nothing"),
        (r#"{"end":"open","last_byte":">=1s"}"#, "got nothing"),
    ] {
        let run = replayed(&pauses, &endless_request(expect), &[]);
        assert_eq!(run.status, 1, "{expect}: {}", run.stdout);
        assert!(run.words().contains(got), "{expect}: {}", run.stdout);
    }
}

/// The guest counts its configurations in a metric, which all VMs share; the first one is that of
/// the main thread.
fn in_workers(body: &str) -> String {
    let count = format!(
        "(drop (call $define_metric (i32.const 0) (i32.const 16) (i32.const 10) (i32.const 0)))
         (drop (call $increment_metric (i32.load (i32.const 0)) (i64.const 1)))
         (drop (call $get_metric (i32.load (i32.const 0)) (i32.const 8)))
         (if (i64.gt_u (i64.load (i32.const 8)) (i64.const 1)) (then {body}))
         (i32.const 1)"
    );
    callback("configure", 2, true, &count)
}

#[test]
fn a_configuration_that_only_a_worker_refuses_fails_the_run() {
    let trace = request(r#"{"upstream":{"attempts":1}}"#);
    let run = replayed(&in_workers("(return (i32.const 0))"), &trace, &[]);
    assert_eq!(run.status, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.words().contains("worker 0: proxy_on_configure refused"), "{}", run.stdout);
    // A worker that crashes whenever it starts is not started forever.
    let run = replayed(&in_workers(CRASH), &request(r#"{"status":503}"#), &["--workers", "1"]);
    assert_eq!(run.status, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.words().contains("expected no crash"), "{}", run.stdout);
    assert!(run.stdout.contains("1 expectations met"), "{}", run.stdout);
}

#[test]
fn a_plugin_that_refuses_to_start_is_bad_input_unless_the_trace_says_so() {
    for name in ["vm_start", "configure"] {
        let guest = callback(name, 2, true, "i32.const 0");
        let run = replayed(&guest, &request(r#"{"status":200}"#), &[]);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{name}");
        assert!(run.stderr.contains(&format!("proxy_on_{name} refused")), "{}", run.stderr);
        for (expect, status) in [("", 1), (r#","expect":{"accepted":false}"#, 0)] {
            let trace = format!(r#"{{"at":"0s","configure":{{}}{expect}}}"#);
            assert_eq!(replayed(&guest, &trace, &[]).status, status, "{name} {expect}");
        }
    }
}
