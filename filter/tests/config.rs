//! The errors and warnings of the configuration, word by word.

use serde_json::json;
use sluice_filter::config::MAX_DOCUMENT;
use sluice_filter::load;
use sluice_filter::proxy_settings::{ProxySettings, ProxyTimeout, proxy_warnings};

/// The error for `document`.
fn refusal(document: &[u8]) -> String {
    match load(document) {
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(document)),
        Err(error) => error.to_string(),
    }
}

fn accepted(document: &str) -> Vec<String> {
    match load(document.as_bytes()) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(error) => panic!("{document}\nrefused: {error}"),
    }
}

/// A document with a route `a` that has these fields.
fn route(text: &str) -> String {
    format!(r#"{{"version":1,"routes":[{{"name":"a",{text}}}]}}"#)
}

fn with_drain(state: &str) -> String {
    format!(r#"{{"version":1,"routes":[{{"name":"a"}}],"drain":{{"state":{state}}}}}"#)
}

#[test]
fn errors_in_the_document_name_what_was_expected() {
    let cases: [(&[u8], &str); 12] = [
        (
            b"",
            "configuration: found no text, expected JSON; the smallest configuration is {\"version\":1}",
        ),
        (
            b" \n\t",
            "configuration: found no text, expected JSON; the smallest configuration is {\"version\":1}",
        ),
        (b"version: 1", "configuration: not valid JSON at line 1, column 1: expected value"),
        (
            b"{\"version\":1,\n}",
            "configuration: not valid JSON at line 2, column 1: trailing comma",
        ),
        (
            b"{\"version\":1",
            "configuration: not valid JSON at line 1, column 12: EOF while parsing an object",
        ),
        (
            b"{\"version\":1}}",
            "configuration: not valid JSON at line 1, column 14: trailing characters",
        ),
        (
            b"{\"version\":\xff1}",
            "configuration: found invalid UTF-8 at byte 11, expected JSON text",
        ),
        (b"[]", "configuration: found an array, expected an object"),
        (b"{}", "version: missing, expected 1, the only version of this format"),
        (
            b"{\"version\":2,\"new\":{}}",
            "version: found 2, expected 1, the only version of this format",
        ),
        (
            b"{\"version\":\"1\"}",
            "version: found \"1\", expected 1, the only version of this format",
        ),
        (b"{\"version\":1,\"version\":1}", "version: found twice in one object, expected once"),
    ];
    for (document, message) in cases {
        assert_eq!(refusal(document), message);
    }
}

#[test]
fn documents_over_the_limit_are_refused_unread() {
    let document = vec![b' '; 10 * 1024 * 1024];
    let message = format!("configuration: found 10485760 bytes, expected at most {MAX_DOCUMENT}");
    assert_eq!(refusal(&document), message);
}

#[test]
fn deep_nesting_is_refused_without_a_stack_overflow() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let document = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let message = refusal(document.as_bytes());
        assert!(message.ends_with("recursion limit exceeded"), "{message}");
    }
}

#[test]
fn errors_in_a_route_name_the_route_and_the_place() {
    let cases = [
        (
            r#""timeouts":{"request":"10"}"#,
            r#"routes[0] "a": timeouts.request: found "10", expected a duration with a unit; write "10s""#,
        ),
        (
            r#""timeouts":{"request":10}"#,
            r#"routes[0] "a": timeouts.request: found 10, expected a duration with a unit, such as "10s" or "250ms"; write "10s""#,
        ),
        (
            r#""timeouts":{"request":"10x"}"#,
            r#"routes[0] "a": timeouts.request: found "10x" with the unit "x", expected ms, s, m or h"#,
        ),
        (
            r#""timeouts":{"request":"1s1m"}"#,
            r#"routes[0] "a": timeouts.request: found "1s1m", expected each unit once, the longest first, such as "1m30s""#,
        ),
        (
            r#""timeouts":{"request":"1.5s"}"#,
            r#"routes[0] "a": timeouts.request: found "1.5s", expected whole numbers, each with a unit, such as "1m30s""#,
        ),
        (
            r#""timeouts":{"request":"-1s"}"#,
            r#"routes[0] "a": timeouts.request: found "-1s", expected a duration with a unit, such as "10s" or "250ms""#,
        ),
        (
            r#""timeouts":{"request":""}"#,
            r#"routes[0] "a": timeouts.request: found "", expected a duration with a unit, such as "10s" or "250ms""#,
        ),
        (
            r#""timeouts":{"request":"25h"}"#,
            r#"routes[0] "a": timeouts.request: found "25h", expected a duration from 0s to 24h"#,
        ),
        (
            r#""timeouts":{"request":"99999999999999999999h"}"#,
            r#"routes[0] "a": timeouts.request: found "99999999999999999999h", expected a duration from 0s to 24h"#,
        ),
        (
            r#""timeouts":{"connect":"1s"}"#,
            r#"routes[0] "a": timeouts.connect: found a connect timeout, which a filter cannot enforce; set connect_timeout on the cluster"#,
        ),
        (
            r#""timeouts":{"idle":"1s"}"#,
            r#"routes[0] "a": timeouts.idle: unknown field, expected one of request, per_try, read, send, first_event, event_gap, ignore_events"#,
        ),
        (
            r#""timeouts":{"request":"1s","request":"2s"}"#,
            r#"routes[0] "a": timeouts.request: found twice in one object, expected once"#,
        ),
        (r#""timeouts":null"#, r#"routes[0] "a": timeouts: found null, expected an object"#),
        (
            r#""colour":1"#,
            r#"routes[0] "a": colour: unknown field, expected one of name, match, buffering, timeouts, retry, drain"#,
        ),
        (
            r#""buffering":"maybe""#,
            r#"routes[0] "a": buffering: found "maybe", expected one of on, off, auto"#,
        ),
        (
            r#""buffering":true"#,
            r#"routes[0] "a": buffering: found true, expected an object, or the value of its field response"#,
        ),
        (
            r#""buffering":{"request":"auto"}"#,
            r#"routes[0] "a": buffering.request: found "auto", expected one of on, off"#,
        ),
        (
            r#""buffering":{"max_bytes":16777217}"#,
            r#"routes[0] "a": buffering.max_bytes: found 16777217, expected 1 to 16777216 bytes (16 MiB)"#,
        ),
        (
            r#""buffering":{"max_bytes":0}"#,
            r#"routes[0] "a": buffering.max_bytes: found 0, expected 1 to 16777216 bytes (16 MiB)"#,
        ),
        (
            r#""buffering":{"max_bytes":-1}"#,
            r#"routes[0] "a": buffering.max_bytes: found -1, expected 1 to 16777216 bytes (16 MiB)"#,
        ),
        (
            r#""buffering":{"max_bytes":1e3}"#,
            r#"routes[0] "a": buffering.max_bytes: found a number that is fractional or too large, expected 1 to 16777216 bytes (16 MiB)"#,
        ),
        (
            r#""buffering":{"max_bytes":"1k"}"#,
            r#"routes[0] "a": buffering.max_bytes: found "1k", expected 1 to 16777216 bytes (16 MiB)"#,
        ),
        (
            r#""retry":{"on":["reset"],"attempts":0}"#,
            r#"routes[0] "a": retry.attempts: found 0, expected 1 to 10 attempts, the first included"#,
        ),
        (
            r#""retry":{"on":["reset"],"attempts":11}"#,
            r#"routes[0] "a": retry.attempts: found 11, expected 1 to 10 attempts, the first included"#,
        ),
        (
            r#""retry":{"on":[],"attempts":2}"#,
            r#"routes[0] "a": retry.on: found an empty array, expected an array with at least one item"#,
        ),
        (
            r#""retry":{"attempts":2}"#,
            r#"routes[0] "a": retry.on: missing, expected an array with at least one item"#,
        ),
        (
            r#""retry":{"on":["reset"]}"#,
            r#"routes[0] "a": retry.attempts: missing, expected 1 to 10 attempts, the first included"#,
        ),
        (
            r#""drain":"finish""#,
            r#"routes[0] "a": drain.within: missing, expected how long a stream may last after its connection is due, such as "60s""#,
        ),
        (
            r#""drain":"end""#,
            r#"routes[0] "a": drain: found "end", expected one of wait, cut, finish"#,
        ),
        (
            r#""drain":{"within":"60s"}"#,
            r#"routes[0] "a": drain.streams: missing, expected wait, cut or finish"#,
        ),
        (
            r#""drain":{"streams":"cut","within":"60s"}"#,
            r#"routes[0] "a": drain.within: found with streams that have no bound; write "streams": "finish""#,
        ),
        (
            r#""drain":{"streams":"cut","close_code":1001}"#,
            r#"routes[0] "a": drain.close_code: found with streams that end no WebSocket; write "streams": "finish""#,
        ),
        (
            r#""drain":{"streams":"wait","last_event":"data: x\n\n"}"#,
            r#"routes[0] "a": drain.last_event: found with "streams": "wait", which ends no stream; write "cut" or "finish""#,
        ),
        (
            r#""drain":{"streams":"finish","within":"60s","close_code":999}"#,
            r#"routes[0] "a": drain.close_code: found 999, expected a code from 1000 to 4999 that a Close frame may carry (not 1004, 1005, 1006 or 1015)"#,
        ),
        (
            r#""drain":{"streams":"finish","within":"60s","close_code":5000}"#,
            r#"routes[0] "a": drain.close_code: found 5000, expected a code from 1000 to 4999 that a Close frame may carry (not 1004, 1005, 1006 or 1015)"#,
        ),
        (
            r#""drain":{"streams":"finish","within":"60s","close_code":1006}"#,
            r#"routes[0] "a": drain.close_code: found 1006, expected a code from 1000 to 4999 that a Close frame may carry (not 1004, 1005, 1006 or 1015)"#,
        ),
        (r#""retry":"no""#, r#"routes[0] "a": retry: found "no", expected an object, or "off""#),
        (
            r#""retry":{"on":["retriable-status-codes"],"attempts":2}"#,
            r#"routes[0] "a": retry.status: missing, expected the statuses of retriable-status-codes, such as [429, 503]"#,
        ),
        (
            r#""retry":{"on":["5xx"],"attempts":2,"status":[429]}"#,
            r#"routes[0] "a": retry.status: found without the condition retriable-status-codes; add it to retry.on"#,
        ),
        (
            r#""retry":{"on":["retriable-status-codes"],"attempts":2,"status":[200]}"#,
            r#"routes[0] "a": retry.status[0]: found 200, expected a status from 400 to 599"#,
        ),
        (
            r#""retry":{"on":["retriable-headers"],"attempts":2}"#,
            r#"routes[0] "a": retry.on[0]: found "retriable-headers", expected one of 5xx, gateway-error, reset, reset-before-request, connect-failure, refused-stream, retriable-4xx, retriable-status-codes, envoy-ratelimited, http3-post-connect-failure, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable"#,
        ),
        (
            r#""match":{"hosts":[]}"#,
            r#"routes[0] "a": match.hosts: found an empty array, expected an array with at least one item"#,
        ),
        (
            r#""match":{"hosts":[""]}"#,
            r#"routes[0] "a": match.hosts[0]: found "", expected a host name without a port, "*", or a pattern such as "*.example.com""#,
        ),
        (
            r#""match":{"hosts":["a","b.*.c"]}"#,
            r#"routes[0] "a": match.hosts[1]: found "b.*.c", expected a host name without a port, "*", or a pattern such as "*.example.com""#,
        ),
        (
            r#""match":{"hosts":["a:80"]}"#,
            r#"routes[0] "a": match.hosts[0]: found "a:80", expected a host name without a port, "*", or a pattern such as "*.example.com""#,
        ),
        (
            r#""match":{"hosts":"a"}"#,
            r#"routes[0] "a": match.hosts: found "a", expected an array with at least one item; write ["a"]"#,
        ),
        (
            r#""match":{"methods":["get"]}"#,
            r#"routes[0] "a": match.methods[0]: found "get", expected a method such as "GET" (capital letters, digits, - or _)"#,
        ),
        (
            r#""match":{"methods":["G T"]}"#,
            r#"routes[0] "a": match.methods[0]: found "G T", expected a method such as "GET" (capital letters, digits, - or _)"#,
        ),
        (
            r#""match":{"path":{}}"#,
            r#"routes[0] "a": match.path: found 0 conditions, expected exactly one of exact, prefix, regex"#,
        ),
        (
            r#""match":{"path":{"exact":"/a","prefix":"/b"}}"#,
            r#"routes[0] "a": match.path: found 2 conditions, expected exactly one of exact, prefix, regex"#,
        ),
        (
            r#""match":{"path":"/a"}"#,
            r#"routes[0] "a": match.path: found "/a", expected an object with exact, prefix or regex; write {"prefix": "/a"}"#,
        ),
        (
            r#""match":{"path":{"prefix":"a"}}"#,
            r#"routes[0] "a": match.path.prefix: found "a", expected a path that starts with / and has no query, fragment, space or control character"#,
        ),
        (
            r#""match":{"path":{"exact":"/a?b"}}"#,
            r#"routes[0] "a": match.path.exact: found "/a?b", expected a path that starts with / and has no query, fragment, space or control character"#,
        ),
        (
            r#""timeouts":{"first_event":5}"#,
            r#"routes[0] "a": timeouts.first_event: found 5, expected a duration with a unit, such as "10s" or "250ms"; write "5s""#,
        ),
        (
            r#""timeouts":{"ignore_events":"ping"}"#,
            r#"routes[0] "a": timeouts.ignore_events: found "ping", expected an array with at least one item; write ["ping"]"#,
        ),
        (
            r#""timeouts":{"ignore_events":[""]}"#,
            r#"routes[0] "a": timeouts.ignore_events[0]: found "", expected the name of an event: 1 to 64 bytes without line breaks"#,
        ),
        (
            r#""timeouts":{"ignore_events":["a\n"]}"#,
            r#"routes[0] "a": timeouts.ignore_events[0]: found "a\n", expected the name of an event: 1 to 64 bytes without line breaks"#,
        ),
        (
            r#""buffering":{"hold_headers":"yes"}"#,
            r#"routes[0] "a": buffering.hold_headers: found "yes", expected true or false"#,
        ),
        (
            r#""match":{"path":{"regex":"(a"}}"#,
            r#"routes[0] "a": match.path.regex: "(a" is not a valid regular expression: found open group without closing ')'"#,
        ),
        (
            r#""match":{"path":{"regex":"a)|(b"}}"#,
            r#"routes[0] "a": match.path.regex: "a)|(b" is not a valid regular expression: found closing ')' without matching '('"#,
        ),
        (
            r#""match":{"path":{"regex":""}}"#,
            r#"routes[0] "a": match.path.regex: found "", expected a regular expression of 1 to 1024 bytes"#,
        ),
        (
            r#""match":{"headers":[{"exact":"b"}]}"#,
            r#"routes[0] "a": match.headers[0].name: missing, expected a header name in lower case (letters, digits and !#$%&'*+-.^_`|~)"#,
        ),
        (
            r#""match":{"headers":[{"name":"Accept","exact":"b"}]}"#,
            r#"routes[0] "a": match.headers[0].name: found "Accept", expected a header name in lower case (letters, digits and !#$%&'*+-.^_`|~)"#,
        ),
        (
            r#""match":{"headers":[{"name":"a b","exact":"b"}]}"#,
            r#"routes[0] "a": match.headers[0].name: found "a b", expected a header name in lower case (letters, digits and !#$%&'*+-.^_`|~)"#,
        ),
        (
            r#""match":{"headers":[{"name":"a"}]}"#,
            r#"routes[0] "a": match.headers[0]: found 0 conditions, expected exactly one of exact, prefix, contains, regex, present"#,
        ),
        (
            r#""match":{"headers":[{"name":"a","present":"yes"}]}"#,
            r#"routes[0] "a": match.headers[0].present: found "yes", expected true or false"#,
        ),
        (
            r#""match":{"headers":[{"name":"a","contains":""}]}"#,
            r#"routes[0] "a": match.headers[0].contains: found "", expected text that is not empty and has no control characters"#,
        ),
        (
            r#""match":{"policy":""}"#,
            r#"routes[0] "a": match.policy: found "", expected a name that is not empty"#,
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refusal(route(text).as_bytes()), message);
    }
}

#[test]
fn route_names_are_required_and_unique() {
    let named = |names: &str| format!(r#"{{"version":1,"routes":[{names}]}}"#);
    let rule = "1 to 64 letters, digits, - or _, and not the reserved name default";
    let long = "x".repeat(65);
    let cases = [
        (
            r#"{"name":"a"},{"name":"b"},{"name":"a"}"#.into(),
            r#"routes[2].name: found "a", already the name of routes[0]; expected a unique name"#
                .to_owned(),
        ),
        ("{}".into(), format!("routes[0].name: missing, expected {rule}")),
        (r#"{"name":""}"#.into(), format!("routes[0].name: found \"\", expected {rule}")),
        (r#"{"name":"a.b"}"#.into(), format!("routes[0].name: found \"a.b\", expected {rule}")),
        (
            r#"{"name":"default"}"#.into(),
            format!("routes[0].name: found \"default\", expected {rule}"),
        ),
        (
            format!(r#"{{"name":"{long}"}}"#),
            format!("routes[0].name: found \"{}\"…, expected {rule}", &long[..48]),
        ),
        ("7".into(), "routes[0]: found 7, expected an object".into()),
    ];
    for (names, message) in cases {
        assert_eq!(refusal(named(&names).as_bytes()), message);
    }
    assert_eq!(
        refusal(br#"{"version":1,"routes":{}}"#),
        "routes: found an object, expected an array"
    );
}

#[test]
fn errors_in_drain_and_health_name_the_place() {
    let percent = "a whole number from 1 to 100";
    let cases = [
        (r#"{"epoch":1,"mode":"rebalance"}"#, format!("drain.state.percent: missing, expected {percent}")),
        (r#"{"epoch":1,"mode":"rebalance","percent":0}"#, format!("drain.state.percent: found 0, expected {percent}")),
        (r#"{"epoch":1,"mode":"rebalance","percent":101}"#, format!("drain.state.percent: found 101, expected {percent}")),
        (r#"{"epoch":1,"mode":"reload","percent":5}"#, "drain.state.percent: found without the mode rebalance, the only one with a percentage; remove it".into()),
        (r#"{"epoch":1,"mode":"reload","window":"24h1ms"}"#, r#"drain.state.window: found "24h1ms", expected a duration from 0s to 24h"#.into()),
        (r#"{"epoch":1,"mode":"off","window":"1s"}"#, "drain.state.window: found with the mode off, which closes no connection; remove it".into()),
        (r#"{"epoch":0,"mode":"reload"}"#, "drain.state.epoch: found 0, expected a whole number from 1 to 2^53 - 1".into()),
        (r#"{"epoch":-1,"mode":"reload"}"#, "drain.state.epoch: found -1, expected a whole number from 1 to 2^53 - 1".into()),
        (r#"{"epoch":1.5,"mode":"reload"}"#, "drain.state.epoch: found a number that is fractional or too large, expected a whole number from 1 to 2^53 - 1".into()),
        (r#"{"epoch":1,"mode":"stop"}"#, r#"drain.state.mode: found "stop", expected one of reload, terminate, rebalance, off"#.into()),
        (r#"{"epoch":1}"#, "drain.state.mode: missing, expected one of reload terminate rebalance off".into()),
        (r#"{"epoch":1,"mode":"reload","routes":["a","b"]}"#, r#"drain.state.routes[1]: found "b", expected the name of a route in this configuration"#.into()),
    ];
    for (state, message) in cases {
        assert_eq!(refusal(with_drain(state).as_bytes()), message);
    }
    let cases: [(&str, &str); 15] = [
        (r#""lingering":true"#, r#"lingering: found true, expected an object"#),
        (
            r#""lingering":{"max_bytes":0}"#,
            r#"lingering.max_bytes: found 0, expected 1 to 1099511627776 bytes (1 TiB)"#,
        ),
        (
            r#""lingering":{"timeout":"50ms"}"#,
            r#"lingering.timeout: found "50ms", expected a duration from 100ms to 1h"#,
        ),
        (
            r#""drain":{"refresh":"1ms"}"#,
            r#"drain.refresh: found "1ms", expected a duration from 10ms to 1m"#,
        ),
        (
            r#""drain":{"refresh":"2m"}"#,
            r#"drain.refresh: found "2m", expected a duration from 10ms to 1m"#,
        ),
        (
            r#""drain":{"signal":"goaway"}"#,
            r#"drain.signal: found "goaway", expected one of auto, marker, header"#,
        ),
        (
            r#""drain":{"control":{}}"#,
            "drain.control.cluster: missing, expected a name that is not empty",
        ),
        (
            r#""drain":{"control":{"cluster":"etcd","format":"etcd","key":"k"}}"#,
            r#"drain.control.format: found "etcd", expected one of raw, etcd-v3, consul"#,
        ),
        (
            r#""drain":{"control":{"cluster":"etcd","format":"raw","key":"a key"}}"#,
            r#"drain.control.key: found "a key", expected a key of 1 to 1024 visible ASCII characters other than ?, # and %"#,
        ),
        (
            r#""drain":{"refresh":"1s","control":{"cluster":"etcd","format":"raw","key":"k"}}"#,
            "drain.control.interval: found 1s, expected at least twice drain.refresh, the interval at which workers notice that the leader failed",
        ),
        (
            r#""drain":{"control":{"cluster":"etcd","format":"raw","key":"k","interval":"10ms"}}"#,
            r#"drain.control.interval: found "10ms", expected a duration from 100ms to 1h"#,
        ),
        (
            r#""drain":{"admin":{"path":"/h","token_sha256":"00000000000000000000000000000000000000000000000000000000000000aF"}},"health":{"path":"/h"}"#,
            "drain.admin.path: found the path of the health section, expected a different one",
        ),
        (
            r#""drain":{},"health":{"path":"/h","drain_status":200}"#,
            "health.drain_status: found 200, expected a status from 400 to 599",
        ),
        (
            r#""drain":{},"health":{}"#,
            "health.path: missing, expected a path that starts with / and has no query, fragment, space or control character",
        ),
        (
            r#""health":{"path":"/h"}"#,
            r#"health: found without a drain section, which decides when the health check fails; add "drain": {}"#,
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refusal(format!("{{\"version\":1,{text}}}").as_bytes()), message);
    }
}

#[test]
fn patterns_that_need_much_memory_are_refused() {
    let message =
        refusal(route(r#""match":{"path":{"regex":"((a{1000}){1000}){1000}"}}"#).as_bytes());
    assert!(message.starts_with("routes[0] \"a\": match.path.regex: "), "{message}");
}

#[test]
fn the_documented_example_is_accepted() {
    let text = include_str!("../../docs/configuration.md");
    let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(accepted(example.expect("the first example")), Vec::<String>::new());
}

#[test]
fn lint_warns_about_long_buffers_and_cuts_without_a_drain() {
    let routes = |buffering: &str| {
        format!(
            r#"{{"version":1,"routes":[{{"name":"a","match":{{"path":{{"exact":"/a"}}}},"drain":"cut","buffering":{buffering}}}]}}"#
        )
    };
    let cut = r#"routes[0] "a": drain: cut has no effect without a drain section; add "drain": {}"#;
    let many = r#"routes[0] "a": buffering.max_bytes: 1048577 exceeds the proxy's buffer limit of 1048576 bytes (Envoy's default), at which it cuts a body; raise per_connection_buffer_limit_bytes"#;
    assert_eq!(accepted(&routes(r#"{"response":"on","max_bytes":1048577}"#)), [many, cut]);
    assert_eq!(accepted(&routes(r#"{"response":"on","max_bytes":1048576}"#)), [cut]);
    assert_eq!(accepted(&routes(r#"{"response":"off","max_bytes":1048577}"#)), [cut]);
    let watched = r#"{"response":"off","max_bytes":1048577},"timeouts":{"read":"1s"}"#;
    assert_eq!(accepted(&routes(watched)), [many, cut]);
}

#[test]
fn lint_warns_about_streams_that_outlast_the_load_balancer() {
    let warnings = |within: &str, state: &str| {
        accepted(&format!(
            r#"{{"version":1,"defaults":{{"drain":{{"streams":"finish","within":"{within}"}}}},"drain":{{{state}}}}}"#
        ))
    };
    let state = r#""state":{"epoch":1,"mode":"terminate","window":"2m"}"#;
    assert_eq!(warnings("3m", state), [""; 0]);
    let expected = "defaults.drain.within: a stream may last 5m1s after a drain starts (3m1s after the window of 2m), but AWS target groups wait for 5m by default; lower within or the window, or raise their limit (deregistration delay, termination grace period)";
    assert_eq!(warnings("3m1s", state), [expected]);
    assert_eq!(warnings("4m30s", ""), [""; 0], "the default window is 30 s");
    assert_eq!(warnings("4m31s", "").len(), 1);
    let unused = r#"{"version":1,"defaults":{"drain":{"streams":"finish","within":"1s"}}}"#;
    let expected =
        r#"defaults.drain: finish has no effect without a drain section; add "drain": {}"#;
    assert_eq!(accepted(unused), [expected]);
}

#[test]
fn lint_warns_about_timeouts_below_the_refresh_interval() {
    let limit = |defaults: &str, drain: &str, own: &str| {
        accepted(&format!(
            r#"{{"version":1,"defaults":{{"timeouts":{defaults}}},{drain}"routes":[{{"name":"a","match":{{"path":{{"exact":"/a"}}}},"timeouts":{own}}}]}}"#
        ))
    };
    let slow = r#""drain":{"refresh":"2s"},"#;
    let late = |place: &str, limit: &str, refresh: &str| {
        format!(
            "{place}: {limit} can expire up to {refresh} late; lower drain.refresh, which is {refresh}"
        )
    };
    assert_eq!(
        limit("{}", "", r#"{"read":"249ms","send":"1ms"}"#),
        [
            late("routes[0] \"a\": timeouts.read", "249ms", "250ms"),
            late("routes[0] \"a\": timeouts.send", "1ms", "250ms"),
        ]
    );
    assert!(limit("{}", "", r#"{"read":"250ms","send":"0s"}"#).is_empty());
    let inherited = limit(r#"{"read":"1s"}"#, slow, r#"{"request":"9s"}"#);
    assert_eq!(inherited, [late("defaults.timeouts.read", "1s", "2s")]);
    let own = limit(r#"{"read":"1s"}"#, slow, r#"{"read":"1500ms"}"#);
    assert_eq!(
        own,
        [
            late("defaults.timeouts.read", "1s", "2s"),
            late("routes[0] \"a\": timeouts.read", "1s500ms", "2s"),
        ]
    );
}

#[test]
fn lint_warns_about_error_pages_that_are_not_valid_json() {
    let page = |kind: &str, body: &str| {
        let body = format!("{body:?}");
        accepted(&format!(
            r#"{{"version":1,"errors":{{"content_type":"text/plain","body":"{{reason}}","alternatives":[{{"content_type":"{kind}","body":{body}}}]}}}}"#
        ))
    };
    let warning = "errors.alternatives[0].body: not valid JSON once its placeholders are replaced, but its content_type is JSON";
    let wrong = [
        "{reason}",
        r#"{"id": {request_id}}"#,
        r#"{"error": {reason}}"#,
        r#"{"error": "{reason}""#,
        "{'a': {status}}",
    ];
    for body in wrong {
        assert_eq!(page("application/json", body), [warning], "{body}");
        assert_eq!(page("application/Problem+JSON; charset=utf-8", body), [warning], "{body}");
        assert!(page("text/html", body).is_empty(), "{body}");
    }
    for body in ["{status}", r#"{"error": "{reason}", "status": {status}, "id": "{request_id}"}"#] {
        assert!(page("application/json", body).is_empty(), "{body}");
    }
    let first = r#"{"version":1,"errors":{"content_type":"application/json","body":"{reason}"}}"#;
    assert_eq!(accepted(first), [warning.replace("alternatives[0].", "")]);
}

#[test]
fn lint_warns_about_routes_that_an_earlier_route_covers() {
    let warnings = |routes: &str| accepted(&format!(r#"{{"version":1,"routes":[{routes}]}}"#));
    let covers = |earlier: &str, later: &str| {
        let routes = format!(
            r#"{{"name":"x","match":{{"path":{{"exact":"/x"}}}}}},{{"name":"a","match":{earlier}}},{{"name":"b","match":{later}}}"#
        );
        let warnings = warnings(&routes);
        let message = r#"routes[2] "b": never reached, because routes[1] "a" matches every request that it matches"#;
        assert!(warnings.iter().all(|warning| warning == message), "{warnings:?}");
        warnings.len() == 1
    };
    let covered = [
        ("{}", r#"{"path":{"exact":"/a"}}"#),
        ("{}", "{}"),
        (r#"{"path":{"prefix":"/a"}}"#, r#"{"path":{"prefix":"/a/b"}}"#),
        (r#"{"path":{"prefix":"/a"}}"#, r#"{"path":{"exact":"/a/b"},"methods":["GET"]}"#),
        (r#"{"path":{"prefix":"/a/"}}"#, r#"{"path":{"regex":"/a/[0-9]+"}}"#),
        (r#"{"path":{"regex":"/a/[0-9]+"}}"#, r#"{"path":{"exact":"/a/17"}}"#),
        (r#"{"path":{"regex":"/a/[0-9]+"}}"#, r#"{"path":{"regex":"/a/[0-9]+"}}"#),
        (r#"{"hosts":["*.example.com"]}"#, r#"{"hosts":["a.example.com","*.b.example.com"]}"#),
        (r#"{"hosts":["*.example.com"]}"#, r#"{"hosts":["*.example.com"]}"#),
        (r#"{"hosts":["*"]}"#, r#"{"hosts":["a.example.com"]}"#),
        (r#"{"hosts":["*"]}"#, "{}"),
        (r#"{"hosts":["A.example.com"]}"#, r#"{"hosts":["a.example.com"]}"#),
        (r#"{"methods":["GET","PUT"]}"#, r#"{"methods":["PUT"]}"#),
        (r#"{"policy":"p"}"#, r#"{"policy":"p","route_name":"r"}"#),
        (
            r#"{"headers":[{"name":"h","present":true}]}"#,
            r#"{"headers":[{"name":"h","exact":"v"}]}"#,
        ),
        (
            r#"{"headers":[{"name":"h","contains":"v"}]}"#,
            r#"{"headers":[{"name":"h","prefix":"ov"}]}"#,
        ),
    ];
    for (earlier, later) in covered {
        assert!(covers(earlier, later), "{earlier} covers {later}");
    }
    let open = [
        (r#"{"path":{"exact":"/a"}}"#, r#"{"path":{"prefix":"/a"}}"#),
        (r#"{"path":{"prefix":"/a/b"}}"#, r#"{"path":{"prefix":"/a"}}"#),
        (r#"{"path":{"prefix":"/a"}}"#, "{}"),
        (r#"{"path":{"prefix":"/a/1"}}"#, r#"{"path":{"regex":"/a/1?2"}}"#),
        (r#"{"path":{"prefix":"/a/"}}"#, r#"{"path":{"regex":"/a/b|/c"}}"#),
        (r#"{"hosts":["*.example.com"]}"#, r#"{"hosts":["a.example.com","example.com"]}"#),
        (r#"{"hosts":["a.example.com"]}"#, r#"{"hosts":["*.example.com"]}"#),
        (r#"{"methods":["GET"]}"#, r#"{"methods":["GET","PUT"]}"#),
        (r#"{"policy":"p"}"#, r#"{"route_name":"p"}"#),
        (
            r#"{"headers":[{"name":"h","present":true}]}"#,
            r#"{"headers":[{"name":"h","present":false}]}"#,
        ),
        (
            r#"{"headers":[{"name":"h","exact":"v"}]}"#,
            r#"{"headers":[{"name":"h","present":true}]}"#,
        ),
        (r#"{"headers":[{"name":"h","exact":"v"}]}"#, r#"{"headers":[{"name":"i","exact":"v"}]}"#),
    ];
    for (earlier, later) in open {
        assert!(!covers(earlier, later), "{earlier} does not cover {later}");
    }
}

#[test]
fn lint_warns_about_an_attempt_timeout_above_the_request_timeout() {
    let document = route(r#""timeouts":{"request":"5s","per_try":"5s"}"#);
    let message = r#"routes[0] "a": timeouts.per_try: 5s never takes effect, because the request timeout is 5s; lower it"#;
    assert_eq!(accepted(&document), [message]);
    assert!(accepted(&route(r#""timeouts":{"request":"0s","per_try":"5s"}"#)).is_empty());
}

#[test]
fn lint_warns_about_a_path_that_looks_like_a_pattern() {
    let path = |path: &str| accepted(&route(&format!(r#""match":{{"path":{path}}}"#)));
    let expected = r#"routes[0] "a": match.path: matches only paths with a literal "*"; for all paths below it, write {"prefix": "/api/"}"#;
    assert_eq!(path(r#"{"exact":"/api/*"}"#), [expected]);
    assert_eq!(path(r#"{"prefix":"/api/*"}"#), [expected]);
    assert_eq!(path(r#"{"prefix":"/api/"}"#), [""; 0]);
    assert_eq!(path(r#"{"regex":"/api/.*"}"#), [""; 0]);
}

#[test]
fn timeouts_that_the_proxy_precedes_are_found() {
    let warnings = |timeouts: &str, proxy: &ProxySettings| -> Vec<String> {
        let document = format!(r#"{{"version":1,"defaults":{{"timeouts":{timeouts}}}}}"#);
        let rules = load(document.as_bytes()).expect("valid").rules;
        proxy_warnings(&rules, proxy).iter().map(ToString::to_string).collect()
    };
    let envoy = ProxySettings::default();
    let found = warnings(r#"{"read":"600s"}"#, &envoy);
    assert_eq!(
        found,
        [
            "defaults.timeouts.read: 10m never takes effect, because the proxy's own route ends a response after \
             15s (Envoy's default) and timeouts.request is not set; set timeouts.request, to \"0s\" for no limit",
            "defaults.timeouts.read: the proxy ends a stream that is silent for 5m (Envoy's default), so 10m does \
             not take effect for such a stream; raise stream_idle_timeout in the connection manager, or \
             idle_timeout in the proxy's route",
        ]
    );
    for (timeouts, count) in [
        (r#"{"read":"14s"}"#, 0),
        (r#"{"read":"15s"}"#, 1),
        (r#"{"read":"5m","request":"0s"}"#, 0),
        (r#"{"read":"301s","request":"0s"}"#, 1),
        (r#"{"request":"301s"}"#, 1),
        (r#"{"request":"5m"}"#, 0),
        (r#"{"first_event":"15s","event_gap":"16s"}"#, 2),
        (r#"{"request":"10m","per_try":"6m"}"#, 2),
        (r#"{"send":"10m"}"#, 0),
    ] {
        assert_eq!(warnings(timeouts, &envoy).len(), count, "{timeouts}");
    }
    let patient = ProxySettings { route: None, stream_idle: ProxyTimeout::configured(0), ..envoy };
    assert_eq!(warnings(r#"{"read":"600s"}"#, &patient), [""; 0]);
    let configured = ProxySettings { route: ProxyTimeout::configured(2_000), ..patient };
    let found = warnings(r#"{"read":"3s"}"#, &configured);
    assert!(found[0].contains("after 2s (as this file sets it)"), "{found:?}");
}

#[test]
fn lint_warns_about_a_first_event_that_the_request_timeout_precedes() {
    let document = route(r#""timeouts":{"request":"5s","first_event":"5s"}"#);
    let message = r#"routes[0] "a": timeouts.first_event: 5s never takes effect, because the request timeout is 5s; lower it"#;
    assert_eq!(accepted(&document), [message]);
    for timeouts in [
        r#""timeouts":{"request":"5s","first_event":"4s"}"#,
        r#""timeouts":{"request":"0s","first_event":"5s"}"#,
        r#""timeouts":{"first_event":"5s"}"#,
    ] {
        assert!(accepted(&route(timeouts)).is_empty(), "{timeouts}");
    }
}

#[test]
fn lint_warns_about_fields_that_need_a_timeout_of_events() {
    let hold = r#"routes[0] "a": buffering.hold_headers: has no effect without timeouts.first_event; add it"#;
    let ignore = r#"routes[0] "a": timeouts.ignore_events: has no effect without timeouts.first_event or timeouts.event_gap; add it"#;
    for (fields, message) in [
        (r#""buffering":{"hold_headers":true}"#, hold),
        (r#""buffering":{"hold_headers":true},"timeouts":{"event_gap":"5s"}"#, hold),
        (r#""buffering":{"hold_headers":true},"timeouts":{"first_event":"0s"}"#, hold),
        (r#""timeouts":{"ignore_events":["ping"]}"#, ignore),
        (r#""timeouts":{"ignore_events":["ping"],"event_gap":"0s"}"#, ignore),
    ] {
        assert_eq!(accepted(&route(fields)), [message], "{fields}");
    }
    for fields in [
        r#""buffering":{"hold_headers":true},"timeouts":{"first_event":"5s"}"#,
        r#""buffering":{"hold_headers":false}"#,
        r#""timeouts":{"ignore_events":["ping"],"event_gap":"5s"}"#,
        r#""timeouts":{"ignore_events":["ping"],"first_event":"5s"}"#,
    ] {
        assert!(accepted(&route(fields)).is_empty(), "{fields}");
    }
    let inherited = r#"{"version":1,"defaults":{"timeouts":{"first_event":"5s"}},
        "routes":[{"name":"a","buffering":{"hold_headers":true}}]}"#;
    assert!(accepted(inherited).is_empty());
}

#[test]
fn lint_warns_about_lingering_where_no_upload_is_refused() {
    let message = "lingering: has no effect without buffering.request or drain.admin; add it";
    for (fields, warns) in [
        (r#""lingering":{}"#, true),
        (r#""lingering":{"max_bytes":1,"timeout":"1h"},"drain":{}"#, true),
        (r#""lingering":{},"defaults":{"buffering":{"request":"on"}}"#, false),
        (r#""lingering":{},"routes":[{"name":"a","buffering":{"request":"on"}}]"#, false),
    ] {
        let warnings = accepted(&format!(r#"{{"version":1,{fields}}}"#));
        assert_eq!(warnings, vec![message; usize::from(warns)], "{fields}");
    }
}

#[test]
fn lint_warns_about_late_timeouts_of_events_and_large_held_bodies() {
    let late = |field| {
        format!(
            r#"routes[0] "a": timeouts.{field}: 249ms can expire up to 250ms late; lower drain.refresh, which is 250ms"#
        )
    };
    let document = route(r#""timeouts":{"first_event":"249ms","event_gap":"249ms"}"#);
    assert_eq!(accepted(&document), ["first_event", "event_gap"].map(late));
    let large =
        r#""buffering":{"hold_headers":true,"max_bytes":1048577},"timeouts":{"first_event":"5s"}"#;
    assert_eq!(accepted(&route(large)).len(), 1);
    assert!(accepted(&route(&large.replace("577", "576"))).is_empty());
}

#[test]
fn too_many_hosts_are_refused_with_their_number() {
    let hosts: Vec<String> = (0..200).map(|host| format!("h{host}")).collect();
    let document = |routes: usize| {
        let route = |number| json!({ "name": format!("r{number}"), "match": { "hosts": hosts } });
        json!({ "version": 1, "routes": (0..routes).map(route).collect::<Vec<_>>() }).to_string()
    };
    let error = load(document(4_000).as_bytes()).expect_err("800,000 hosts").to_string();
    let expected = "routes: found 800000 hosts in all routes together, expected at most 250000";
    assert!(error.starts_with(expected), "{error}");
    assert!(load(document(1_250).as_bytes()).is_ok(), "250,000 hosts");
}

#[test]
fn many_expressions_with_one_start_cause_a_warning() {
    let warnings = |count: usize, start: &str| {
        let route = |number| {
            let regex = format!("{start}/[a-z]+/{number}");
            json!({ "name": format!("r{number}"), "match": { "path": { "regex": regex } } })
        };
        let document = json!({ "version": 1, "routes": (0..count).map(route).collect::<Vec<_>>() });
        let loaded = load(document.to_string().as_bytes()).expect("a valid configuration");
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warnings(16, "/api"), [""; 0]);
    let expected = "routes[0] \"r0\": match.path: 17 routes have a regular expression whose matches \
                    start with \"/api/\"; the filter tries them one after the other, so let their \
                    paths start differently, or combine them";
    assert_eq!(warnings(17, "/api"), [expected]);
}

#[test]
fn the_last_event_of_a_drain_is_one_whole_event() {
    let document = |event: &str| {
        let event = serde_json::to_string(event).expect("JSON");
        route(&format!(r#""drain":{{"streams":"cut","last_event":{event}}}"#))
    };
    for event in
        ["data\n\n", "event: bye\ndata: {}\n\n", "data:x\r\n\r\n", ": comment\rdata: x\r\r"]
    {
        assert!(load(document(event).as_bytes()).is_ok(), "{event:?}");
    }
    let long = format!("data: {}\n\n", "x".repeat(4096));
    for event in [
        "",
        "data: x",
        "data: x\n",
        "data: x\n\n\n",
        "data: x\n\ndata: y\n\n",
        "data: x\n\n: y",
        ": a comment\n\n",
        "event: bye\n\n",
        "\n\n",
        "\ndata: x\n\n",
        "data: \0\n\n",
        &long,
    ] {
        let error = refusal(document(event).as_bytes());
        assert!(error.contains("drain.last_event: found"), "{error}");
        assert!(error.contains("expected one whole event of at most 4096 bytes"), "{error}");
    }
}
