//! How exchanges end in a replay: what the client receives, what the filter can read about it, and
//! what the report contains. The values for Envoy were measured on Envoy 1.40.

use sha2::{Digest, Sha256};
use sluice_sim::Profile;
use sluice_sim::replay::{ExchangeReport, Options, Report, replay};
use sluice_sim::trace::{EndedBy, Outcome, Trace};

use crate::guest::{compile, on};

/// Logs the response details that the filter can read.
fn log_details() -> String {
    let read = |name: &str, found: &str| {
        format!(
            r#"(if (call $get_property @"response\0{name}" @p @n)
                (then (drop (call $log (i32.const 2) @"none"))) (else {found}))"#
        )
    };
    let number = "(call $log_number (i32.load (i32.load @p)))";
    read("code_details", "(call $log_bytes)") + &read("flags", number) + &read("code", number)
}

/// Reports a JSON object as a decision; a quote in it is written `\'`.
fn report_decision(object: &str) -> String {
    format!(
        r#"(drop (call $call_foreign_function @"report" @"{object}" (i32.const 0) (i32.const 0)))"#
    )
}

fn run<T>(profile: Profile, guest: &str, trace: &str, judge: impl FnOnce(&Report) -> T) -> T {
    let module = compile(guest);
    let trace = Trace::parse("test", trace).expect("a valid trace");
    let options = Options::new(profile)
        .with_configuration("")
        .with_decision_function("report")
        .with_hash_bodies(true);
    judge(&replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay"))
}

/// Replays one request to an upstream. Returns how it ended, and what the filter read in
/// `on_response_headers` and in `on_log`.
fn ending(profile: Profile, request: &str, upstream: &str) -> (Ending, Vec<String>) {
    // The client is internal, so that the proxy keeps its headers for the router.
    let proxy = r#"{"use_remote_address":true,"internal_addresses":["127.0.0.1"]}"#;
    let trace = format!(
        "{{\"at\":\"0s\",\"proxy\":{proxy}}}\n{{\"at\":\"0s\",\"request\":{request},\"upstream\":{upstream}}}"
    );
    let guest = on("response_headers", &log_details()) + &on("log", &log_details());
    run(profile, &guest, &trace, |report| {
        let logged = report.log.iter().map(|line| line.text.clone());
        (Ending::of(&report.exchanges[0]), logged.collect())
    })
}

#[derive(Debug, PartialEq)]
struct Ending {
    status: Option<u16>,
    body: String,
    end: Outcome,
    by: Option<EndedBy>,
}

impl Ending {
    fn of(exchange: &ExchangeReport<'_>) -> Self {
        let body = exchange.body_sha256.clone().expect("all bodies are hashed");
        Self { status: exchange.status, body, end: exchange.end, by: exchange.ended_by }
    }

    fn new(status: u16, body: &str, end: Outcome, by: EndedBy) -> Self {
        let digest = Sha256::digest(body.as_bytes());
        let body = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { status: Some(status), body, end, by: Some(by) }
    }
}

const RETRIES: &str =
    r#"{"headers":[["x-envoy-retry-on","reset,gateway-error"],["x-envoy-max-retries","1"]]}"#;

#[test]
fn envoy_failures_have_their_status_text_details_and_flags() {
    use Outcome::{Complete, Cut};
    let prefix = "upstream connect error or disconnect/reset before headers.";
    let timeouts = r#"{"headers":[["x-envoy-upstream-rq-timeout-ms","2000"],["x-envoy-upstream-rq-per-try-timeout-ms","500"]]}"#;
    for (request, upstream, (status, body, end, by), details, flags) in [
        ("{}", r#"{"status":503}"#, (503, "", Complete, EndedBy::Upstream), "via_upstream", 0),
        (
            "{}",
            r#"{"end":"refused"}"#,
            (503, " reset reason: remote connection failure", Complete, EndedBy::Proxy),
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            0x20,
        ),
        (
            "{}",
            r#"{"end":"refused_stream"}"#,
            (503, " reset reason: remote refused stream reset", Complete, EndedBy::Proxy),
            "upstream_reset_before_response_started{remote_refused_stream_reset}",
            0x10,
        ),
        (
            "{}",
            r#"{"end":"reset"}"#,
            (503, " reset reason: connection termination", Complete, EndedBy::Proxy),
            "upstream_reset_before_response_started{connection_termination}",
            0x40,
        ),
        (
            "{}",
            r#"{"end":"reset_in_header"}"#,
            (502, " reset reason: protocol error", Complete, EndedBy::Proxy),
            "upstream_reset_before_response_started{protocol_error}",
            0x80_0000,
        ),
        (
            "{}",
            r#"{"end":"never"}"#,
            (504, "upstream request timeout", Complete, EndedBy::Proxy),
            "response_timeout",
            0x4,
        ),
        (
            timeouts,
            r#"{"end":"never"}"#,
            (504, "upstream request timeout", Complete, EndedBy::Proxy),
            "upstream_per_try_timeout",
            0x4,
        ),
        (
            RETRIES,
            r#"{"end":"reset"}"#,
            (
                503,
                " retried and the latest reset reason: connection termination",
                Complete,
                EndedBy::Proxy,
            ),
            "upstream_reset_before_response_started{connection_termination}",
            0x8040,
        ),
        (
            RETRIES,
            r#"{"status":503}"#,
            (503, "", Complete, EndedBy::Upstream),
            "via_upstream",
            0x8000,
        ),
        (
            "{}",
            r#"{"status":200,"body":[{"text":"half"}],"end":"reset"}"#,
            (200, "half", Cut, EndedBy::Upstream),
            "upstream_reset_after_response_started{protocol_error}",
            0x80_0000,
        ),
        (
            "{}",
            r#"{"status":200,"body":[{"text":"half"}],"end":"never"}"#,
            (200, "half", Cut, EndedBy::Proxy),
            "response_timeout",
            0x4,
        ),
    ] {
        let text = if body.starts_with(' ') { format!("{prefix}{body}") } else { body.into() };
        let (ended, logged) = ending(Profile::Envoy, request, upstream);
        assert_eq!(ended, Ending::new(status, &text, end, by), "{upstream}");
        let at_the_end = [details, &flags.to_string(), &status.to_string()];
        assert_eq!(logged[3..], at_the_end, "{upstream}");
        if end == Complete {
            assert_eq!(logged[..3], at_the_end, "{upstream}");
        } else {
            assert_eq!(logged[..3], ["via_upstream", "0", "200"], "{upstream}");
        }
    }
}

#[test]
fn envoy_sends_failures_to_grpc_clients_as_grpc_status() {
    let request = r#"{"method":"POST","headers":[["content-type","application/grpc"]]}"#;
    let trace = format!(r#"{{"at":"0s","request":{request},"upstream":{{"end":"refused"}}}}"#);
    run(Profile::Envoy, &on("response_headers", &log_details()), &trace, |report| {
        let exchange = &report.exchanges[0];
        let header = |name: &str| exchange.headers.text(name);
        assert_eq!((exchange.status, exchange.body_bytes), (Some(200), 0));
        assert_eq!(header("grpc-status"), Some("14"));
        let message = header("grpc-message").unwrap();
        assert!(message.ends_with("reset reason: remote connection failure"), "{message}");
        assert_eq!(header("content-length"), None);
        assert_eq!(report.log[2].text, "503");
    });
}

#[test]
fn generic_host_has_no_response_details() {
    let (ended, logged) = ending(Profile::Generic, "{}", r#"{"end":"refused"}"#);
    assert_eq!(ended, Ending::new(502, "", Outcome::Complete, EndedBy::Proxy));
    assert_eq!(logged, ["none", "none", "502", "none", "none", "502"]);
}

/// One client that closes its connection before the response and one that closes it within the
/// response.
const CLIENTS_CLOSE: &str = r#"
    {"at":"0s","connection":"a","request":{},"upstream":{"after":"9s"}}
    {"at":"1s","connection":"a","close":"client"}
    {"at":"2s","connection":"b","request":{},"upstream":{"body":[{"after":"1s","text":"x","times":9}]}}
    {"at":"4s","connection":"b","close":"client"}"#;

#[test]
fn envoy_details_report_a_client_disconnect() {
    run(Profile::Envoy, &on("log", &log_details()), CLIENTS_CLOSE, |report| {
        let logged: Vec<_> = report.log.iter().map(|line| line.text.as_str()).collect();
        let details = "downstream_remote_disconnect";
        assert_eq!(logged, [details, "16384", "none", details, "16384", "200"]);
        let by: Vec<_> = report.exchanges.iter().map(|exchange| exchange.ended_by).collect();
        assert_eq!(by, [Some(EndedBy::Client); 2]);
    });
}

/// The last callback of a stream is too late for everything except the report.
#[test]
fn decision_in_the_last_callback_is_in_the_report() {
    let guest =
        on("request_headers", &report_decision(r"{\'route\':\'a\',\'reason\':\'not_yet\'}"))
            + &on("log", &report_decision(r"{\'reason\':\'late\'}"));
    let ends = [
        r#"{"at":"9s","request":{}}"#,
        r#"{"at":"9s","request":{},"upstream":{"end":"refused"}}"#,
        r#"{"at":"9s","request":{},"upstream":{"status":200,"body":[{"text":"x"}],"end":"reset"}}"#,
    ];
    for profile in [Profile::Envoy, Profile::Generic] {
        run(profile, &guest, &[CLIENTS_CLOSE, &ends.join("\n")].join("\n"), |report| {
            assert_eq!(report.exchanges.len(), 5);
            for exchange in &report.exchanges {
                assert_eq!(exchange.reason.as_deref(), Some("late"), "{exchange:?}");
                assert_eq!(exchange.route.as_deref(), Some("a"));
                assert_eq!(exchange.decisions.len(), 2);
            }
        });
    }
}

#[test]
fn open_exchange_has_no_ended_by() {
    let trace = r#"{"at":"0s","request":{},"upstream":{"end":"never"},"expect":{"end":"open","ended_by":"proxy"}}"#;
    run(
        Profile::Generic,
        &on("log", &report_decision(r"{\'reason\':\'late\'}")),
        trace,
        |report| {
            let exchange = &report.exchanges[0];
            assert_eq!((exchange.ended_by, exchange.reason.as_deref()), (None, None));
            let failures: Vec<_> = report.failures().collect();
            let [(1, _, failure)] = failures[..] else { panic!("{failures:?}") };
            assert_eq!((failure.field.as_str(), failure.got.as_str()), ("ended_by", "nothing"));
        },
    );
}

/// Sends a local reply or a reset for the second context, in the tick after 500 ms.
fn act_in_tick(act: &str) -> String {
    on("configure", "(drop (call $set_tick_period_milliseconds (i32.const 1000)))")
        + &on("tick", &format!("(drop (call $set_effective_context (i32.const 2))) {act}"))
        + &on("log", &(log_details() + &report_decision(r"{\'reason\':\'gap\'}")))
}

const REPLY: &str =
    r#"(drop (call $send_local_response (i32.const 504) @"" @"late" @"" (i32.const -1)))"#;
const RESET: &str = "(drop (call $close_stream (i32.const 1)))";

#[test]
fn filter_can_reply_or_reset_in_a_tick() {
    let silent = r#"{"at":"0s","request":{},"upstream":{"after":"9s"}}"#;
    let started =
        r#"{"at":"0s","request":{},"upstream":{"body":[{"text":"x"},{"after":"9s","text":"y"}]}}"#;
    let ended = |trace: &str, act: &str| {
        run(Profile::Envoy, &act_in_tick(act), trace, |report| {
            let exchange = &report.exchanges[0];
            assert_eq!(exchange.reason.as_deref(), Some("gap"));
            assert!(exchange.last_byte.as_millis() <= 1000, "{exchange:?}");
            let logged = report.log.iter().map(|line| line.text.clone());
            (Ending::of(exchange), logged.collect::<Vec<_>>())
        })
    };
    let (end, logged) = ended(silent, REPLY);
    assert_eq!(end, Ending::new(504, "late", Outcome::Complete, EndedBy::Filter));
    assert_eq!(logged, ["", "0", "504"]);
    let (end, logged) = ended(silent, RESET);
    assert_eq!((end.status, end.end, end.by), (None, Outcome::Cut, Some(EndedBy::Filter)));
    assert_eq!(logged, ["wasm_close_stream", "0", "none"]);
    let (end, logged) = ended(started, RESET);
    assert_eq!(end, Ending::new(200, "x", Outcome::Cut, EndedBy::Filter));
    assert_eq!(logged, ["via_upstream", "0", "200"]);
    let (end, _) = ended(started, REPLY);
    assert_eq!(end, Ending::new(200, "x", Outcome::Cut, EndedBy::Filter));
}

#[test]
fn crash_of_the_filter_is_ended_by_the_proxy() {
    let trace = r#"{"at":"0s","request":{}}"#;
    run(Profile::Envoy, &on("response_headers", "unreachable"), trace, |report| {
        let expected = Ending::new(503, "", Outcome::Complete, EndedBy::Proxy);
        assert_eq!(Ending::of(&report.exchanges[0]), expected);
    });
}

#[test]
fn local_400_closes_an_http1_connection_in_envoy() {
    let closed = |profile: Profile, status: u32, protocol: &str| {
        let guest = on(
            "request_headers",
            &format!(
                r#"(drop (call $send_local_response (i32.const {status}) @"" @"no" @"" (i32.const -1)))"#
            ),
        );
        let trace = format!(
            "{{\"at\":\"0s\",\"connection\":\"c\",\"open\":{{\"protocol\":\"{protocol}\"}}}}\n{{\"at\":\"0s\",\"connection\":\"c\",\"request\":{{}}}}"
        );
        run(profile, &guest, &trace, |report| report.exchanges[0].closed)
    };
    assert!(closed(Profile::Envoy, 400, "HTTP/1.1"));
    assert!(!closed(Profile::Envoy, 404, "HTTP/1.1"));
    assert!(!closed(Profile::Envoy, 400, "HTTP/2"));
    assert!(!closed(Profile::Generic, 400, "HTTP/1.1"));
}
