//! Header maps: which repeated values are joined, and where changes appear.

use serde_json::json;
use sluice_sim::{InlineHeaders, Profile};
use sluice_tests::call_guest::{CallGuest, HostCall, call, pairs};
use sluice_tests::envoy::Envoy;
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;
use sluice_tests::{eventually, http2};

use super::{assert_same, bootstrap, logged_in_envoy, logged_in_the_simulator};

/// Names that are not in any list of inline headers, but could be.
const OTHERS: &[&str] = &[
    "accept-charset",
    "accept-language",
    "accept-ranges",
    "allow",
    "alt-svc",
    "authentication-info",
    "client-ip",
    "content-disposition",
    "content-language",
    "content-location",
    "content-range",
    "content-security-policy",
    "cookie",
    "dnt",
    "early-data",
    "forwarded",
    "from",
    "grpc-encoding",
    "last-event-id",
    "link",
    "max-forwards",
    "mime-version",
    "prefer",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "retry-after",
    "sec-websocket-protocol",
    "server-timing",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "traceparent",
    "tracestate",
    "warning",
    "www-authenticate",
    "x-api-key",
    "x-b3-traceid",
    "x-content-type-options",
    "x-frame-options",
    "x-real-ip",
    "x-requested-with",
    "x-tenant",
    "x-forwarded-prefix",
    "x-forwarded-scheme",
];

fn inline() -> &'static InlineHeaders {
    Profile::Envoy.rules().inline_headers.expect("Envoy has inline headers")
}

/// Every name of any list, and the others. Those that would break the message are left out.
fn names() -> Vec<&'static str> {
    let lists = [inline().request, inline().response, inline().response_trailers, OTHERS];
    let mut names: Vec<&str> = lists.into_iter().flatten().copied().collect();
    names.sort_unstable();
    names.dedup();
    let breaks = [
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    // Envoy adds it to a response that follows the end of the request, which depends on chance.
    let by_chance = "x-envoy-upstream-service-time";
    names.retain(|name| !name.starts_with(':') && !breaks.contains(name) && *name != by_chance);
    names
}

fn dump(map: i64) -> HostCall {
    call(&format!("{map} pairs"), "get_header_map_pairs", [map.into()])
}

/// Adds each name twice.
fn adds(map: i64) -> Vec<HostCall> {
    let add = |name: &str, value: &str| {
        call(
            &format!("add {name}"),
            "add_header_map_value",
            [map.into(), name.into(), value.into()],
        )
    };
    let mut calls: Vec<HostCall> =
        names().into_iter().flat_map(|name| [add(name, "1"), add(name, "2")]).collect();
    calls.push(dump(map));
    // The upstream and the client of this test do not accept all of them. Without the protocol,
    // Envoy finds no route.
    for name in names().into_iter().filter(|name| *name != "x-forwarded-proto") {
        calls.push(call(
            &format!("{map} rm"),
            "remove_header_map_value",
            [map.into(), name.into()],
        ));
    }
    if map == 0 {
        let replace = [map.into(), "x-forwarded-proto".into(), "http".into()];
        calls.push(call("0 protocol", "replace_header_map_value", replace));
    }
    calls
}

/// Only the headers of the test: the order of pseudo-headers depends on the client, and whether the
/// response begins before the trailers of the request depends on chance.
fn without_pseudo_headers(mut lines: Vec<String>) -> Vec<String> {
    lines.retain(|line| !line.starts_with('>'));
    lines.sort_by_key(|line| line.chars().next());
    lines
        .into_iter()
        .map(|line| {
            let Some((call, list)) = line.split_once(" [") else { return line };
            let entries = list.trim_end_matches(']').split(", ");
            let ignored = ["\":", "\"x-envoy-upstream-service-time"];
            let kept: Vec<&str> = entries
                .filter(|entry| !ignored.iter().any(|prefix| entry.starts_with(prefix)))
                .collect();
            format!("{call} [{}]", kept.join(", "))
        })
        .collect()
}

#[test]
fn values_that_a_guest_adds_are_joined_for_the_same_names_in_both_hosts() {
    let wasm = CallGuest::default()
        .on("request_headers", &adds(0), 0)
        .on("request_trailers", &adds(1), 0)
        .on("response_headers", &adds(2), 0)
        .on("response_trailers", &adds(3), 0)
        .module();
    let upstream = http2::serve_chunks(&[b"ok"]);
    let bootstrap = bootstrap(&wasm, &json!({}), upstream).http_2_upstream();
    let envoy = Envoy::start(bootstrap);
    let client = http2::Client::connect(envoy.port);
    let pending = client.upload("/", &[], &[b"x"]);
    assert_eq!(client.finish(pending).status, 200);
    let trace = r#"{"at":"0s","connection":"c","open":{"protocol":"HTTP/2"}}
{"at":"0s","connection":"c","request":{"method":"POST","authority":"example.com","body":[{"text":"x"}],"trailers":[["x-checksum","12345"]]},"upstream":{"headers":[["content-length","2"]],"body":[{"text":"ok"}],"trailers":[["x-checksum","12345"]]}}"#;
    let simulator = logged_in_the_simulator(&wasm, trace);
    let in_envoy = eventually("the guest to log", || {
        Some(logged_in_envoy(&envoy)).filter(|lines| lines.len() >= simulator.len())
    });
    assert_same(&without_pseudo_headers(in_envoy), &without_pseudo_headers(simulator));
}

#[test]
fn values_that_arrive_are_joined_for_the_same_names_in_both_hosts() {
    let wasm = CallGuest::default()
        .on("request_headers", &[dump(0)], 0)
        .on("response_headers", &[dump(2)], 0)
        .module();
    // Envoy overwrites these, or reads them.
    let special = ["x-envoy-upstream-service-time", "x-request-id", "date", "server", "cookie"];
    let names: Vec<&str> = names()
        .into_iter()
        .filter(|name| !special.contains(name) && !name.starts_with("x-envoy-"))
        .filter(|name| !name.starts_with("x-forwarded-") && !name.starts_with("grpc-"))
        .collect();
    let twice: Vec<(&str, &str)> =
        names.iter().flat_map(|name| [(*name, "1"), (*name, "2")]).collect();
    let half = twice.len() / 4 * 2;
    // An upstream can send at most 100 headers.
    for part in [twice[..half].to_vec(), twice[half..].to_vec()] {
        let fields: Vec<(&'static str, &'static str)> = part.clone();
        let upstream = Upstream::start(move |_, reply| reply.respond(200, &fields, b"ok"));
        let envoy = Envoy::start(bootstrap(&wasm, &json!({}), upstream.port));
        let mut client = Client::connect(envoy.port);
        client.send("GET", "/", &part);
        assert_eq!(client.receive().status, 200);
        let list = serde_json::to_string(&part).expect("JSON");
        let mut response = part.clone();
        response.push(("content-length", "2"));
        let response = serde_json::to_string(&response).expect("JSON");
        let trace = format!(
            r#"{{"at":"0s","request":{{"authority":"example.com","headers":{list}}},"upstream":{{"headers":{response},"body":[{{"text":"ok"}}]}}}}"#
        );
        let simulator = logged_in_the_simulator(&wasm, &trace);
        let in_envoy = eventually("the guest to log", || {
            Some(logged_in_envoy(&envoy)).filter(|lines| lines.len() >= simulator.len())
        });
        assert_same(&without_pseudo_headers(in_envoy), &without_pseudo_headers(simulator));
    }
}

#[test]
fn changes_of_a_map_appear_at_the_same_place_in_both_hosts() {
    let value = |map: i64, name: &str| {
        call(&format!("get {map} {name}"), "get_header_map_value", [map.into(), name.into()])
    };
    let add = |map: i64, name: &str, value: &str| {
        call("add", "add_header_map_value", [map.into(), name.into(), value.into()])
    };
    let replace = |map: i64, name: &str, value: &str| {
        call("replace", "replace_header_map_value", [map.into(), name.into(), value.into()])
    };
    let remove =
        |map: i64, name: &str| call("remove", "remove_header_map_value", [map.into(), name.into()]);
    let size = |map: i64| call("size", "get_header_map_size", [map.into()]);
    let request = [
        dump(0),
        value(0, "x-m"),
        value(0, "X-M"),
        value(0, "accept"),
        value(0, "host"),
        value(0, "x-none"),
        replace(0, "x-m", "9"),
        replace(0, "Accept", "z"),
        add(0, "accept", "y"),
        add(0, "x-new", ""),
        replace(0, ":path", "/other"),
        dump(0),
        remove(0, "X-m"),
        remove(0, "accept"),
        add(0, ":scheme", "x"),
        replace(0, ":scheme", "http"),
        add(0, "X-Upper", "A"),
        dump(0),
        size(2),
        dump(2),
        value(2, "a"),
        value(8, "a"),
        dump(8),
        call(
            "set",
            "set_header_map_pairs",
            [
                0.into(),
                pairs(&[
                    (":method", "GET"),
                    ("x-a", "1"),
                    (":path", "/"),
                    (":authority", "example.com"),
                    (":scheme", "http"),
                    ("x-forwarded-proto", "http"),
                    ("Accept", "1"),
                    ("accept", "2"),
                    ("x-a", "2"),
                    ("cookie", "1"),
                    ("cookie", "2"),
                ]),
            ],
        ),
        dump(0),
    ];
    let response = [
        dump(2),
        value(2, "x-m"),
        value(2, "vary"),
        replace(2, "x-m", "9"),
        replace(2, "vary", "c"),
        add(2, "vary", "d"),
        add(2, "set-cookie", "1"),
        add(2, "set-cookie", "2"),
        replace(2, ":status", "201"),
        dump(2),
        value(0, ":path"),
        size(0),
        add(0, "a", "b"),
    ];
    let log =
        [value(1, "a"), value(3, "a"), dump(1), dump(3), value(4, "a"), size(3), value(9, "a")];
    let wasm = CallGuest::default()
        .on("request_headers", &request, 0)
        .on("response_headers", &response, 0)
        .on("log", &log, 0)
        .module();
    let upstream = Upstream::start(|_, reply| {
        reply.respond(200, &[("x-m", "1"), ("vary", "a"), ("X-M", "2"), ("vary", "b")], b"ok");
    });
    let envoy = Envoy::start(bootstrap(&wasm, &json!({}), upstream.port));
    let mut client = Client::connect(envoy.port);
    client.send("GET", "/", &[("x-m", "1"), ("X-M", "2"), ("accept", "a"), ("Accept", "b")]);
    assert_eq!(client.receive().status, 201);
    let trace = r#"{"at":"0s","request":{"authority":"example.com","headers":[["x-m","1"],["X-M","2"],["accept","a"],["Accept","b"]]},"upstream":{"headers":[["x-m","1"],["vary","a"],["X-M","2"],["vary","b"],["content-length","2"]],"body":[{"text":"ok"}]}}"#;
    let simulator = logged_in_the_simulator(&wasm, trace);
    let in_envoy = eventually("the guest to log", || {
        Some(logged_in_envoy(&envoy)).filter(|lines| lines.len() >= simulator.len())
    });
    assert_same(&in_envoy, &simulator);
}
