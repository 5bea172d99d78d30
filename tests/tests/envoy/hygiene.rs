//! Nobody but the configuration steers the proxy: not the client, not the upstream.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

/// What a client may send to be served differently; each was seen to work on Envoy without a filter
/// when the client counts as internal, as in a mesh every client does.
const STEERING: [(&str, &str); 10] = [
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
    Bootstrap::discovered(upstream, configuration).manager_with(&everybody)
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
fn what_a_client_sends_to_steer_the_proxy_changes_nothing() {
    let upstream = slow_or_failing();
    let envoy = Envoy::start(internal(upstream.port, &configuration()));
    for path in ["/slow", "/plain"] {
        let mut client = Client::connect(envoy.port);
        client.send("GET", path, &STEERING);
        let response = client.receive();
        assert_eq!(response.status, 200, "{path}");
        assert!(response.end_after > Duration::from_millis(280));
        assert_eq!(upstream.requests(path).len(), 1);
    }
    let mut client = Client::connect(envoy.port);
    client.send("GET", "/failing", &STEERING);
    assert_eq!(client.receive().status, 503);
    assert_eq!(upstream.requests("/failing").len(), 1);
}

#[test]
fn without_the_filter_they_would_have_changed_much() {
    let upstream = slow_or_failing();
    let envoy = Envoy::start(internal(upstream.port, &configuration()).without("sluice"));
    let mut client = Client::connect(envoy.port);
    client.send("GET", "/slow", &STEERING[..1]);
    assert_eq!(client.receive().status, 504);
    let mut client = Client::connect(envoy.port);
    client.send("GET", "/failing", &STEERING[4..]);
    client.receive();
    assert!(upstream.requests("/failing").len() > 1);
}

#[test]
fn our_own_headers_pass_in_neither_direction() {
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
        let ours = seen.head.headers.iter().filter(|(name, _)| name.starts_with("x-sluice-"));
        assert_eq!(ours.count(), 0, "{:?}", seen.head.headers);
    }
}

#[test]
fn an_upstream_that_closes_its_own_connections_leaves_the_clients_open() {
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
