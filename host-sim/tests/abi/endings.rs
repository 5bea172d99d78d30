//! How exchanges end in a replay: what the client gets, what the filter can learn of it, and what the report says. What is
//! Envoy's own here was measured on Envoy 1.40.

use sha2::{Digest, Sha256};
use sluice_sim::Profile;
use sluice_sim::replay::{ExchangeReport, Options, Report, replay};
use sluice_sim::trace::{EndedBy, Outcome, Trace};

use crate::guest::{compile, on};

/// Logs what the filter can read of the response's details, in one line.
fn look() -> String {
    let read = |name: &str, say: &str| {
        format!(
            r#"(if (call $get_property @"response\0{name}" @p @n)
                (then (drop (call $log (i32.const 2) @"none"))) (else {say}))"#
        )
    };
    let number = "(call $say (i32.load (i32.load @p)))";
    read("code_details", "(call $told)") + &read("flags", number) + &read("code", number)
}

/// Reports a JSON object; a quote in it is written `\'`.
fn tell(object: &str) -> String {
    format!(
        r#"(drop (call $call_foreign_function @"tell" @"{object}" (i32.const 0) (i32.const 0)))"#
    )
}

fn run<T>(profile: Profile, guest: &str, trace: &str, judge: impl FnOnce(&Report<'_>) -> T) -> T {
    let module = compile(guest);
    let trace = Trace::parse("test", trace).expect("a good trace");
    let options = Options {
        profile,
        configuration: Some(Vec::new()),
        decisions: Some("tell".to_owned()),
        hash_bodies: true,
        ..Options::default()
    };
    judge(&replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay"))
}

/// One request to an upstream that does this: how it ended, and what the filter read at the head and at the end.
fn ending(profile: Profile, request: &str, upstream: &str) -> (Ending, Vec<String>) {
    let trace = format!(r#"{{"at":"0s","request":{request},"upstream":{upstream}}}"#);
    let guest = on("response_headers", &look()) + &on("log", &look());
    run(profile, &guest, &trace, |report| {
        let said = report.log.iter().map(|line| line.text.clone());
        (Ending::of(&report.exchanges[0]), said.collect())
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
fn under_envoy_each_failure_has_its_status_text_details_and_flags() {
    use Outcome::{Complete, Cut};
    let refusal = "upstream connect error or disconnect/reset before headers.";
    let limits = r#"{"headers":[["x-envoy-upstream-rq-timeout-ms","2000"],["x-envoy-upstream-rq-per-try-timeout-ms","500"]]}"#;
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
            limits,
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
        let text = if body.starts_with(' ') { format!("{refusal}{body}") } else { body.into() };
        let (ended, said) = ending(Profile::Envoy, request, upstream);
        assert_eq!(ended, Ending::new(status, &text, end, by), "{upstream}");
        let at_the_end = [details, &flags.to_string(), &status.to_string()];
        assert_eq!(said[3..], at_the_end, "{upstream}");
        if end == Complete {
            assert_eq!(said[..3], at_the_end, "{upstream}");
        } else {
            assert_eq!(said[..3], ["via_upstream", "0", "200"], "{upstream}");
        }
    }
}

#[test]
fn under_envoy_a_grpc_client_gets_a_failure_in_grpcs_way_and_the_filter_reads_what_it_was() {
    let request = r#"{"method":"POST","headers":[["content-type","application/grpc"]]}"#;
    let trace = format!(r#"{{"at":"0s","request":{request},"upstream":{{"end":"refused"}}}}"#);
    run(Profile::Envoy, &on("response_headers", &look()), &trace, |report| {
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
fn a_generic_host_says_nothing_of_who_answered() {
    let (ended, said) = ending(Profile::Generic, "{}", r#"{"end":"refused"}"#);
    assert_eq!(ended, Ending::new(502, "", Outcome::Complete, EndedBy::Proxy));
    assert_eq!(said, ["none", "none", "502", "none", "none", "502"]);
}

/// A client that leaves before its answer and one that leaves within it, on connections of their own.
const LEAVING: &str = r#"
    {"at":"0s","connection":"a","request":{},"upstream":{"after":"9s"}}
    {"at":"1s","connection":"a","close":"client"}
    {"at":"2s","connection":"b","request":{},"upstream":{"body":[{"after":"1s","text":"x","times":9}]}}
    {"at":"4s","connection":"b","close":"client"}"#;

#[test]
fn under_envoy_a_client_that_leaves_is_in_the_details() {
    run(Profile::Envoy, &on("log", &look()), LEAVING, |report| {
        let said: Vec<_> = report.log.iter().map(|line| line.text.as_str()).collect();
        let left = "downstream_remote_disconnect";
        assert_eq!(said, [left, "16384", "none", left, "16384", "200"]);
        let by: Vec<_> = report.exchanges.iter().map(|exchange| exchange.ended_by).collect();
        assert_eq!(by, [Some(EndedBy::Client); 2]);
    });
}

/// What a filter says in the last callback of a stream comes too late for everything but the report.
#[test]
fn what_a_filter_tells_at_the_very_end_is_in_the_report() {
    let guest = on("request_headers", &tell(r"{\'route\':\'a\',\'reason\':\'not_yet\'}"))
        + &on("log", &tell(r"{\'reason\':\'told_late\'}"));
    let ends = [
        r#"{"at":"9s","request":{}}"#,
        r#"{"at":"9s","request":{},"upstream":{"end":"refused"}}"#,
        r#"{"at":"9s","request":{},"upstream":{"status":200,"body":[{"text":"x"}],"end":"reset"}}"#,
    ];
    for profile in [Profile::Envoy, Profile::Generic] {
        run(profile, &guest, &[LEAVING, &ends.join("\n")].join("\n"), |report| {
            assert_eq!(report.exchanges.len(), 5);
            for exchange in &report.exchanges {
                assert_eq!(exchange.reason.as_deref(), Some("told_late"), "{exchange:?}");
                assert_eq!(exchange.route.as_deref(), Some("a"));
                assert_eq!(exchange.decisions.len(), 2);
            }
        });
    }
}

#[test]
fn an_exchange_that_nothing_ended_has_nobody_who_did() {
    let trace = r#"{"at":"0s","request":{},"upstream":{"end":"never"},"expect":{"end":"open","ended_by":"proxy"}}"#;
    run(Profile::Generic, &on("log", &tell(r"{\'reason\':\'late\'}")), trace, |report| {
        let exchange = &report.exchanges[0];
        assert_eq!((exchange.ended_by, exchange.reason.as_deref()), (None, None));
        let failures: Vec<_> = report.failures().collect();
        let [(1, _, failure)] = failures[..] else { panic!("{failures:?}") };
        assert_eq!((failure.field.as_str(), failure.got.as_str()), ("ended_by", "nothing"));
    });
}

/// Answers or resets the second context in the tick that comes after half a second.
fn at_a_tick(act: &str) -> String {
    on("configure", "(drop (call $set_tick_period_milliseconds (i32.const 1000)))")
        + &on("tick", &format!("(drop (call $set_effective_context (i32.const 2))) {act}"))
        + &on("log", &(look() + &tell(r"{\'reason\':\'gap\'}")))
}

const ANSWER: &str =
    r#"(drop (call $send_local_response (i32.const 504) @"" @"late" @"" (i32.const -1)))"#;
const RESET: &str = "(drop (call $close_stream (i32.const 1)))";

#[test]
fn a_filter_answers_or_resets_in_a_tick() {
    let silent = r#"{"at":"0s","request":{},"upstream":{"after":"9s"}}"#;
    let begun =
        r#"{"at":"0s","request":{},"upstream":{"body":[{"text":"x"},{"after":"9s","text":"y"}]}}"#;
    let ended = |trace: &str, act: &str| {
        run(Profile::Envoy, &at_a_tick(act), trace, |report| {
            let exchange = &report.exchanges[0];
            assert_eq!(exchange.reason.as_deref(), Some("gap"));
            assert!(exchange.last_byte.as_millis() <= 1000, "{exchange:?}");
            let said = report.log.iter().map(|line| line.text.clone());
            (Ending::of(exchange), said.collect::<Vec<_>>())
        })
    };
    let (end, said) = ended(silent, ANSWER);
    assert_eq!(end, Ending::new(504, "late", Outcome::Complete, EndedBy::Filter));
    assert_eq!(said, ["", "0", "504"]);
    let (end, said) = ended(silent, RESET);
    assert_eq!((end.status, end.end, end.by), (None, Outcome::Cut, Some(EndedBy::Filter)));
    assert_eq!(said, ["wasm_close_stream", "0", "none"]);
    let (end, said) = ended(begun, RESET);
    assert_eq!(end, Ending::new(200, "x", Outcome::Cut, EndedBy::Filter));
    assert_eq!(said, ["via_upstream", "0", "200"]);
    let (end, _) = ended(begun, ANSWER);
    assert_eq!(end, Ending::new(200, "x", Outcome::Cut, EndedBy::Filter));
}

#[test]
fn a_filter_that_breaks_is_the_proxys_to_answer_for() {
    let trace = r#"{"at":"0s","request":{}}"#;
    run(Profile::Envoy, &on("response_headers", "unreachable"), trace, |report| {
        let expected = Ending::new(503, "", Outcome::Complete, EndedBy::Proxy);
        assert_eq!(Ending::of(&report.exchanges[0]), expected);
    });
}
