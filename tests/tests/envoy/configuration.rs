//! The filter rejects an invalid configuration and names the place; the previous one stays in
//! force.

use serde_json::json;
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult};
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

#[test]
fn a_rejected_configuration_leaves_the_previous_one_in_force() {
    let upstream = Upstream::start(|_, reply| {
        reply.pause(600);
        reply.respond(200, &[], b"ok");
    });
    let limited =
        |limit: &str| json!({ "version": 1, "defaults": { "timeouts": { "request": limit } } });
    let mut envoy = Envoy::start(Bootstrap::discovered(upstream.port, &limited("200ms")));
    let mut client = Client::connect(envoy.port);
    assert_eq!(client.get("/").status, 504);
    for wrong in [&limited("10").to_string()[..], "{", "", "[]", "{\"version\": 2}"] {
        assert_eq!(envoy.push_text(wrong), PushResult::Rejected, "{wrong}");
        assert_eq!(client.get("/").status, 504, "the previous configuration");
    }
    let log = envoy.log();
    assert!(log.contains("defaults.timeouts.request: found \"10\", expected a duration"), "{log}");
    assert!(envoy.stat("wasmcustom.sluice.config.rejected") >= 5);
    assert_eq!(envoy.push(&limited("5s")), PushResult::Accepted);
    assert_eq!(client.get("/").status, 200, "the new configuration, on the same connection");
}

#[test]
fn a_proxy_does_not_start_with_an_invalid_configuration() {
    let log = Envoy::start_rejected(
        Bootstrap::example("static", 1).configured_text("{ \"version\": 1, }"),
    );
    assert!(log.contains("configuration rejected"), "{log}");
}
