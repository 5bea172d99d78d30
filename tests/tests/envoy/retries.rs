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
