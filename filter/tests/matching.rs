//! Route matching: examples of each condition, and the index compared with a check of every route
//! in order.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_filter::{Headers, RequestView, Rules, explain, load, matching};

fn config(routes: &[Value]) -> Rules {
    let named = routes
        .iter()
        .enumerate()
        .map(|(index, conditions)| json!({ "name": format!("r{index}"), "match": conditions }));
    let document = json!({ "version": 1, "routes": named.collect::<Vec<_>>() }).to_string();
    load(document.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{document}")).rules
}

fn headers(method: &str, authority: &str, path: &str, more: &[(&str, &str)]) -> Headers {
    let pseudo = [(":method", method), (":authority", authority), (":path", path)];
    pseudo.iter().chain(more).copied().collect()
}

/// Whether the request matches a route with these conditions.
fn matches(conditions: Value, request: &Headers) -> bool {
    config(&[conditions]).match_route(&RequestView::new(request)).is_some()
}

#[test]
fn hosts_match_without_case_and_port() {
    let to = |authority: &str| headers("GET", authority, "/", &[]);
    let exact = json!({ "hosts": ["Api.Example.com"] });
    for authority in ["api.example.com", "API.example.COM", "api.example.com:8443"] {
        assert!(matches(exact.clone(), &to(authority)), "{authority}");
    }
    for authority in ["example.com", "xapi.example.com", "api.example.com.", "", ":80"] {
        assert!(!matches(exact.clone(), &to(authority)), "{authority}");
    }
    let below = json!({ "hosts": ["*.example.com"] });
    for authority in ["a.example.com", "a.b.EXAMPLE.com:80"] {
        assert!(matches(below.clone(), &to(authority)), "{authority}");
    }
    for authority in ["example.com", ".example.com", "aexample.com", "a.example.com.org"] {
        assert!(!matches(below.clone(), &to(authority)), "{authority}");
    }
    assert!(matches(json!({ "hosts": ["[::1]"] }), &to("[::1]:8080")));
    assert!(matches(json!({ "hosts": ["[::1]"] }), &to("[::1]")));
    assert!(!matches(json!({ "hosts": ["[::1]"] }), &to("[::2]:8080")));
    assert!(matches(json!({ "hosts": ["*"] }), &to("")));
}

#[test]
fn the_host_header_replaces_a_missing_authority() {
    let request: Headers = [("host", "a.example.com")].into_iter().collect();
    assert!(matches(json!({ "hosts": ["a.example.com"] }), &request));
}

#[test]
fn paths_match_without_the_query() {
    let to = |path: &str| headers("GET", "a", path, &[]);
    let cases = [
        (json!({ "exact": "/a" }), vec!["/a", "/a?b=/c", "/a?"], vec!["/a/", "/A", "/", "", "*"]),
        (json!({ "prefix": "/a" }), vec!["/a", "/ab", "/a/b?c"], vec!["/", "/b/a", "/?/a"]),
        (json!({ "regex": "/a/[0-9]+" }), vec!["/a/1", "/a/12?x"], vec!["/a/", "/a/1/b", "x/a/1"]),
        (json!({ "regex": "/a|/b" }), vec!["/a", "/b"], vec!["/ab", "/a/b"]),
        (json!({ "regex": "/ab?" }), vec!["/a", "/ab"], vec!["/abb"]),
        (json!({ "regex": "(?i)/a" }), vec!["/a", "/A"], vec!["/b"]),
    ];
    for (path, matching, other) in cases {
        for request in matching {
            assert!(matches(json!({ "path": path }), &to(request)), "{path} matches {request}");
        }
        for request in other {
            assert!(
                !matches(json!({ "path": path }), &to(request)),
                "{path} does not match {request}"
            );
        }
    }
}

#[test]
fn paths_that_are_not_utf8_match_prefixes_but_no_regex() {
    let request: Headers = [(":method", &b"GET"[..]), (":authority", b"a"), (":path", b"/a/\xff")]
        .into_iter()
        .collect();
    assert!(!matches(json!({ "path": { "regex": "/a/.*" } }), &request));
    assert!(matches(json!({ "path": { "prefix": "/a/" } }), &request));
}

#[test]
fn connect_requests_match_no_path() {
    let request: Headers = [(":method", "CONNECT"), (":authority", "a:443")].into_iter().collect();
    assert!(!matches(json!({ "path": { "prefix": "/" } }), &request));
    assert!(matches(json!({ "methods": ["CONNECT"], "hosts": ["a"] }), &request));
}

#[test]
fn one_of_several_header_values_is_enough() {
    let request = headers("GET", "a", "/", &[("x", "one"), ("x", "two"), ("empty", "")]);
    let met = [
        json!({ "name": "x", "exact": "two" }),
        json!({ "name": "x", "prefix": "on" }),
        json!({ "name": "x", "contains": "w" }),
        json!({ "name": "x", "regex": "t.o" }),
        json!({ "name": "x", "present": true }),
        json!({ "name": "empty", "present": true }),
        json!({ "name": "y", "present": false }),
    ];
    for header in met {
        assert!(matches(json!({ "headers": [header] }), &request), "{header}");
    }
    let missed = [
        json!({ "name": "x", "exact": "One" }),
        json!({ "name": "x", "prefix": "ne" }),
        json!({ "name": "x", "contains": "onetwo" }),
        json!({ "name": "x", "regex": "t" }),
        json!({ "name": "x", "present": false }),
        json!({ "name": "y", "present": true }),
        json!({ "name": "y", "exact": "one" }),
    ];
    for header in missed {
        assert!(!matches(json!({ "headers": [header] }), &request), "{header}");
    }
    let both =
        json!({ "headers": [{ "name": "x", "exact": "one" }, { "name": "x", "exact": "three" }] });
    assert!(!matches(both, &request), "all conditions must match");
}

#[test]
fn route_names_and_policies_of_the_proxy_match() {
    let config = config(&[json!({ "route_name": "r" }), json!({ "policy": "p" }), json!({})]);
    assert!(config.needs_route_name() && config.needs_metadata_policy());
    let list = headers("GET", "a", "/", &[]);
    let route = |route_name: Option<&str>, policy: Option<&str>| {
        let mut request = RequestView::new(&list);
        request.route_name = route_name.map(str::as_bytes);
        request.policy = policy.map(str::as_bytes);
        config.match_route(&request)
    };
    assert_eq!(route(Some("r"), Some("p")), Some(0));
    assert_eq!(route(Some("x"), Some("p")), Some(1));
    assert_eq!(route(Some("p"), Some("r")), Some(2));
    assert_eq!(route(None, None), Some(2));
}

#[test]
fn properties_are_read_only_if_a_route_uses_them() {
    let config = config(&[json!({ "path": { "prefix": "/" }, "hosts": ["a"] })]);
    assert!(!config.needs_route_name() && !config.needs_metadata_policy());
}

/// Few different values, so that requests often match.
fn conditions() -> impl Strategy<Value = Value> {
    let host = prop::sample::select(vec!["a.x", "b.x", "a.b.x", "*.x", "*.b.x", "*", "x", "[::1]"]);
    let text = "/[ab]{0,2}(/[ab]{0,2}){0,2}";
    let path = prop_oneof![
        text.prop_map(|path| json!({ "exact": path })),
        text.prop_map(|path| json!({ "prefix": path })),
        prop::sample::select(vec!["/a.*", "/a/?b*", "/(a|b)+", "/a|/b/.*", "/ab{2}/a", ".*"])
            .prop_map(|path| json!({ "regex": path })),
    ];
    let method = prop::sample::select(vec!["GET", "POST", "CONNECT"]);
    let header = prop_oneof![
        Just(json!({ "name": "h", "exact": "v" })),
        Just(json!({ "name": "h", "contains": "w" })),
        Just(json!({ "name": "h", "present": false })),
    ];
    let name = prop::sample::select(vec!["p", "q"]);
    (
        prop::option::weighted(0.5, prop::collection::vec(host, 1..3)),
        prop::option::weighted(0.8, path),
        prop::option::weighted(0.3, prop::collection::vec(method, 1..3)),
        prop::option::weighted(0.2, prop::collection::vec(header, 1..3)),
        prop::option::weighted(0.2, name.clone()),
        prop::option::weighted(0.2, name),
    )
        .prop_map(|(hosts, path, methods, headers, route_name, policy)| {
            let all = json!({
                "hosts": hosts, "path": path, "methods": methods, "headers": headers,
                "route_name": route_name, "policy": policy,
            });
            let given = all.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
            Value::Object(given.map(|(key, value)| (key.clone(), value.clone())).collect())
        })
}

fn requests() -> impl Strategy<Value = (Headers, Option<&'static str>, Option<&'static str>)> {
    let host = prop::sample::select(vec![
        "a.x", "B.X:80", "a.b.x", "c.a.b.x", "x", "y", "", "[::1]:1", ".x",
    ]);
    let method = prop::sample::select(vec!["GET", "POST", "CONNECT", "get"]);
    let more = prop::sample::select(vec![
        vec![],
        vec![("h", "v")],
        vec![("h", "v"), ("h", "w")],
        vec![("h", "xwx")],
    ]);
    let path = prop_oneof!["/[ab]{0,2}(/[ab]{0,2}){0,3}(\\?[ab/]{0,2})?", Just(String::new())];
    let name = prop::option::of(prop::sample::select(vec!["p", "q", "z"]));
    (method, host, path, more, name.clone(), name).prop_map(
        |(method, host, path, more, route_name, policy)| {
            (headers(method, host, &path, &more), route_name, policy)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_agrees_with_a_check_in_order(
        routes in prop::collection::vec(conditions(), 0..40),
        requests in prop::collection::vec(requests(), 1..40),
    ) {
        let config = config(&routes);
        for (list, route_name, policy) in &requests {
            let mut request = RequestView::new(list);
            request.route_name = route_name.map(str::as_bytes);
            request.policy = policy.map(str::as_bytes);
            let in_order = config.routes.iter().position(|route| matching::matches(&route.conditions, &request));
            prop_assert_eq!(config.match_route(&request), in_order);
        }
    }

    #[test]
    fn routes_reported_as_unreachable_never_match(
        routes in prop::collection::vec(conditions(), 2..12),
        requests in prop::collection::vec(requests(), 20..60),
    ) {
        let named = routes.iter().enumerate().map(|(index, conditions)| {
            json!({ "name": format!("r{index}"), "match": conditions })
        });
        let document = json!({ "version": 1, "routes": named.collect::<Vec<_>>() }).to_string();
        let loaded = load(document.as_bytes()).expect("a valid document");
        for (list, route_name, policy) in &requests {
            let mut request = RequestView::new(list);
            request.route_name = route_name.map(str::as_bytes);
            request.policy = policy.map(str::as_bytes);
            if let Some(winner) = loaded.rules.match_route(&request) {
                let place = format!("routes[{winner}]");
                prop_assert!(loaded.warnings.iter().all(|warning| warning.place != place));
            }
        }
    }
}

#[test]
fn explain_names_condition_found_value_and_expected_value() {
    let config = config(&[
        json!({ "hosts": ["*.example.com"], "methods": ["GET", "HEAD"] }),
        json!({ "path": { "prefix": "/api/" }, "headers": [{ "name": "x", "contains": "b" }] }),
        json!({ "path": { "regex": "/.*" } }),
    ]);
    let list =
        headers("POST", "a.example.com", "/other?q", &[("x", "aa"), ("x-envoy-retry-on", "5xx")]);
    let explanation = explain::explain(&config, &RequestView::new(&list));
    assert_eq!(explanation.route.as_deref(), Some("r2"));
    let failed: Vec<_> = explanation
        .tried
        .iter()
        .flat_map(|tried| tried.failed.iter().map(|failed| (tried.index, failed)))
        .map(|(index, failed)| {
            format!("{index} {}: {} / {}", failed.condition, failed.found, failed.expected)
        })
        .collect();
    let expected = [
        "0 methods: POST / method GET or HEAD",
        "1 path: /other / path prefix /api/",
        "1 headers[0]: aa / x: *b*",
    ];
    assert_eq!(failed, expected);
    let texts: Vec<_> = explanation.effects.iter().map(|effect| effect.text.as_str()).collect();
    let unset =
        "not set, so the timeout of the proxy's own route applies (15s in Envoy by default)";
    assert_eq!(texts, [unset, "removed, because clients must not send them: x-envoy-retry-on"]);
    let rows = explain::summarize(&config).routes;
    assert_eq!(rows[1].conditions, "path prefix /api/, x: *b*");
    assert_eq!(rows[3].name, "default");
}

#[test]
fn explain_names_what_is_retried_and_the_retries_of_the_proxy() {
    let text = |retry: serde_json::Value| {
        let document = json!({ "version": 1, "routes": [{ "name": "r", "retry": retry }] });
        let loaded = load(document.to_string().as_bytes()).expect("a valid document");
        let rows = explain::summarize(&loaded.rules).routes;
        let retry = rows[0].effects.iter().filter(|effect| effect.setting == "retry");
        retry.map(|effect| effect.text.clone()).collect::<Vec<_>>()
    };
    let on = ["reset-before-request", "retriable-status-codes"];
    assert_eq!(
        text(json!({ "on": on, "status": [429, 503], "attempts": 3 })),
        [
            "up to 3 attempts; retried after reset-before-request or status 429, 503, and after what the proxy's own route retries"
        ]
    );
    let off = ["1 attempt; ends the retries of the proxy's own route too"];
    assert_eq!(text(json!("off")), off);
    assert_eq!(text(json!({ "on": ["5xx"], "attempts": 1 })), off);
}
