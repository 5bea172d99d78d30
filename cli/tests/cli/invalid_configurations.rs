//! Invalid configurations, each with the beginning of its error. The tests of `check` and of
//! `schema` share them.

pub(crate) struct Invalid {
    pub(crate) document: String,
    /// The beginning of the error: the place, and most of the mistake.
    pub(crate) error: &'static str,
    /// Whether the JSON Schema rejects the document too. A schema cannot express every rule.
    pub(crate) by_schema: bool,
}

/// A document with one route that has these fields.
fn route(fields: &str) -> String {
    format!(r#"{{"version":1,"routes":[{{"name":"api",{fields}}}]}}"#)
}

fn drain(fields: &str) -> String {
    format!(r#"{{"version":1,"drain":{{{fields}}}}}"#)
}

pub(crate) fn all() -> Vec<Invalid> {
    let huge = format!("{{\"version\":1{}}}", " ".repeat(10 << 20));
    let deep =
        format!("{{\"version\":1,\"routes\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let long = route(&format!(r#""match":{{"path":{{"regex":"{}"}}}}"#, "a".repeat(2_000)));
    let not_json = [
        (String::new(), "configuration: found no text"),
        (" \n\t ".to_owned(), "configuration: found no text"),
        ("version = 1".to_owned(), "configuration: not valid JSON at line 1, column 1"),
        (r#"{"version":1,}"#.to_owned(), "configuration: not valid JSON at line 1"),
        (r#"{"version":1"#.to_owned(), "configuration: not valid JSON at line 1"),
        (r#"{"version":1} {"version":1}"#.to_owned(), "configuration: not valid JSON at line 1"),
        (deep, "configuration: not valid JSON at line 1"),
        (huge, "configuration: found 10485773 bytes, expected at most 8388608"),
    ];
    let not_json = not_json.map(|(document, error)| Invalid { document, error, by_schema: false });
    let beyond_schema = [
        (r#"{"version":1,"version":1}"#.to_owned(), "version: found twice in one object"),
        (
            r#"{"version":1,"routes":[{"name":"a"},{"name":"a"}]}"#.to_owned(),
            r#"routes[1].name: found "a", already the name of routes[0]"#,
        ),
        (
            route(r#""timeouts":{"request":"10"}"#),
            r#"routes[0] "api": timeouts.request: found "10", expected a duration with a unit; write "10s""#,
        ),
        (route(r#""timeouts":{"request":"10 parsecs"}"#), r#"routes[0] "api": timeouts.request: "#),
        (route(r#""timeouts":{"request":"-1s"}"#), r#"routes[0] "api": timeouts.request: "#),
        (route(r#""timeouts":{"request":"25h"}"#), r#"routes[0] "api": timeouts.request: "#),
        (route(r#""match":{"path":{"regex":"("}}"#), r#"routes[0] "api": match.path.regex: "#),
        (
            route(r#""match":{"path":{"regex":"(?:a{1000}){1000}"}}"#),
            r#"routes[0] "api": match.path.regex: "#,
        ),
        (drain(r#""refresh":"1ms""#), "drain.refresh: "),
        (drain(r#""state":{"epoch":1,"mode":"reload","window":"25h"}"#), "drain.state.window: "),
        (drain(r#""state":{"epoch":1,"mode":"rebalance"}"#), "drain.state.percent: missing"),
        (drain(r#""state":{"epoch":1,"mode":"reload","percent":5}"#), "drain.state.percent: "),
        (
            drain(r#""state":{"epoch":1,"mode":"reload","routes":["other"]}"#),
            r#"drain.state.routes[0]: found "other", expected the name of a route"#,
        ),
        (
            r#"{"version":1,"health":{"path":"/health"}}"#.to_owned(),
            "health: found without a drain section",
        ),
        (route(r#""name":"default""#), r#"routes[0].name: "#),
        (
            r#"{"version":1,"routes":[{"name":"default"}]}"#.to_owned(),
            r#"routes[0].name: found "default", expected 1 to 64 letters"#,
        ),
        (route(r#""match":{"hosts":["a.*.example.com"]}"#), r#"routes[0] "api": match.hosts[0]: "#),
        (
            route(r#""match":{"hosts":["example.com:8080"]}"#),
            r#"routes[0] "api": match.hosts[0]: "#,
        ),
        (route(r#""match":{"methods":["get me"]}"#), r#"routes[0] "api": match.methods[0]: "#),
        (
            route(r#""match":{"headers":[{"name":"Accept","present":true}]}"#),
            r#"routes[0] "api": match.headers[0].name: "#,
        ),
        (route(r#""match":{"path":{"prefix":"api"}}"#), r#"routes[0] "api": match.path.prefix: "#),
        (
            route(r#""match":{"path":{"exact":"/a","prefix":"/a"}}"#),
            r#"routes[0] "api": match.path: found 2 conditions, expected exactly one of exact, prefix, regex"#,
        ),
        (
            route(r#""match":{"headers":[{"name":"accept"}]}"#),
            r#"routes[0] "api": match.headers[0]: found 0 conditions, expected exactly one of"#,
        ),
        (route(r#""match":{"hosts":[]}"#), r#"routes[0] "api": match.hosts: "#),
        (long, r#"routes[0] "api": match.path.regex: "#),
    ];
    let beyond_schema =
        beyond_schema.map(|(document, error)| Invalid { document, error, by_schema: false });
    let by_schema = [
        ("[]".to_owned(), "configuration: found an array"),
        ("null".to_owned(), "configuration: found null"),
        (r#""{\"version\":1}""#.to_owned(), "configuration: found "),
        ("{}".to_owned(), "version: missing"),
        (r#"{"version":2}"#.to_owned(), "version: found 2"),
        (r#"{"version":"1"}"#.to_owned(), "version: found "),
        (
            r#"{"version":1,"route":[]}"#.to_owned(),
            "route: unknown field, expected one of version, ",
        ),
        (r#"{"version":1,"routes":{}}"#.to_owned(), "routes: found an object, expected an array"),
        (r#"{"version":1,"routes":[{}]}"#.to_owned(), "routes[0].name: missing"),
        (
            route(r#""match":{"path":{"suffix":"/x"}}"#),
            r#"routes[0] "api": match.path.suffix: unknown field"#,
        ),
        (
            route(r#""timeouts":{"idle":"1s"}"#),
            r#"routes[0] "api": timeouts.idle: unknown field, expected one of request, per_try, read, send, first_event, event_gap, ignore_events"#,
        ),
        (
            route(r#""timeouts":{"connect":"1s"}"#),
            r#"routes[0] "api": timeouts.connect: found a connect timeout, which a filter cannot enforce; set connect_timeout"#,
        ),
        (route(r#""timeouts":{"request":10}"#), r#"routes[0] "api": timeouts.request: found 10"#),
        (route(r#""buffering":"maybe""#), r#"routes[0] "api": buffering"#),
        (
            route(r#""buffering":{"max_bytes":16777217}"#),
            r#"routes[0] "api": buffering.max_bytes: found 16777217"#,
        ),
        (
            route(r#""buffering":{"max_bytes":0}"#),
            r#"routes[0] "api": buffering.max_bytes: found 0"#,
        ),
        (
            route(r#""buffering":{"max_bytes":-1}"#),
            r#"routes[0] "api": buffering.max_bytes: found -1"#,
        ),
        (route(r#""buffering":null"#), r#"routes[0] "api": buffering: found null"#),
        (
            route(r#""retry":{"on":["reset"],"attempts":0}"#),
            r#"routes[0] "api": retry.attempts: found 0"#,
        ),
        (
            route(r#""retry":{"on":["reset"],"attempts":11}"#),
            r#"routes[0] "api": retry.attempts: found 11"#,
        ),
        (
            route(r#""retry":{"on":["sometimes"],"attempts":2}"#),
            r#"routes[0] "api": retry.on[0]: found "sometimes""#,
        ),
        (route(r#""retry":{"on":["reset"]}"#), r#"routes[0] "api": retry.attempts: missing"#),
        (drain(r#""state":{"mode":"reload"}"#), "drain.state.epoch: missing"),
        (drain(r#""state":{"epoch":-1,"mode":"reload"}"#), "drain.state.epoch: found -1"),
        (
            drain(r#""state":{"epoch":1.5,"mode":"reload"}"#),
            "drain.state.epoch: found a number that is fractional",
        ),
        (
            drain(r#""state":{"epoch":9007199254740992,"mode":"reload"}"#),
            "drain.state.epoch: found 9007199254740992",
        ),
        (drain(r#""state":{"epoch":1,"mode":"restart"}"#), r#"drain.state.mode: found "restart""#),
        (
            drain(r#""state":{"epoch":1,"mode":"rebalance","percent":101}"#),
            "drain.state.percent: found 101",
        ),
        (drain(r#""signal":"loud""#), r#"drain.signal: found "loud""#),
    ];
    let by_schema = by_schema.map(|(document, error)| Invalid { document, error, by_schema: true });
    not_json.into_iter().chain(beyond_schema).chain(by_schema).collect()
}
