//! Envoy retries requests of routes with a retry policy, and no others.

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

fn configuration() -> Value {
    let route = |name: &str, on: &[&str], attempts: u32| {
        json!({ "name": name, "match": { "path": { "exact": format!("/{name}") } },
                "retry": { "on": on, "attempts": attempts } })
    };
    json!({
        "version": 1,
        "routes": [
            route("refused", &["connect-failure"], 3),
            route("reset", &["reset"], 3),
            route("connect-only", &["connect-failure"], 3),
            { "name": "status", "match": { "path": { "exact": "/status" } },
              "retry": { "on": ["retriable-status-codes"], "status": [429, 503], "attempts": 3 } },
            { "name": "off", "match": { "path": { "exact": "/off" } }, "retry": "off" },
            route("before", &["reset-before-request"], 3),
        ]
    })
}

fn start(port: u16) -> Envoy {
    Envoy::start(Bootstrap::example("static", port).configured(&configuration()))
}

#[test]
fn a_refused_connection_is_retried_up_to_the_attempts_of_the_route() {
    let envoy = start(sluice_tests::unused_port());
    let response = Client::get_once(envoy.port, "/refused");
    assert_eq!(response.status, 503);
    envoy.wait_for_stat("cluster.service.upstream_rq_retry", 2);
    assert_eq!(Client::get_once(envoy.port, "/other").status, 503);
    assert_eq!(envoy.stat("cluster.service.upstream_rq_retry"), 2, "no retry without a policy");
}

#[test]
fn a_reset_before_the_response_is_retried_by_routes_that_allow_it() {
    let upstream = Upstream::start(|_, reply| match reply.earlier_requests {
        0 => reply.close(),
        1 => {
            reply.write(b"HTTP/1.1 200 OK\r\ncontent-le");
            reply.close();
        }
        _ => reply.respond(200, &[], b"third time lucky"),
    });
    let envoy = start(upstream.port);
    assert_eq!(Client::get_once(envoy.port, "/reset").status, 200);
    assert_eq!(upstream.requests("/reset").len(), 3);
    for path in ["/connect-only", "/other"] {
        assert_eq!(Client::get_once(envoy.port, path).status, 503);
        assert_eq!(upstream.requests(path).len(), 1, "{path}");
    }
}

#[test]
fn a_started_response_is_never_retried() {
    let upstream = Upstream::start(|_, reply| {
        reply.send_headers(200, &[("content-length", "6")]);
        reply.write(b"abc");
        reply.pause(50);
        reply.close();
    });
    let envoy = start(upstream.port);
    let response = Client::get_once(envoy.port, "/reset");
    assert_eq!((response.status, response.body.complete), (200, false));
    assert_eq!(upstream.requests("/reset").len(), 1);
}

fn status(path: &str) -> u16 {
    match path {
        "/other" => 429,
        _ => 503,
    }
}

#[test]
fn listed_statuses_are_retried_and_no_others() {
    for (status, attempts) in [(429, 3), (503, 3), (500, 1)] {
        let upstream = Upstream::start(move |_, reply| {
            let is_last = reply.earlier_requests == 2;
            reply.respond(if is_last { 200 } else { status }, &[], b"");
        });
        let envoy = start(upstream.port);
        let mut client = Client::connect(envoy.port);
        client.send("POST", "/status", &[("content-length", "0")]);
        assert_eq!(client.receive().status, if attempts == 3 { 200 } else { status });
        assert_eq!(upstream.requests("/status").len(), attempts, "{status}");
    }
}

/// Envoy adds the conditions of the filter to those of its own route.
#[test]
fn the_retries_of_the_proxys_own_route_are_added_and_off_ends_them() {
    let upstream = Upstream::start(|request, reply| {
        reply.respond(status(request.path()), &[], b"");
    });
    let policy = json!({ "retry_on": "5xx", "num_retries": 1 });
    let bootstrap = Bootstrap::example("static", upstream.port)
        .configured(&configuration())
        .changed("route", |action| action["retry_policy"] = policy.clone());
    let envoy = Envoy::start(bootstrap);
    // The route `before` does not name 503. Its number of attempts applies.
    for (path, attempts) in [("/before", 3), ("/off", 1), ("/policy", 2), ("/other", 1)] {
        assert_eq!(Client::get_once(envoy.port, path).status, status(path));
        assert_eq!(upstream.requests(path).len(), attempts, "{path}");
    }
}

/// With `reset-before-request`, an upstream never receives a request twice.
#[test]
fn a_request_that_reached_the_upstream_is_not_retried_by_reset_before_request() {
    let upstream = Upstream::start(|_, reply| reply.close());
    let envoy = start(upstream.port);
    assert_eq!(Client::get_once(envoy.port, "/before").status, 503);
    assert_eq!(upstream.requests("/before").len(), 1);
    let envoy = start(sluice_tests::unused_port());
    assert_eq!(Client::get_once(envoy.port, "/before").status, 503);
    envoy.wait_for_stat("cluster.service.upstream_rq_retry", 2);
}
