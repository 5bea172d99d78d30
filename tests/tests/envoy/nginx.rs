//! nginx in front of Envoy streams the routes that the filter streams, and buffers the others.

use std::time::Duration;

use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::nginx::Nginx;
use sluice_tests::upstream::Upstream;

#[test]
fn nginx_streams_what_the_filter_streams() {
    let upstream = Upstream::start(|_, reply| {
        // nginx forwards chunked bodies without delay; it buffers bodies with a declared length.
        reply.send_headers(200, &[("content-type", "text/plain"), ("content-length", "28")]);
        for number in 0..4 {
            reply.write(format!("line {number}\n").as_bytes());
            reply.pause(150);
        }
    });
    let envoy = Envoy::start(Bootstrap::example("static", upstream.port));
    let nginx = Nginx::start(envoy.port);
    for (path, streamed) in [("/events", true), ("/other", false)] {
        let response = Client::get_once(nginx.port, path);
        assert_eq!((response.status, response.body.bytes.len()), (200, 28), "{path}");
        assert_eq!(response.header("x-accel-buffering"), None, "nginx removes the header");
        let chunks = &response.body.arrivals;
        let spread = chunks[chunks.len() - 1].0 - chunks[0].0;
        assert_eq!(spread > Duration::from_millis(300), streamed, "{path}: {spread:?}");
    }
}
