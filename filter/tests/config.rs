//! What the configuration refuses, and with which words; what it accepts; what it warns about.

use sluice_filter::config::MAX_DOCUMENT;
use sluice_filter::load;

/// The message with which `document` is refused.
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

/// A route's text inside a whole configuration.
fn route(text: &str) -> String {
    format!(r#"{{"version":1,"routes":[{{"name":"a",{text}}}]}}"#)
}

fn with_drain(state: &str) -> String {
    format!(r#"{{"version":1,"routes":[{{"name":"a"}}],"drain":{{"state":{state}}}}}"#)
}

#[test]
fn wrong_documents_are_refused_as_a_whole() {
    let cases: [(&[u8], &str); 12] = [
        (b"", "configuration: empty; the smallest configuration is {\"version\":1}"),
        (b" \n\t", "configuration: empty; the smallest configuration is {\"version\":1}"),
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
        (b"{\"version\":\xff1}", "configuration: not valid UTF-8 at byte 11; expected JSON text"),
        (b"[]", "configuration: found an array, expected an object"),
        (b"{}", "version: missing; expected version 1, the only one so far"),
        (
            b"{\"version\":2,\"new\":{}}",
            "version: 2 is out of range; expected version 1, the only one so far",
        ),
        (b"{\"version\":\"1\"}", "version: found \"1\", expected version 1, the only one so far"),
        (b"{\"version\":1,\"version\":1}", "version: written twice in one object; expected once"),
    ];
    for (document, message) in cases {
        assert_eq!(refusal(document), message);
    }
}

#[test]
fn ten_megabytes_are_refused_unread() {
    let document = vec![b' '; 10 * 1024 * 1024];
    let message = format!("configuration: 10485760 bytes; expected at most {MAX_DOCUMENT}");
    assert_eq!(refusal(&document), message);
}

#[test]
fn deep_nesting_is_refused_without_deep_recursion() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let document = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let message = refusal(document.as_bytes());
        assert!(message.ends_with("recursion limit exceeded"), "{message}");
    }
}

#[test]
fn wrong_routes_are_refused_with_their_place() {
    let cases = [
        (
            r#""timeouts":{"request":"10"}"#,
            r#"routes[0].timeouts.request: "10" has no unit; write "10s""#,
        ),
        (
            r#""timeouts":{"request":10}"#,
            r#"routes[0].timeouts.request: found 10, expected a duration with a unit, such as "10s" or "250ms""#,
        ),
        (
            r#""timeouts":{"request":"10x"}"#,
            r#"routes[0].timeouts.request: "10x" has the unknown unit "x"; expected ms, s, m or h"#,
        ),
        (
            r#""timeouts":{"request":"1s1m"}"#,
            r#"routes[0].timeouts.request: found "1s1m", expected each unit once, the longest first, such as "1m30s""#,
        ),
        (
            r#""timeouts":{"request":"1.5s"}"#,
            r#"routes[0].timeouts.request: found "1.5s", expected whole numbers, each with a unit, such as "1m30s""#,
        ),
        (
            r#""timeouts":{"request":"-1s"}"#,
            r#"routes[0].timeouts.request: found "-1s", expected a duration with a unit, such as "10s" or "250ms""#,
        ),
        (
            r#""timeouts":{"request":""}"#,
            r#"routes[0].timeouts.request: found "", expected a duration with a unit, such as "10s" or "250ms""#,
        ),
        (
            r#""timeouts":{"request":"25h"}"#,
            r#"routes[0].timeouts.request: "25h" is out of range; expected a duration from 0s to 24h"#,
        ),
        (
            r#""timeouts":{"request":"99999999999999999999h"}"#,
            r#"routes[0].timeouts.request: "99999999999999999999h" is out of range; expected a duration from 0s to 24h"#,
        ),
        (
            r#""timeouts":{"connect":"1s"}"#,
            "routes[0].timeouts.connect: a filter cannot limit how long connecting takes; set connect_timeout on the cluster",
        ),
        (
            r#""timeouts":{"idle":"1s"}"#,
            "routes[0].timeouts.idle: unknown field; known here: request, per_try, read, send",
        ),
        (
            r#""timeouts":{"request":"1s","request":"2s"}"#,
            "routes[0].timeouts.request: written twice in one object; expected once",
        ),
        (r#""timeouts":null"#, "routes[0].timeouts: found null, expected an object"),
        (
            r#""colour":1"#,
            "routes[0].colour: unknown field; known here: name, match, buffering, timeouts, retry, drain",
        ),
        (
            r#""buffering":"maybe""#,
            r#"routes[0].buffering: found "maybe", expected one of on, off, auto"#,
        ),
        (
            r#""buffering":true"#,
            "routes[0].buffering: found true, expected an object, or what stands in its response",
        ),
        (
            r#""buffering":{"request":"auto"}"#,
            r#"routes[0].buffering.request: found "auto", expected one of on, off"#,
        ),
        (
            r#""buffering":{"max_bytes":16777217}"#,
            "routes[0].buffering.max_bytes: 16777217 is out of range; expected 1 to 16777216 bytes (16 MiB)",
        ),
        (
            r#""buffering":{"max_bytes":0}"#,
            "routes[0].buffering.max_bytes: 0 is out of range; expected 1 to 16777216 bytes (16 MiB)",
        ),
        (
            r#""buffering":{"max_bytes":-1}"#,
            "routes[0].buffering.max_bytes: -1 is out of range; expected 1 to 16777216 bytes (16 MiB)",
        ),
        (
            r#""buffering":{"max_bytes":1e3}"#,
            "routes[0].buffering.max_bytes: found a number that is not whole or too large, expected 1 to 16777216 bytes (16 MiB)",
        ),
        (
            r#""buffering":{"max_bytes":"1k"}"#,
            r#"routes[0].buffering.max_bytes: found "1k", expected 1 to 16777216 bytes (16 MiB)"#,
        ),
        (
            r#""retry":{"on":["reset"],"attempts":0}"#,
            "routes[0].retry.attempts: 0 is out of range; expected 1 to 10 tries in all",
        ),
        (
            r#""retry":{"on":["reset"],"attempts":11}"#,
            "routes[0].retry.attempts: 11 is out of range; expected 1 to 10 tries in all",
        ),
        (
            r#""retry":{"on":[],"attempts":2}"#,
            "routes[0].retry.on: found an empty array, expected an array with at least one item",
        ),
        (
            r#""retry":{"attempts":2}"#,
            "routes[0].retry.on: missing; expected an array with at least one item",
        ),
        (
            r#""retry":{"on":["reset"]}"#,
            "routes[0].retry.attempts: missing; expected 1 to 10 tries in all",
        ),
        (
            r#""match":{"hosts":[]}"#,
            "routes[0].match.hosts: found an empty array, expected an array with at least one item",
        ),
        (
            r#""match":{"hosts":[""]}"#,
            r#"routes[0].match.hosts[0]: found "", expected a host name without port, or * or *. before its end, such as "*.example.com""#,
        ),
        (
            r#""match":{"hosts":["a","b.*.c"]}"#,
            r#"routes[0].match.hosts[1]: found "b.*.c", expected a host name without port, or * or *. before its end, such as "*.example.com""#,
        ),
        (
            r#""match":{"hosts":["a:80"]}"#,
            r#"routes[0].match.hosts[0]: found "a:80", expected a host name without port, or * or *. before its end, such as "*.example.com""#,
        ),
        (
            r#""match":{"hosts":"a"}"#,
            r#"routes[0].match.hosts: found "a", expected an array with at least one item"#,
        ),
        (
            r#""match":{"methods":["get"]}"#,
            r#"routes[0].match.methods[0]: found "get", expected a method such as "GET" (capital letters, digits, - or _)"#,
        ),
        (
            r#""match":{"methods":["G T"]}"#,
            r#"routes[0].match.methods[0]: found "G T", expected a method such as "GET" (capital letters, digits, - or _)"#,
        ),
        (
            r#""match":{"path":{}}"#,
            "routes[0].match.path: 0 conditions given; expected exactly one of exact, prefix, regex",
        ),
        (
            r#""match":{"path":{"exact":"/a","prefix":"/b"}}"#,
            "routes[0].match.path: 2 conditions given; expected exactly one of exact, prefix, regex",
        ),
        (r#""match":{"path":"/a"}"#, r#"routes[0].match.path: found "/a", expected an object"#),
        (
            r#""match":{"path":{"prefix":"a"}}"#,
            r#"routes[0].match.path.prefix: found "a", expected a path that starts with / and has no query, fragment, space or control character"#,
        ),
        (
            r#""match":{"path":{"exact":"/a?b"}}"#,
            r#"routes[0].match.path.exact: found "/a?b", expected a path that starts with / and has no query, fragment, space or control character"#,
        ),
        (
            r#""match":{"path":{"regex":"(a"}}"#,
            r#"routes[0].match.path.regex: "(a" is not a regular expression that works here: found open group without closing ')'"#,
        ),
        (
            r#""match":{"path":{"regex":"a)|(b"}}"#,
            r#"routes[0].match.path.regex: "a)|(b" is not a regular expression that works here: found closing ')' without matching '('"#,
        ),
        (
            r#""match":{"path":{"regex":""}}"#,
            r#"routes[0].match.path.regex: found "", expected a regular expression of 1 to 1024 bytes"#,
        ),
        (
            r#""match":{"headers":[{"exact":"b"}]}"#,
            "routes[0].match.headers[0].name: missing; expected the name of a header field in lower case (letters, digits and !#$%&'*+-.^_`|~)",
        ),
        (
            r#""match":{"headers":[{"name":"Accept","exact":"b"}]}"#,
            r#"routes[0].match.headers[0].name: found "Accept", expected the name of a header field in lower case (letters, digits and !#$%&'*+-.^_`|~)"#,
        ),
        (
            r#""match":{"headers":[{"name":"a b","exact":"b"}]}"#,
            r#"routes[0].match.headers[0].name: found "a b", expected the name of a header field in lower case (letters, digits and !#$%&'*+-.^_`|~)"#,
        ),
        (
            r#""match":{"headers":[{"name":"a"}]}"#,
            "routes[0].match.headers[0]: 0 conditions given; expected exactly one of exact, prefix, contains, regex, present",
        ),
        (
            r#""match":{"headers":[{"name":"a","present":"yes"}]}"#,
            r#"routes[0].match.headers[0].present: found "yes", expected true or false"#,
        ),
        (
            r#""match":{"headers":[{"name":"a","contains":""}]}"#,
            r#"routes[0].match.headers[0].contains: found "", expected text of at least one character without control characters"#,
        ),
        (
            r#""match":{"policy":""}"#,
            r#"routes[0].match.policy: found "", expected a name that is not empty"#,
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refusal(route(text).as_bytes()), message);
    }
}

#[test]
fn names_are_there_legal_and_unique() {
    let named = |names: &str| format!(r#"{{"version":1,"routes":[{names}]}}"#);
    let rule = "a name of 1 to 64 letters, digits, - or _ (and not default, which stands for requests that no route matches)";
    let long = "x".repeat(65);
    let cases = [
        (
            r#"{"name":"a"},{"name":"b"},{"name":"a"}"#.into(),
            r#"routes[2].name: "a" is also the name of routes[0]; expected a name of its own"#
                .to_owned(),
        ),
        ("{}".into(), format!("routes[0].name: missing; expected {rule}")),
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
fn wrong_drains_are_refused_with_their_place() {
    let percent = "a whole number from 1 to 100";
    let cases = [
        (r#"{"epoch":1,"mode":"rebalance"}"#, format!("drain.state.percent: missing; expected {percent}")),
        (r#"{"epoch":1,"mode":"rebalance","percent":0}"#, format!("drain.state.percent: 0 is out of range; expected {percent}")),
        (r#"{"epoch":1,"mode":"rebalance","percent":101}"#, format!("drain.state.percent: 101 is out of range; expected {percent}")),
        (r#"{"epoch":1,"mode":"reload","percent":5}"#, "drain.state.percent: only a rebalance closes a share of the connections; leave it out for other modes".into()),
        (r#"{"epoch":1,"mode":"reload","window":"0s"}"#, r#"drain.state.window: "0s" is out of range; expected a duration from 1ms to 24h"#.into()),
        (r#"{"epoch":1,"mode":"reload","window":"24h1ms"}"#, r#"drain.state.window: "24h1ms" is out of range; expected a duration from 0s to 24h"#.into()),
        (r#"{"epoch":1,"mode":"off","window":"1s"}"#, "drain.state.window: mode off closes nothing; leave it out".into()),
        (r#"{"epoch":0,"mode":"reload"}"#, "drain.state.epoch: 0 is out of range; expected a whole number from 1 to 2^53 - 1".into()),
        (r#"{"epoch":-1,"mode":"reload"}"#, "drain.state.epoch: -1 is out of range; expected a whole number from 1 to 2^53 - 1".into()),
        (r#"{"epoch":1.5,"mode":"reload"}"#, "drain.state.epoch: found a number that is not whole or too large, expected a whole number from 1 to 2^53 - 1".into()),
        (r#"{"epoch":1,"mode":"stop"}"#, r#"drain.state.mode: found "stop", expected one of reload, terminate, rebalance, off"#.into()),
        (r#"{"epoch":1}"#, "drain.state.mode: missing; expected one of reload terminate rebalance off".into()),
        (r#"{"epoch":1,"mode":"reload","routes":["a","b"]}"#, r#"drain.state.routes[1]: "b" is not the name of a route of this configuration"#.into()),
    ];
    for (state, message) in cases {
        assert_eq!(refusal(with_drain(state).as_bytes()), message);
    }
    let cases: [(&str, &str); 12] = [
        (
            r#""drain":{"refresh":"1ms"}"#,
            r#"drain.refresh: "1ms" is out of range; expected a duration from 10ms to 1m"#,
        ),
        (
            r#""drain":{"refresh":"2m"}"#,
            r#"drain.refresh: "2m" is out of range; expected a duration from 10ms to 1m"#,
        ),
        (
            r#""drain":{"signal":"goaway"}"#,
            r#"drain.signal: found "goaway", expected one of auto, marker, header"#,
        ),
        (
            r#""drain":{"control":{}}"#,
            "drain.control.cluster: missing; expected a name that is not empty",
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
            "drain.control.interval: found 1s, expected at least twice drain.refresh, at which workers notice that one of them failed",
        ),
        (
            r#""drain":{"control":{"cluster":"etcd","format":"raw","key":"k","interval":"10ms"}}"#,
            r#"drain.control.interval: "10ms" is out of range; expected a duration from 100ms to 1h"#,
        ),
        (
            r#""drain":{"admin":{"path":"/h","token_sha256":"00000000000000000000000000000000000000000000000000000000000000aF"}},"health":{"path":"/h"}"#,
            "drain.admin.path: is the health path too; expected a path of its own",
        ),
        (
            r#""drain":{},"health":{"path":"/h","drain_status":200}"#,
            "health.drain_status: 200 is out of range; expected a status from 400 to 599",
        ),
        (
            r#""drain":{},"health":{}"#,
            "health.path: missing; expected a path that starts with / and has no query, fragment, space or control character",
        ),
        (
            r#""health":{"path":"/h"}"#,
            "health: answers only while a drain terminates the proxy, and this configuration takes part in none; expected a drain section beside it",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refusal(format!("{{\"version\":1,{text}}}").as_bytes()), message);
    }
}

#[test]
fn a_regex_that_would_need_much_memory_is_refused() {
    let message =
        refusal(route(r#""match":{"path":{"regex":"((a{1000}){1000}){1000}"}}"#).as_bytes());
    assert!(message.starts_with("routes[0].match.path.regex: "), "{message}");
}

#[test]
fn the_example_of_the_documentation_is_accepted() {
    let text = include_str!("../../docs/configuration.md");
    let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(accepted(example.expect("the first example")), Vec::<String>::new());
}

#[test]
fn what_a_host_could_not_hold_and_a_cut_without_a_drain_are_warned_about() {
    let routes = |buffering: &str| {
        format!(
            r#"{{"version":1,"routes":[{{"name":"a","match":{{"path":{{"exact":"/a"}}}},"drain":"cut","buffering":{buffering}}}]}}"#
        )
    };
    let cut = "routes[0].drain: nothing is ever cut without a drain section";
    let many = "routes[0].buffering.max_bytes: 1048577 is more than Envoy's buffers take unless \
                per_connection_buffer_limit_bytes says otherwise; a body that does not fit there would be cut";
    assert_eq!(accepted(&routes(r#"{"response":"on","max_bytes":1048577}"#)), [many, cut]);
    assert_eq!(accepted(&routes(r#"{"response":"on","max_bytes":1048576}"#)), [cut]);
    assert_eq!(accepted(&routes(r#"{"response":"off","max_bytes":1048577}"#)), [cut]);
    let watched = r#"{"response":"off","max_bytes":1048577},"timeouts":{"read":"1s"}"#;
    assert_eq!(accepted(&routes(watched)), [many, cut]);
}

#[test]
fn a_limit_that_may_be_late_by_more_than_itself_is_warned_about() {
    let limit = |defaults: &str, drain: &str, own: &str| {
        accepted(&format!(
            r#"{{"version":1,"defaults":{{"timeouts":{defaults}}},{drain}"routes":[{{"name":"a","match":{{"path":{{"exact":"/a"}}}},"timeouts":{own}}}]}}"#
        ))
    };
    let slow = r#""drain":{"refresh":"2s"},"#;
    let late = |place: &str, limit: &str, refresh: &str| {
        format!("{place}: {limit} is shorter than drain.refresh {refresh}, by which it may be late")
    };
    assert_eq!(
        limit("{}", "", r#"{"read":"249ms","send":"1ms"}"#),
        [
            late("routes[0].timeouts.read", "249ms", "250ms"),
            late("routes[0].timeouts.send", "1ms", "250ms"),
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
            late("routes[0].timeouts.read", "1s500ms", "2s"),
        ]
    );
}

#[test]
fn a_page_that_is_not_the_json_it_says_is_warned_about() {
    let page = |kind: &str, body: &str| {
        let body = format!("{body:?}");
        accepted(&format!(
            r#"{{"version":1,"errors":{{"content_type":"text/plain","body":"{{reason}}","alternatives":[{{"content_type":"{kind}","body":{body}}}]}}}}"#
        ))
    };
    let warning = "errors.alternatives[0].body: with its words filled in this is no JSON, which its content_type says it is";
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
fn routes_that_an_earlier_one_hides_are_warned_about() {
    let warned = |routes: &str| accepted(&format!(r#"{{"version":1,"routes":[{routes}]}}"#));
    let hidden = |earlier: &str, later: &str| {
        let routes = format!(
            r#"{{"name":"x","match":{{"path":{{"exact":"/x"}}}}}},{{"name":"a","match":{earlier}}},{{"name":"b","match":{later}}}"#
        );
        let warnings = warned(&routes);
        let message = r#"routes[2]: "b" is never reached: routes[1] ("a") matches every request that it could"#;
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
        assert!(hidden(earlier, later), "{earlier} hides {later}");
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
        assert!(!hidden(earlier, later), "{earlier} leaves something of {later}");
    }
}

#[test]
fn a_limit_of_one_try_above_the_whole_is_warned_about() {
    let document = route(r#""timeouts":{"request":"5s","per_try":"5s"}"#);
    let message =
        "routes[0].timeouts: per_try 5s is not below request 5s, so it never takes effect";
    assert_eq!(accepted(&document), [message]);
    assert!(accepted(&route(r#""timeouts":{"request":"0s","per_try":"5s"}"#)).is_empty());
}
