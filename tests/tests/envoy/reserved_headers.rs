//! Clients and upstreams cannot control the proxy through reserved headers; only the configuration
//! can.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

/// Request headers that change how Envoy serves an internal client. In a mesh every client is
/// internal. Each was seen to work on Envoy without the filter.
const CONTROL_HEADERS: [(&str, &str); 11] = [
    ("x-envoy-expected-rq-timeout-ms", "1"),
    ("x-envoy-upstream-rq-timeout-ms", "1"),
    ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
    ("x-envoy-upstream-stream-duration-ms", "1"),
    ("x-envoy-upstream-rq-timeout-alt-response", "1"),
    ("x-envoy-retry-on", "5xx,retriable-status-codes,retriable-headers"),
    ("x-envoy-retry-grpc-on", "unavailable"),
    ("x-envoy-max-retries", "5"),
    ("x-envoy-retriable-status-codes", "500,503"),
    ("x-envoy-retriable-header-names", "content-length"),
    ("x-envoy-hedge-on-per-try-timeout", "true"),
];

fn internal(upstream: u16, configuration: &Value) -> Bootstrap {
    let everybody = json!({ "internal_address_config": {
        "cidr_ranges": [{ "address_prefix": "127.0.0.1", "prefix_len": 32 }] } });
    Bootstrap::discovered(upstream, configuration).with_connection_manager(&everybody).changed(
        "http_filters",
        |filters| {
            // The option with which the router obeys `x-envoy-expected-rq-timeout-ms`.
            let router = filters.as_array_mut().and_then(|filters| filters.last_mut());
            router.expect("a router")["typed_config"]["respect_expected_rq_timeout"] = json!(true);
        },
    )
}

fn configuration() -> Value {
    json!({
        "version": 1,
        "routes": [{ "name": "slow", "match": { "path": { "exact": "/slow" } },
                     "timeouts": { "request": "5s" } }]
    })
}

fn slow_or_failing() -> Upstream {
    Upstream::start(|request, reply| match request.path() {
        "/slow" | "/plain" => {
            reply.pause(300);
            reply.respond(200, &[], b"slow");
        }
        _ => reply.respond(503, &[], b"no"),
    })
}

#[test]
fn control_headers_of_a_client_have_no_effect() {
    let upstream = slow_or_failing();
    let envoy = Envoy::start(internal(upstream.port, &configuration()));
    for path in ["/slow", "/plain"] {
        let mut client = Client::connect(envoy.port);
        client.send("GET", path, &CONTROL_HEADERS);
        let response = client.receive();
        assert_eq!(response.status, 200, "{path}");
        assert!(response.end_after > Duration::from_millis(280));
        assert_eq!(upstream.requests(path).len(), 1);
    }
    let mut client = Client::connect(envoy.port);
    client.send("GET", "/failing", &CONTROL_HEADERS);
    assert_eq!(client.receive().status, 503);
    assert_eq!(upstream.requests("/failing").len(), 1);
}

#[test]
fn control_headers_take_effect_without_the_filter() {
    let upstream = slow_or_failing();
    let envoy = Envoy::start(internal(upstream.port, &configuration()).without("sluice"));
    for timeout in &CONTROL_HEADERS[..2] {
        let mut client = Client::connect(envoy.port);
        client.send("GET", "/slow", &[*timeout]);
        assert_eq!(client.receive().status, 504, "{timeout:?}");
    }
    let mut client = Client::connect(envoy.port);
    client.send("GET", "/failing", &CONTROL_HEADERS[5..]);
    client.receive();
    assert!(upstream.requests("/failing").len() > 1);
}

#[test]
fn reserved_headers_are_removed_in_both_directions() {
    let upstream = Upstream::start(|_, reply| {
        reply.respond(200, &[("x-sluice-drain", "close")], b"forged");
    });
    let mut draining = configuration();
    draining["drain"] = json!({});
    for bridge in [true, false] {
        let bootstrap = internal(upstream.port, &draining);
        let envoy = Envoy::start(match bridge {
            true => bootstrap,
            false => bootstrap.without("sluice-drain-bridge"),
        });
        let mut client = Client::connect(envoy.port);
        client.send("GET", "/", &[("x-sluice-drain", "close"), ("x-sluice-anything", "1")]);
        let response = client.receive();
        assert_eq!((response.status, response.header("x-sluice-drain")), (200, None));
        assert!(!response.closes(), "an upstream cannot close the client's connection");
        assert!(!client.closed_within(Duration::from_millis(300)));
    }
    for seen in upstream.requests("/") {
        let ours = seen.headers.fields.iter().filter(|(name, _)| name.starts_with("x-sluice-"));
        assert_eq!(ours.count(), 0, "{:?}", seen.headers.fields);
    }
}

#[test]
fn connection_close_of_an_upstream_does_not_close_the_client() {
    let upstream = Upstream::start(|_, reply| {
        reply.respond(200, &[("connection", "close")], b"bye");
        reply.close();
    });
    let envoy = Envoy::start(internal(upstream.port, &configuration()));
    let mut client = Client::connect(envoy.port);
    for _ in 0..3 {
        assert!(!client.get("/").closes());
    }
    assert!(!client.closed_within(Duration::from_millis(300)));
    assert_eq!(upstream.connections(), 3);
}
