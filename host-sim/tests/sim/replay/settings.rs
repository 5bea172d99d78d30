//! The settings of the proxy: timeouts, retries and what it does with requests before filters. The
//! results were measured on Envoy 1.40; `tests/traces/conformance` compares them again.

use std::time::Duration;

use sluice_sim::Profile;
use sluice_sim::replay::{ExchangeReport, Options, Report, replay};
use sluice_sim::trace::{Outcome, Trace};

/// Replays the lines after a setup with this proxy.
fn run<T>(proxy: &str, lines: &str, look: impl FnOnce(&Report) -> T) -> T {
    let text = format!("{{\"at\":\"0s\",\"proxy\":{proxy}}}\n{lines}");
    let trace = Trace::parse("test", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let options = Options::new(Profile::Envoy).with_hash_bodies(true);
    look(&replay(None, &trace, &options, &mut |_| {}).expect("a replay"))
}

/// Replays one exchange.
fn exchange<T>(proxy: &str, exchange: &str, look: impl FnOnce(&ExchangeReport<'_>) -> T) -> T {
    run(proxy, &format!(r#"{{"at":"0s",{exchange}}}"#), |report| look(&report.exchanges[0]))
}

/// The status, how the exchange ended, and when, in milliseconds.
fn ending(proxy: &str, text: &str) -> (Option<u16>, Outcome, u64) {
    exchange(proxy, text, |found| (found.status, found.end, found.last_byte.as_millis() as u64))
}

/// The status and the number of attempts.
fn attempts(proxy: &str, text: &str) -> (u16, u32) {
    exchange(proxy, text, |found| (found.status.unwrap_or_default(), found.upstream.attempts))
}

const SILENT: &str = r#""request":{},"upstream":{"end":"never"}"#;

#[test]
fn route_timeout_replaces_the_default_and_0s_disables_it() {
    assert_eq!(ending("{}", SILENT), (Some(504), Outcome::Complete, 15_000));
    let two = r#"{"route_timeout":"2s"}"#;
    assert_eq!(ending(two, SILENT), (Some(504), Outcome::Complete, 2000));
    let slow = r#""request":{},"upstream":{"after":"40s"}"#;
    assert_eq!(ending(two, slow), (Some(504), Outcome::Complete, 2000));
    let none = r#"{"route_timeout":"0s"}"#;
    assert_eq!(ending(none, slow), (Some(200), Outcome::Complete, 40_000));
    assert_eq!(
        ending(r#"{"preset":"istio-sidecar"}"#, slow),
        (Some(200), Outcome::Complete, 40_000)
    );
    assert_eq!(
        ending(r#"{"preset":"envoy-gateway"}"#, slow),
        (Some(504), Outcome::Complete, 15_000)
    );
}

#[test]
fn deadline_of_a_grpc_client_replaces_the_timeout_if_the_route_permits_it() {
    let call = |timeout: &str| {
        format!(
            r#""request":{{"method":"POST","headers":[["content-type","application/grpc"]{timeout}],"body":[{{"bytes":5}}]}},"upstream":{{"end":"never"}}"#
        )
    };
    let ends = |proxy: &str, timeout: &str| ending(proxy, &call(timeout)).2;
    let half = r#",["grpc-timeout","500m"]"#;
    let any = r#"{"max_grpc_timeout":"0s","route_timeout":"2s"}"#;
    assert_eq!(ends(any, half), 500);
    assert_eq!(ends(any, r#",["grpc-timeout","800000u"]"#), 800);
    assert_eq!(ends(any, ""), 300_000, "no timeout but the idle timeout");
    assert_eq!(ends(any, r#",["grpc-timeout","abc"]"#), 300_000);
    let second = r#"{"max_grpc_timeout":"1s","route_timeout":"2s"}"#;
    assert_eq!(ends(second, r#",["grpc-timeout","5S"]"#), 1000);
    assert_eq!(ends(second, ""), 1000);
    assert_eq!(ends(r#"{"route_timeout":"2s"}"#, half), 2000);
    assert_eq!(ends(r#"{"preset":"istio-gateway"}"#, half), 500);
}

#[test]
fn idle_timeout_ends_silent_requests_streams_and_uploads() {
    let idle = r#"{"route_timeout":"0s","stream_idle_timeout":"1s"}"#;
    assert_eq!(ending(idle, SILENT), (Some(504), Outcome::Complete, 1000));
    let pause = r#""request":{},"upstream":{"body":[{"text":"a"},{"after":"1500ms","text":"b"}]}"#;
    assert_eq!(ending(idle, pause), (Some(200), Outcome::Cut, 1000));
    let slow = r#""request":{},"upstream":{"body":[{"after":"900ms","text":"a","times":5}]}"#;
    assert_eq!(ending(idle, slow), (Some(200), Outcome::Complete, 4500));
    let upload = r#""request":{"method":"POST","body":[{"text":"a"},{"after":"2s","text":"b"}]}"#;
    assert_eq!(ending(idle, upload), (Some(408), Outcome::Complete, 1000));
    let default = r#"{"route_timeout":"0s"}"#;
    assert_eq!(ending(default, SILENT), (Some(504), Outcome::Complete, 300_000));
    let none = r#"{"route_timeout":"0s","stream_idle_timeout":"0s"}"#;
    let six = r#""request":{},"upstream":{"after":"6m"}"#;
    assert_eq!(ending(none, six), (Some(200), Outcome::Complete, 360_000));
}

#[test]
fn idle_timeout_of_the_route_replaces_that_of_the_connection_manager() {
    let both = r#"{"route_idle_timeout":"2s","stream_idle_timeout":"1s"}"#;
    assert_eq!(ending(both, SILENT), (Some(504), Outcome::Complete, 2000));
    let off = r#"{"route_idle_timeout":"0s","stream_idle_timeout":"1s"}"#;
    assert_eq!(ending(off, SILENT), (Some(504), Outcome::Complete, 15_000));
}

#[test]
fn retries_do_not_restart_the_idle_timeout() {
    let proxy = r#"{"stream_idle_timeout":"1s","retry_policy":{"retry_on":"5xx","num_retries":9,"per_try_timeout":"400ms","retry_back_off":{"base_interval":"1ms"}}}"#;
    exchange(proxy, SILENT, |found| {
        assert_eq!((found.status, found.upstream.attempts), (Some(504), 3));
        assert_eq!(found.last_byte, Duration::from_secs(1));
    });
}

#[test]
fn request_timeout_ends_slow_uploads_only() {
    let proxy = r#"{"request_timeout":"1s"}"#;
    let slow = r#""request":{"method":"POST","body":[{"after":"600ms","text":"a","times":2}]}"#;
    assert_eq!(ending(proxy, slow), (Some(408), Outcome::Complete, 1000));
    let quick = r#""request":{"method":"POST","body":[{"after":"400ms","text":"a","times":2}]},"upstream":{"after":"5s"}"#;
    assert_eq!(ending(proxy, quick), (Some(200), Outcome::Complete, 5800));
}

#[test]
fn stream_duration_ends_every_stream() {
    let proxy = r#"{"max_stream_duration":"1s"}"#;
    assert_eq!(ending(proxy, SILENT), (Some(504), Outcome::Complete, 1000));
    let stream = r#""request":{},"upstream":{"body":[{"after":"300ms","text":"a","times":9}]}"#;
    assert_eq!(ending(proxy, stream), (Some(200), Outcome::Cut, 1000));
    let upload = r#""request":{"method":"POST","body":[{"after":"300ms","text":"a","times":9}]}"#;
    assert_eq!(ending(proxy, upload), (Some(408), Outcome::Complete, 1000));
}

/// The SHA-256 of a body.
fn hash(text: &str) -> Option<String> {
    use sha2::{Digest, Sha256};
    Some(Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[test]
fn reply_of_envoy_1_37_names_the_transport_failure() {
    let refused = r#""request":{},"upstream":{"end":"refused"}"#;
    let body = |proxy: &str| exchange(proxy, refused, |found| found.body_sha256.clone());
    let text = "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
    let transport = ", transport failure reason: delayed connect error: Connection refused";
    assert_eq!(body(r#"{"version":"1.37"}"#), hash(&format!("{text}{transport}")));
    assert_eq!(body(r#"{"version":"1.39"}"#), hash(text));
    assert_eq!(body("{}"), hash(text));
}

#[test]
fn replies_of_stream_timeouts_have_their_text() {
    let body = |proxy: &str| exchange(proxy, SILENT, |found| found.body_sha256.clone());
    assert_eq!(body(r#"{"stream_idle_timeout":"1s"}"#), hash("stream timeout"));
    assert_eq!(body(r#"{"max_stream_duration":"1s"}"#), hash("downstream duration timeout"));
}

/// A policy with these words, one retry and these fields.
fn policy(on: &str, fields: &str) -> String {
    format!(
        r#"{{"retry_policy":{{"retry_on":"{on}"{fields},"retry_back_off":{{"base_interval":"1ms"}}}}}}"#
    )
}

#[test]
fn each_retry_condition_has_its_failures() {
    let upstreams = [
        ("500", r#"{"status":500}"#),
        ("503", r#"{"status":503}"#),
        ("409", r#"{"status":409}"#),
        ("429", r#"{"status":429}"#),
        ("limited", r#"{"status":429,"headers":[["x-envoy-ratelimited","true"]]}"#),
        ("header", r#"{"headers":[["x-again","1"]]}"#),
        ("refused", r#"{"end":"refused"}"#),
        ("refused stream", r#"{"end":"refused_stream"}"#),
        ("reset", r#"{"end":"reset"}"#),
        ("half", r#"{"end":"reset_in_header"}"#),
        ("silent", r#"{"end":"never"}"#),
        ("grpc 1", r#"{"headers":[["grpc-status","1"]]}"#),
        ("grpc 4", r#"{"headers":[["grpc-status","4"]]}"#),
        ("grpc 8", r#"{"headers":[["grpc-status","8"]]}"#),
        ("grpc 13", r#"{"headers":[["grpc-status","13"]]}"#),
        ("grpc 14", r#"{"headers":[["grpc-status","14"]]}"#),
        ("grpc 10", r#"{"headers":[["grpc-status","10"]]}"#),
    ];
    let resets = ["refused", "refused stream", "reset", "half", "silent"];
    for (on, retried) in [
        ("5xx", [&["500", "503"][..], &resets].concat()),
        ("gateway-error", [&["503"][..], &resets].concat()),
        ("reset", resets.to_vec()),
        ("reset-before-request", vec!["refused"]),
        ("connect-failure", vec!["refused"]),
        ("refused-stream", vec!["refused stream"]),
        ("envoy-ratelimited", vec!["limited"]),
        ("retriable-4xx", vec!["409"]),
        ("retriable-status-codes", vec!["429"]),
        ("retriable-headers", vec!["header"]),
        ("http3-post-connect-failure", vec![]),
        ("cancelled", vec!["grpc 1"]),
        ("deadline-exceeded", vec!["grpc 4"]),
        ("resource-exhausted", vec!["grpc 8"]),
        ("internal", vec!["grpc 13"]),
        ("unavailable", vec!["grpc 14"]),
        ("unavailable,retriable-4xx", vec!["409", "grpc 14"]),
    ] {
        let proxy = policy(
            on,
            r#","retriable_status_codes":[429],"retriable_headers":["x-again"],"per_try_timeout":"1s""#,
        );
        for (name, upstream) in upstreams {
            let text = format!(r#""request":{{}},"upstream":[{upstream},{{}}]"#);
            let (_, count) = attempts(&proxy, &text);
            assert_eq!(count == 2, retried.contains(&name), "{on} and {name}");
        }
    }
}

#[test]
fn fields_of_a_copied_retry_policy_are_accepted_or_warned_of() {
    let proxy = r#"{"retry_policy":{"retry_on":"retriable-headers","retriable_headers":[{"name":"x-again","present_match":true}],"retry_host_predicate":[{"name":"envoy.retry_host_predicates.previous_hosts"}],"host_selection_retry_max_attempts":5,"per_try_idle_timeout":"1s"}}"#;
    let text = r#"{"at":"0s","request":{},"upstream":[{"headers":[["x-again","1"]]},{}]}"#;
    run(proxy, text, |report| {
        assert_eq!(report.exchanges[0].upstream.attempts, 2);
        let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
        assert_eq!(warning.text, "proxy.retry_policy.per_try_idle_timeout is not simulated");
        assert_eq!(warning.line, Some(1));
    });
}

/// A client whose headers for the router the proxy keeps.
const INTERNAL: &str = r#""use_remote_address":true,"internal_addresses":["127.0.0.0/8"]"#;

#[test]
fn headers_are_added_to_the_policy_of_the_route() {
    let proxy = format!(
        r#"{{{INTERNAL},"retry_policy":{{"retry_on":["retriable-status-codes","unavailable"],"num_retries":2,"retriable_status_codes":[503]}}}}"#
    );
    let count = |headers: &str, upstream: &str| {
        let text = format!(r#""request":{{"headers":[{headers}]}},"upstream":{upstream}"#);
        attempts(&proxy, &text).1
    };
    let unavailable = r#"{"status":503}"#;
    assert_eq!(count("", unavailable), 3);
    assert_eq!(count(r#"["x-envoy-max-retries","1"]"#, unavailable), 2);
    let added = r#"["x-envoy-retry-on","connect-failure"],["x-envoy-max-retries","3"]"#;
    assert_eq!(count(added, unavailable), 4);
    let none = r#"["x-envoy-retry-on","connect-failure"],["x-envoy-max-retries","0"]"#;
    assert_eq!(count(none, unavailable), 1);
    let code = r#"["x-envoy-retriable-status-codes","429, 404"]"#;
    assert_eq!(count(code, r#"{"status":404}"#), 3, "without x-envoy-retry-on");
    let grpc = r#"["x-envoy-retry-grpc-on","cancelled"]"#;
    assert_eq!(count(grpc, r#"{"headers":[["grpc-status","1"]]}"#), 3);
}

#[test]
fn each_header_has_its_own_words() {
    let proxy = format!("{{{INTERNAL}}}");
    let run = |header: &str, upstream: &str| {
        let text = format!(
            r#"{{"at":"0s","request":{{"headers":[{header}]}},"upstream":[{upstream},{{}}]}}"#
        );
        run(&proxy, &text, |report| {
            let warnings = report.warnings.iter().map(|warning| warning.text.clone());
            (report.exchanges[0].upstream.attempts, warnings.collect::<Vec<_>>())
        })
    };
    let grpc = r#"{"headers":[["grpc-status","14"]]}"#;
    let (count, warnings) = run(r#"["x-envoy-retry-on","unavailable"]"#, grpc);
    assert_eq!(count, 1);
    assert_eq!(
        warnings,
        [r#"x-envoy-retry-on: "unavailable" is not a condition; Envoy ignores it"#]
    );
    let (count, warnings) = run(r#"["x-envoy-retry-grpc-on","unavailable"]"#, grpc);
    assert_eq!((count, warnings), (2, vec![]));
    let (_, warnings) = run(r#"["x-envoy-retry-on","http3-post-connect-failure"]"#, "{}");
    assert_eq!(warnings, ["http3-post-connect-failure: HTTP/3 upstreams are not simulated"]);
    let (_, warnings) = run(r#"["x-envoy-hedge-on-per-try-timeout","true"]"#, "{}");
    assert_eq!(
        warnings,
        ["x-envoy-hedge-on-per-try-timeout: the second attempt beside the first is not simulated"]
    );
}

#[test]
fn router_removes_its_headers_and_states_its_timeout() {
    let names = [
        "x-envoy-retry-on",
        "x-envoy-retry-grpc-on",
        "x-envoy-max-retries",
        "x-envoy-retriable-status-codes",
        "x-envoy-retriable-header-names",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-upstream-alt-stat-name",
        "x-envoy-upstream-rq-timeout-alt-response",
    ];
    let headers: Vec<String> = names.iter().map(|name| format!(r#"["{name}","700"]"#)).collect();
    let text = format!(
        r#""request":{{"headers":[{}]}},"expect":{{"upstream":{{"absent":{names:?},"headers":{{"x-envoy-expected-rq-timeout-ms":"700"}}}}}}"#,
        headers.join(",")
    );
    for proxy in [format!("{{{INTERNAL}}}"), r#"{"route_timeout":"700ms"}"#.to_owned()] {
        exchange(&proxy, &text, |found| assert_eq!(found.failures, [], "{proxy}"));
    }
}

#[test]
fn headers_for_the_router_from_an_external_client_have_no_effect() {
    let text = r#""request":{"headers":[["x-envoy-upstream-rq-timeout-ms","500"],["x-envoy-retry-on","5xx"]]},"upstream":{"status":503,"after":"2s"}"#;
    assert_eq!(attempts("{}", text), (503, 1));
    assert_eq!(attempts(r#"{"use_remote_address":true}"#, text), (503, 1));
    assert_eq!(attempts(&format!("{{{INTERNAL}}}"), text), (504, 1));
}

#[test]
fn expected_timeout_counts_if_the_router_respects_it() {
    let text = r#""request":{"headers":[["x-envoy-expected-rq-timeout-ms","900"],["x-envoy-upstream-rq-timeout-ms","700"]]},"upstream":{"end":"never"}"#;
    assert_eq!(ending(&format!("{{{INTERNAL}}}"), text).2, 700);
    let respects = format!(r#"{{{INTERNAL},"respect_expected_rq_timeout":true}}"#);
    assert_eq!(ending(&respects, text).2, 900);
    assert_eq!(ending(r#"{"respect_expected_rq_timeout":true}"#, text).2, 15_000, "external");
}

/// An exchange that offers an upgrade.
fn offer(protocol: &str, upstream: &str) -> String {
    format!(
        r#""request":{{"method":"POST","headers":[["connection","Upgrade, HTTP2-Settings"],["upgrade","{protocol}"],["http2-settings","AA"]],"body":[{{"text":"hello"}}]}},"upstream":{upstream}"#
    )
}

#[test]
fn proxy_upgrades_only_to_what_it_accepts() {
    let accepted = r#"{"status":101,"body":[{"text":"hi"}]}"#;
    let websocket = r#"{"upgrades":["websocket"]}"#;
    let seen = |proxy: &str, protocol: &str| {
        exchange(proxy, &offer(protocol, accepted), |found| {
            (found.status, found.upstream.attempts, found.closed)
        })
    };
    assert_eq!(seen("{}", "websocket"), (Some(403), 0, true));
    assert_eq!(seen(websocket, "WebSocket"), (Some(101), 1, false));
    assert_eq!(seen(websocket, "spdy"), (Some(403), 0, true));
    assert_eq!(seen(websocket, "h2c, websocket"), (Some(403), 0, true));
    assert_eq!(seen(r#"{"preset":"istio-gateway"}"#, "websocket"), (Some(101), 1, false));
}

#[test]
fn h2c_is_an_ordinary_request() {
    let text = offer("h2c", "{}")
        + r#","expect":{"status":200,"closed":false,"upstream":{"body_bytes":5,"absent":["upgrade","http2-settings","connection"]}}"#;
    for proxy in ["{}", r#"{"upgrades":["websocket"]}"#] {
        exchange(proxy, &text, |found| assert_eq!(found.failures, [], "{proxy}"));
    }
}

#[test]
fn client_that_asks_for_the_close_gets_it() {
    let closed = |headers: &str, protocol: &str| {
        let lines = format!(
            "{{\"at\":\"0s\",\"connection\":\"c\",\"open\":{{\"protocol\":\"{protocol}\"}}}}\n{{\"at\":\"0s\",\"connection\":\"c\",\"request\":{{\"headers\":[{headers}]}},\"upstream\":{{\"headers\":[[\"content-length\",\"2\"]],\"body\":[{{\"text\":\"ok\"}}]}}}}"
        );
        run(r#"{"http10":true}"#, &lines, |report| report.exchanges[0].closed)
    };
    assert!(closed(r#"["connection","close"]"#, "HTTP/1.1"));
    assert!(closed(r#"["connection","x-a, Close"],["x-a","1"]"#, "HTTP/1.1"));
    assert!(!closed(r#"["connection","keep-alive"]"#, "HTTP/1.1"));
    assert!(closed("", "HTTP/1.0"));
    assert!(!closed(r#"["connection","keep-alive"]"#, "HTTP/1.0"));
}

#[test]
fn http10_needs_a_setting_and_cannot_keep_a_body_without_length() {
    let lines = |upstream: &str| {
        format!(
            "{}\n{{\"at\":\"0s\",\"connection\":\"c\",\"request\":{{\"headers\":[[\"connection\",\"keep-alive\"]]}},\"upstream\":{upstream}}}",
            r#"{"at":"0s","connection":"c","open":{"protocol":"HTTP/1.0"}}"#
        )
    };
    let chunked = lines(r#"{"body":[{"text":"ok"}]}"#);
    let seen = |proxy: &str| {
        run(proxy, &chunked, |report| (report.exchanges[0].status, report.exchanges[0].closed))
    };
    assert_eq!(seen("{}"), (Some(426), true));
    assert_eq!(seen(r#"{"http10":true}"#), (Some(200), true));
}

#[test]
fn path_and_host_are_rewritten_before_the_upstream() {
    let expect = |proxy: &str, path: &str, host: &str| {
        let text = format!(
            r#""request":{{"path":"//a/./b","authority":"example.com.:80"}},"expect":{{"upstream":{{"headers":{{":path":"{path}",":authority":"{host}"}}}}}}"#
        );
        exchange(proxy, &text, |found| assert_eq!(found.failures, [], "{proxy}"));
    };
    expect("{}", "//a/./b", "example.com.:80");
    expect(r#"{"normalize_path":true}"#, "//a/b", "example.com.:80");
    expect(r#"{"merge_slashes":true}"#, "/a/./b", "example.com.:80");
    expect(r#"{"strip_trailing_host_dot":true}"#, "//a/./b", "example.com:80");
    expect(r#"{"preset":"envoy-gateway"}"#, "/a/b", "example.com.:80");
    let nul = r#""request":{"path":"/a%00"}"#;
    assert_eq!(attempts(r#"{"normalize_path":true}"#, nul), (400, 0));
    assert_eq!(attempts("{}", nul), (200, 1));
}

#[test]
fn escaped_slashes_and_underscores_follow_their_actions() {
    let proxy = |slashes: &str, underscores: &str| {
        format!(
            r#"{{"path_with_escaped_slashes_action":"{slashes}","headers_with_underscores_action":"{underscores}"}}"#
        )
    };
    let slash = r#""request":{"path":"/a%2Fb?c"},"expect":{"headers":{"location":"/a/b?c"},"closed":false,"upstream":{"attempts":0}}"#;
    exchange(&proxy("UNESCAPE_AND_REDIRECT", "ALLOW"), slash, |found| {
        assert_eq!((found.status, &*found.failures), (Some(307), &[][..]));
    });
    assert_eq!(attempts(&proxy("REJECT_REQUEST", "ALLOW"), slash), (400, 0));
    let underscore =
        r#""request":{"headers":[["x_a","1"]]},"expect":{"upstream":{"absent":["x_a"]}}"#;
    assert_eq!(attempts(&proxy("KEEP_UNCHANGED", "REJECT_REQUEST"), underscore), (400, 0));
    assert_eq!(attempts(r#"{"preset":"envoy-gateway"}"#, underscore), (400, 0));
    exchange(&proxy("KEEP_UNCHANGED", "DROP_HEADER"), underscore, |found| {
        assert_eq!((found.status, &*found.failures), (Some(200), &[][..]));
    });
    let http2 = concat!(
        r#"{"at":"0s","connection":"c","open":{"protocol":"HTTP/2"}}"#,
        "\n",
        r#"{"at":"0s","connection":"c","request":{"headers":[["x_a","1"]]}}"#
    );
    run(r#"{"preset":"envoy-gateway"}"#, http2, |report| {
        assert_eq!((report.exchanges[0].status, report.exchanges[0].end), (None, Outcome::Cut));
    });
}

#[test]
fn edge_proxy_adds_the_address_of_the_client() {
    let lines = |headers: &str, expect: &str| {
        format!(
            "{}\n{{\"at\":\"0s\",\"connection\":\"c\",\"request\":{{\"headers\":[{headers}]}},\"expect\":{{\"upstream\":{expect}}}}}",
            r#"{"at":"0s","connection":"c","open":{"source":"192.0.2.9:4711"}}"#
        )
    };
    let holds = |proxy: &str, headers: &str, expect: &str| {
        run(proxy, &lines(headers, expect), |report| {
            assert_eq!(report.exchanges[0].failures, [], "{proxy} {headers}");
        });
    };
    let edge = r#"{"use_remote_address":true}"#;
    let spoofed = r#"["x-forwarded-for","10.0.0.1"],["x-envoy-external-address","10.0.0.1"],["x-envoy-original-path","/x"]"#;
    holds(
        edge,
        spoofed,
        r#"{"headers":{"x-forwarded-for":"10.0.0.1,192.0.2.9","x-envoy-external-address":"192.0.2.9"},"absent":["x-envoy-original-path","x-envoy-internal"]}"#,
    );
    holds(
        "{}",
        spoofed,
        r#"{"headers":{"x-forwarded-for":"10.0.0.1","x-envoy-original-path":"/x"}}"#,
    );
    let internal = r#"{"use_remote_address":true,"internal_addresses":["192.0.2.0/24"]}"#;
    holds(internal, "", r#"{"headers":{"x-envoy-internal":"true","x-forwarded-for":"192.0.2.9"}}"#);
}

#[test]
fn buffer_limit_decides_whether_a_body_can_be_retried() {
    let text =
        r#""request":{"method":"POST","body":[{"bytes":2000}]},"upstream":[{"status":503},{}]"#;
    let proxy =
        |limit: u32| format!(r#"{{"buffer_limit":{limit},"retry_policy":{{"retry_on":"5xx"}}}}"#);
    assert_eq!(attempts(&proxy(4096), text), (200, 2));
    assert_eq!(attempts(&proxy(1024), text), (503, 1));
}

#[test]
fn http3_and_settings_without_a_proxy_are_warned_of() {
    let lines = concat!(
        r#"{"at":"0s","connection":"a","open":{"protocol":"HTTP/3"}}"#,
        "\n",
        r#"{"at":"0s","connection":"b","open":{"protocol":"HTTP/3"}}"#,
        "\n",
        r#"{"at":"0s","connection":"b","request":{}}"#
    );
    run("{}", lines, |report| {
        let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
        assert_eq!((warning.line, &*warning.text), (Some(2), "HTTP/3 is simulated as HTTP/2"));
    });
    let text = "{\"at\":\"0s\",\"proxy\":{}}\n{\"at\":\"0s\",\"request\":{}}";
    let trace = Trace::parse("test", text).expect("a valid trace");
    let generic = Options::new(Profile::Generic);
    let report = replay(None, &trace, &generic, &mut |_| {}).expect("a replay");
    assert_eq!(report.warnings[0].line, Some(1));
}
