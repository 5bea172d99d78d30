//! The examples that users copy do what their READMEs say.

use std::time::Duration;

use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

#[test]
fn the_static_example_streams_events_and_limits_the_login() {
    let upstream = Upstream::start(|request, reply| {
        if request.path() == "/login" {
            reply.pause(1000);
        }
        reply.respond(200, &[], b"ok");
    });
    let envoy = Envoy::start(Bootstrap::example("static", upstream.port));
    let events = Client::once(envoy.port, "/events");
    assert_eq!((events.status, events.header("x-accel-buffering")), (200, Some("no")));
    let login = Client::once(envoy.port, "/login");
    assert_eq!(login.status, 504);
    assert!(login.end_after < Duration::from_millis(900), "{:?}", login.end_after);
}
