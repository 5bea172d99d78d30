//! The plugin's calls in a replay: what the guest receives for each response of a trace. The
//! results for Envoy were measured on Envoy 1.40; `tests/tests/envoy/host_calls/` runs both hosts.

use sluice_sim::Profile;
use sluice_sim::replay::{Options, replay};
use sluice_sim::trace::Trace;

use crate::guest::{compile, on};

/// Logs the callback, its numbers, and what the guest can read in it.
fn callbacks() -> String {
    let map = |kind: u32, name: &str| {
        format!(
            r#"(if (i32.eqz (call $get_header_map_value (i32.const {kind}) @"{name}" @p @n))
                 (then (call $log_bytes)))"#
        )
    };
    let status = r#"(drop (call $get_status (i32.const 24) @p @n))
        (call $log_number (i32.load (i32.const 24))) (call $log_bytes)"#;
    let number = |name: &str| format!("(call $log_number (local.get ${name}))");
    let text = |text: &str| format!(r#"(drop (call $log (i32.const 2) @"{text}"))"#);
    let body = |kind: u32| {
        format!(
            "(drop (call $get_buffer_bytes (i32.const {kind}) (i32.const 0) (i32.const 99) @p @n))
             (call $log_bytes)"
        )
    };
    on(
        "http_call_response",
        &(text("response")
            + &number("c")
            + &map(6, ":status")
            + &map(6, "x-envoy-upstream-service-time")
            + &body(4)
            + &map(7, "t")),
    ) + &on("grpc_receive_initial_metadata", &(text("initial") + &number("c")))
        + &on("grpc_receive", &(text("message") + &body(5)))
        + &on("grpc_receive_trailing_metadata", &(text("trailing") + &number("c") + &map(5, "t")))
        + &on("grpc_close", &(text("close") + status))
}

const HTTP: &str = r#"(drop (call $http_call @"auth" @{:method: GET, :path: /, :authority: a} @""
    @"" (i32.const 500) @p))"#;
const UNARY: &str =
    r#"(drop (call $grpc_call @"auth" @"s" @"m" @"" @"question" (i32.const 500) @p))"#;
const STREAM: &str = r#"(drop (call $grpc_stream @"auth" @"s" @"m" @"" @p))
    (drop (call $grpc_send (i32.load @p) @"question" (i32.const 1)))"#;

/// What the guest logs after this call, if the cluster responds like this.
fn logged(profile: Profile, call: &str, respond: &str) -> Vec<String> {
    let guest = on("request_headers", call) + &callbacks();
    let trace = format!(
        "{{\"at\":\"0s\",\"clusters\":[\"auth\"]}}\n\
         {{\"at\":\"0s\",\"cluster\":\"auth\",\"respond\":{respond}}}\n\
         {{\"at\":\"1s\",\"request\":{{}}}}"
    );
    let trace = Trace::parse("test", &trace).expect("a valid trace");
    let options = Options::new(profile).with_configuration("");
    let module = compile(&guest);
    let report = replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay");
    report.log.iter().map(|line| line.text.clone()).collect()
}

#[test]
fn response_of_an_http_call_has_the_time_that_it_took() {
    let respond = r#"{"after":"7ms","status":404,"headers":[["x-a","1"]],"body":{"hex":"00ff"},"trailers":[["t","u"]]}"#;
    let body = String::from_utf8_lossy(b"\0\xff").into_owned();
    let expected = ["response", "3", "404", "7", &body, "u"];
    assert_eq!(logged(Profile::Envoy, HTTP, respond), expected);
    let expected = ["response", "2", "404", &body, "u"];
    assert_eq!(logged(Profile::Generic, HTTP, respond), expected);
}

#[test]
fn envoy_replies_to_an_http_call_that_fails() {
    let reset = "upstream connect error or disconnect/reset before headers. reset reason: ";
    for (respond, status, body) in [
        (r#"{"end":"refused"}"#, "503", format!("{reset}remote connection failure")),
        (r#"{"end":"reset"}"#, "503", format!("{reset}connection termination")),
        (r#"{"end":"reset_in_header"}"#, "502", format!("{reset}protocol error")),
        (r#"{"end":"never"}"#, "504", "upstream request timeout".into()),
        (r#"{"after":"501ms"}"#, "504", "upstream request timeout".into()),
    ] {
        let expected = ["response", "3", status, &body];
        assert_eq!(logged(Profile::Envoy, HTTP, respond), expected, "{respond}");
    }
    for respond in [r#"{"status":200,"end":"reset"}"#, r#"{"status":200,"end":"never"}"#] {
        assert_eq!(logged(Profile::Envoy, HTTP, respond), ["response", "0", ""], "{respond}");
    }
}

#[test]
fn unary_call_ends_with_a_message_or_a_status() {
    let upstream = "via_upstream";
    for (respond, expected) in [
        (r#"{"messages":["a"]}"#, &["message", "a"][..]),
        (r#"{"messages":["a","b"]}"#, &["message", "b"]),
        (r#"{"messages":[""]}"#, &["message", ""]),
        (r#"{"body":{"hex":"000000000161"},"trailers":[["grpc-status","0"]]}"#, &["message", "a"]),
        (r#"{"messages":[]}"#, &["close", "13", ""]),
        (r#"{}"#, &["close", "2", upstream]),
        (r#"{"messages":["a"],"trailers":[]}"#, &["close", "2", upstream]),
        (r#"{"messages":["a"],"trailers":[["x","y"]]}"#, &["close", "2", upstream]),
        (
            r#"{"messages":["a"],"trailers":[["grpc-status","7"],["grpc-message","no%20way"]]}"#,
            &["close", "7", "no%20way{via_upstream}"],
        ),
        (
            r#"{"headers":[["grpc-status","5"],["grpc-message","x"]]}"#,
            &["close", "5", "x{via_upstream}"],
        ),
        (r#"{"headers":[["grpc-status","0"]]}"#, &["close", "13", ""]),
        (r#"{"trailers":[["grpc-status","abc"]]}"#, &["close", "4294967295", upstream]),
        (r#"{"trailers":[["grpc-status","77"]]}"#, &["close", "4294967295", upstream]),
        (r#"{"status":503,"body":"x"}"#, &["close", "14", upstream]),
        (r#"{"status":404}"#, &["close", "12", upstream]),
        (
            r#"{"status":500,"headers":[["grpc-status","9"],["grpc-message","m"]]}"#,
            &["close", "9", "m{via_upstream}"],
        ),
        (r#"{"body":"<html>"}"#, &["close", "13", upstream]),
        (
            r#"{"body":{"hex":"010000000178"},"trailers":[["grpc-status","0"]]}"#,
            &["close", "13", upstream],
        ),
        (
            r#"{"body":{"hex":"00000000056865"},"trailers":[["grpc-status","0"]]}"#,
            &["close", "13", ""],
        ),
        (r#"{"status":200,"end":"never"}"#, &["close", "13", "response_timeout"]),
        (
            r#"{"status":200,"end":"reset"}"#,
            &["close", "13", "upstream_reset_after_response_started{connection_termination}"],
        ),
        (r#"{"end":"never"}"#, &["close", "14", "upstream request timeout{response_timeout}"]),
        (
            r#"{"end":"reset"}"#,
            &[
                "close",
                "14",
                "upstream connect error or disconnect/reset before headers. reset reason: connection termination{upstream_reset_before_response_started{connection_termination}}",
            ],
        ),
        (
            r#"{"end":"refused_stream"}"#,
            &[
                "close",
                "14",
                "upstream connect error or disconnect/reset before headers. reset reason: remote refused stream reset{upstream_reset_before_response_started{remote_refused_stream_reset}}",
            ],
        ),
        (
            r#"{"end":"refused"}"#,
            &[
                "close",
                "14",
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure{upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}}",
            ],
        ),
    ] {
        assert_eq!(logged(Profile::Envoy, UNARY, respond), expected, "{respond}");
    }
}

#[test]
fn stream_delivers_metadata_messages_and_status() {
    for (respond, expected) in [
        (
            r#"{"messages":["a","b"],"trailers":[["grpc-status","5"],["grpc-message","m"],["t","u"]]}"#,
            &[
                "initial",
                "2",
                "message",
                "a",
                "message",
                "b",
                "trailing",
                "3",
                "u",
                "close",
                "5",
                "m{via_upstream}",
            ][..],
        ),
        (
            r#"{"headers":[["grpc-status","7"],["t","u"]]}"#,
            &["initial", "0", "trailing", "4", "u", "close", "7", "via_upstream"],
        ),
        (
            r#"{"status":503,"body":"x"}"#,
            &["initial", "0", "trailing", "0", "close", "14", "via_upstream"],
        ),
        (
            r#"{"messages":["a"],"trailers":[]}"#,
            &["initial", "2", "message", "a", "trailing", "0", "close", "2", "via_upstream"],
        ),
        (r#"{}"#, &["initial", "0", "trailing", "2", "close", "2", "via_upstream"]),
    ] {
        assert_eq!(logged(Profile::Envoy, STREAM, respond), expected, "{respond}");
    }
}

#[test]
fn calls_to_clusters_that_do_not_exist_are_rejected_at_once() {
    let report = |call: &str| on("request_headers", &format!("(call $log_number {call})"));
    let calls = [
        (
            r#"(call $http_call @"none" @{:method: GET, :path: /, :authority: a} @"" @"" (i32.const 1) @p)"#,
            "2",
        ),
        (r#"(call $grpc_call @"none" @"s" @"m" @"" @"" (i32.const 1) @p)"#, "4"),
    ];
    for (call, status) in calls {
        let trace = Trace::parse("test", r#"{"at":"0s","request":{}}"#).expect("a valid trace");
        let options = Options::new(Profile::Envoy).with_configuration("");
        let module = compile(&report(call));
        let report = replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay");
        assert_eq!(report.log[0].text, status, "{call}");
    }
}
