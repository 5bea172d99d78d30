//! The headers that the proxy adds and removes, as a filter, an upstream and a client see them.

use serde_json::{Value, json};
use sluice_sim::replay::{Options, replay};
use sluice_sim::trace::Trace;
use sluice_sim::{Limits, Module, Profile};
use sluice_tests::call_guest::{CallGuest, call};
use sluice_tests::envoy::Envoy;
use sluice_tests::eventually;
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

use super::{assert_same, bootstrap, logged_in_envoy, logged_in_the_simulator};

fn guest() -> Vec<u8> {
    let dump = |map: i64| [call(&format!("pairs {map}"), "get_header_map_pairs", [map.into()])];
    CallGuest::default()
        .on("request_headers", &dump(0), 0)
        .on("response_headers", &dump(2), 0)
        .module()
}

/// Headers of requests. Those about the connection, those that the proxy adds, and those that it
/// does not accept from everyone.
const REQUESTS: &[&[(&str, &str)]] = &[
    &[],
    &[("user-agent", "x"), ("Accept", "*/*")],
    &[
        ("connection", "keep-alive, X-Drop, te"),
        ("keep-alive", "5"),
        ("x-drop", "1"),
        ("te", "trailers, gzip"),
        ("proxy-connection", "keep-alive"),
        ("upgrade-insecure-requests", "1"),
        ("proxy-authorization", "p"),
    ],
    &[("te", "gzip"), ("trailer", "x")],
    &[
        ("connection", "Upgrade, HTTP2-Settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
    ],
    &[
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "mine"),
        ("x-envoy-external-address", "9"),
        ("x-envoy-upstream-rq-timeout-ms", "3000"),
        ("x-envoy-internal", "true"),
        ("x-forwarded-host", "h"),
        ("x-envoy-expected-rq-timeout-ms", "7"),
        ("via", "1.1 x"),
        ("x-envoy-attempt-count", "4"),
        ("x-envoy-original-path", "/q"),
    ],
    &[("x-request-id", "mine"), ("x-forwarded-proto", "http")],
];

/// Headers of responses.
const RESPONSES: &[&[(&str, &str)]] = &[
    &[("content-length", "2")],
    &[
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("server", "nginx"),
        ("via", "v"),
        ("x-request-id", "z"),
        ("x-envoy-upstream-service-time", "99"),
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("content-length", "2"),
        ("X-Custom", "1"),
    ],
];

fn compare(settings: &Value, proxy: &Value) {
    let wasm = guest();
    let mut trace = json!({ "at": "0s", "proxy": proxy }).to_string();
    let upstream = Upstream::start(|request, reply| {
        let index: usize = request.path()[1..].parse().expect("a number");
        reply.send_headers(200, RESPONSES[index]);
        reply.write(b"ok");
    });
    let bootstrap = bootstrap(&wasm, &json!({}), upstream.port).with_connection_manager(settings);
    let envoy = Envoy::start(bootstrap);
    let mut received = Vec::new();
    let mut at = 0;
    for (index, response) in RESPONSES.iter().enumerate() {
        for request in REQUESTS {
            let path = format!("/{index}");
            let mut client = Client::connect(envoy.port);
            client.send("GET", &path, request);
            let response_headers = client.receive().headers;
            received.push(
                response_headers.fields.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>(),
            );
            at += 1;
            let event = json!({ "at": format!("{at}s"), "connection": format!("c{at}"),
                "request": { "authority": "example.com", "path": path, "headers": request },
                "upstream": { "headers": response, "body": [{ "text": "ok" }] } });
            trace.push_str(&format!("\n{{\"at\":\"{at}s\",\"connection\":\"c{at}\",\"open\":{{\"source\":\"127.0.0.1:4711\"}}}}\n{event}"));
        }
    }
    let simulator = logged_in_the_simulator(&wasm, &trace);
    let in_envoy = eventually("the guest to log", || {
        Some(logged_in_envoy(&envoy)).filter(|lines| lines.len() >= simulator.len())
    });
    // A proxy at the edge adds the address of this machine, which it chooses.
    let without_address = |lines: Vec<String>| -> Vec<String> {
        let lines = lines.into_iter().filter(|line| !line.starts_with('>'));
        lines
            .map(|line| {
                let entries = line.split("\", \"").map(|entry| match entry.split_once('=') {
                    Some((name @ ("x-forwarded-for" | "x-envoy-external-address"), _)) => {
                        format!("{name}=*")
                    }
                    _ => entry.to_owned(),
                });
                entries.collect::<Vec<_>>().join("\", \"")
            })
            .collect()
    };
    assert_same(&without_address(in_envoy), &without_address(simulator));
    let module = Module::new(&wasm, &Limits::default()).expect("the simulator loads it");
    let trace = Trace::parse("test", &trace).expect("a valid trace");
    let options = Options::new(Profile::Envoy).with_configuration("");
    let report = replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay");
    for (exchange, names) in report.exchanges.iter().zip(&received) {
        let simulated: Vec<String> = exchange
            .headers
            .iter()
            .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
            .collect();
        assert_eq!(&simulated, names, "the client's headers: the simulator, then Envoy");
    }
    let sent = upstream.requests("/0");
    assert!(
        sent.iter()
            .all(|request| request.header("x-envoy-expected-rq-timeout-ms") == Some("15000"))
    );
}

#[test]
fn headers_of_a_proxy_that_trusts_its_clients_are_the_same_in_both_hosts() {
    compare(&json!({ "use_remote_address": false }), &json!({ "use_remote_address": false }));
}

#[test]
fn headers_of_a_proxy_at_the_edge_are_the_same_in_both_hosts() {
    compare(&json!({ "use_remote_address": true }), &json!({ "use_remote_address": true }));
}
