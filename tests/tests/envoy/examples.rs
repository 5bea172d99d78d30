//! The examples that users copy do what their READMEs say.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult, yaml};
use sluice_tests::http1::Client;
use sluice_tests::root;
use sluice_tests::upstream::Upstream;

use super::manifests::pod;

/// A service whose `/login` takes one second.
fn service() -> Upstream {
    Upstream::start(|request, reply| {
        if request.path() == "/login" {
            reply.pause(1000);
        }
        reply.respond(200, &[], b"ok");
    })
}

/// The filter configuration in a file of the examples.
fn configuration(file: &str) -> String {
    let file = yaml(&root().join("envoy-examples").join(file));
    let filter = &file["resources"][0]["typed_config"]["config"];
    filter["configuration"]["value"].as_str().expect("a configuration is a text").to_owned()
}

#[test]
fn the_static_example_streams_events_and_times_out_the_login() {
    let upstream = service();
    let envoy = Envoy::start(Bootstrap::example("static", upstream.port));
    let events = Client::get_once(envoy.port, "/events");
    assert_eq!((events.status, events.header("x-accel-buffering")), (200, Some("no")));
    let login = Client::get_once(envoy.port, "/login");
    assert_eq!(login.status, 504);
    assert!(login.end_after < Duration::from_millis(900), "{:?}", login.end_after);
}

#[test]
fn the_drain_example_closes_open_connections_within_its_window() {
    let upstream = service();
    let mut envoy = Envoy::start(Bootstrap::example("drain-bridge", upstream.port));
    let mut old = Client::connect(envoy.port);
    assert!(!old.get("/").closes());
    assert_eq!(
        envoy.push_text(&configuration("drain-bridge/filter.reload.yaml")),
        PushResult::Accepted
    );
    let start = Instant::now();
    while !old.get("/").closes() {
        assert!(start.elapsed() < Duration::from_millis(5500), "the window is five seconds");
        sleep(Duration::from_millis(50));
    }
    assert!(old.closed_within(Duration::from_secs(2)));
    let mut new = Client::connect(envoy.port);
    for _ in 0..10 {
        assert!(!new.get("/").closes());
    }
}

#[test]
fn the_dynamic_example_reconfigures_the_filter_on_an_open_connection() {
    let upstream = service();
    let mut envoy = Envoy::start(Bootstrap::example("dynamic", upstream.port));
    let mut client = Client::connect(envoy.port);
    assert_eq!(client.get("/login").status, 200);
    let first = configuration("dynamic/filter.yaml");
    let limit = |limit: &str| first.replace("\"request\": \"5s\"", limit);
    assert_eq!(envoy.push_text(&limit("\"request\": \"300ms\"")), PushResult::Accepted);
    assert_eq!(client.get("/login").status, 504);
    assert_eq!(envoy.push_text(&limit("\"request\": \"300\"")), PushResult::Rejected);
    assert_eq!(client.get("/login").status, 504);
    let words = r#"routes[1] "login": timeouts.request: found "300", expected a duration with a unit; write "300s""#;
    assert!(envoy.log().contains(words), "{}", envoy.log());
}

/// HAProxy's plain `option httpchk` sends such probes.
#[test]
fn a_load_balancer_can_probe_each_health_path_over_http_1_0_without_a_host() {
    let upstream = Upstream::ok();
    let examples = [
        ("drain-bridge", Bootstrap::example("drain-bridge", upstream.port)),
        ("fleet", Bootstrap::example("fleet", upstream.port)),
        ("grpc-health", Bootstrap::example("grpc-health", upstream.port)),
        ("streaming-ai", Bootstrap::example("streaming-ai", upstream.port)),
        ("kubernetes", pod(upstream.port, sluice_tests::unused_port())),
    ];
    for (name, example) in examples {
        let terminating = example.clone().changed("configuration", |value| {
            let text = value["value"].as_str().expect("a configuration is a text");
            let mut configuration: Value = serde_json::from_str(text).expect("JSON");
            configuration["drain"]["state"] = json!({ "epoch": 1, "mode": "terminate" });
            value["value"] = json!(configuration.to_string());
        });
        for (bootstrap, expected) in [(example, 200), (terminating, 503)] {
            let envoy = Envoy::start(bootstrap);
            let mut client = Client::connect(envoy.port);
            client.write(b"GET /health HTTP/1.0\r\n\r\n");
            let response = client.receive();
            assert_eq!((response.status, response.closes()), (expected, true), "{name}");
        }
    }
}
