//! The Envoy fragment of the README works as written.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::root;
use sluice_tests::upstream::Upstream;

/// The YAML under "Install into Envoy".
fn snippet() -> Value {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README exists");
    let (_, section) = readme.split_once("\n## Install into Envoy\n").expect("the section");
    let (_, block) = section.split_once("\n```yaml\n").expect("the section has YAML");
    let (text, _) = block.split_once("\n```\n").expect("a block has an end");
    let filters: [Value; 1] = serde_saphyr::from_str(text).expect("a list of one filter");
    let [filter] = filters;
    filter
}

#[test]
fn the_readme_fragment_streams_events_and_times_out_the_login() {
    let upstream = Upstream::start(|request, reply| {
        if request.path() == "/login" {
            reply.pause(2000);
        }
        reply.send_headers(200, &[("content-type", "text/plain"), ("content-length", "2")]);
        reply.write(b"o");
        reply.pause(400);
        reply.write(b"k");
    });
    let proxy = Bootstrap::example("static", upstream.port).without("sluice");
    let envoy = Envoy::start(proxy.with_filter(snippet()));
    let login = Client::get_once(envoy.port, "/login");
    assert_eq!(login.status, 504);
    let limit = Duration::from_millis(450)..Duration::from_millis(1500);
    assert!(limit.contains(&login.end_after), "{:?}", login.end_after);
    for (path, buffering) in [("/events", Some("no")), ("/other", None)] {
        let response = Client::get_once(envoy.port, path);
        assert_eq!((response.status, &response.body.bytes[..]), (200, &b"ok"[..]), "{path}");
        assert_eq!(response.header("x-accel-buffering"), buffering, "{path}");
        assert_eq!(response.body.arrivals[0].1, 1, "{path}: the first byte arrives alone");
    }
}
