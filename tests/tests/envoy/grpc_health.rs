//! gRPC health checks, with the example's gRPC bridge and without it: a real gRPC client, Envoy's
//! and HAProxy's health checks, and the bytes that they receive.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, yaml};
use sluice_tests::grpc_health::{self, NOT_SERVING, SERVING, Watch};
use sluice_tests::haproxy::HaProxy;
use sluice_tests::http1::Client;
use sluice_tests::{eventually, http2, root};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];
const NO_MESSAGE: &[u8] = b"\0\0\0\0\0";
const IN_FLIGHT: &str = "wasmcustom.sluice.in_flight";

/// The example, whose health checks are local.
fn example(upstream: u16) -> Bootstrap {
    Bootstrap::example("grpc-health", upstream)
}

/// The example with health checks that go to the upstream.
fn not_local(upstream: u16) -> Bootstrap {
    example(upstream).changed("configuration", |value| {
        let text = value["value"].as_str().expect("a configuration is a text");
        let mut configuration: Value = serde_json::from_str(text).expect("JSON");
        configuration["health"]["local"] = json!(false);
        value["value"] = json!(configuration.to_string());
    })
}

/// Starts or ends a drain at the admin path.
fn command(envoy: &Envoy, command: &str) {
    let mut client = Client::connect(envoy.port);
    let path = format!("/.sluice/drain?{command}");
    let token = [("authorization", "Bearer open sesame"), ("content-length", "0")];
    client.send("POST", &path, &token);
    let response = client.receive();
    assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body.bytes));
}

fn terminate(envoy: &Envoy) {
    command(envoy, "mode=terminate");
}

#[test]
fn the_example_has_the_bridge_behind_the_filter() {
    let fragment = yaml(&root().join("envoy-examples/grpc-health/bridge.yaml"));
    let mut found = 0;
    let _ = example(1).changed("http_filters", |filters| {
        let filters = filters.as_array().expect("a list of filters");
        let place = |name: &str| filters.iter().position(|filter| filter["name"] == name);
        let bridge = place("sluice-grpc-bridge").expect("the bridge");
        assert!(place("sluice") < Some(bridge));
        assert_eq!(filters[bridge], fragment);
        found += 1;
    });
    assert_eq!(found, 1);
}

#[test]
fn a_check_gets_a_message_and_its_status_in_the_trailers() {
    let envoy = Envoy::start(example(1));
    let mut client = http2::Client::connect(envoy.port);
    let check = |client: &http2::Client| {
        let pending = client.start("POST", CHECK, &GRPC, Some(NO_MESSAGE));
        let response = client.finish(pending);
        assert_eq!((response.status, response.reset), (200, None));
        assert_eq!(response.header("content-type"), Some("application/grpc"));
        for absent in ["grpc-status", "grpc-message", "content-length", "x-sluice-grpc"] {
            assert_eq!(response.header(absent), None, "{absent}");
        }
        let trailers = response.trailers.expect("trailers");
        assert_eq!(trailers.get("grpc-status").and_then(|status| status.to_str().ok()), Some("0"));
        response.body
    };
    for _ in 0..3 {
        assert_eq!(check(&client), SERVING);
    }
    terminate(&envoy);
    assert_eq!(check(&client), NOT_SERVING);
    assert!(client.goaway_within(Duration::from_secs(5)), "the check closes its connection");
    assert_eq!(envoy.stat("wasmcustom.sluice.route.grpc.requests"), 0, "not counted");
    assert!(!envoy.log().contains("gRPC bridge"), "{}", envoy.log());
}

#[test]
fn a_grpc_client_sees_the_state_of_the_proxy() {
    let envoy = Envoy::start(example(1));
    assert_eq!(grpc_health::check(envoy.port), "SERVING");
    assert_eq!(Watch::start(envoy.port).finish(), ["UNIMPLEMENTED"]);
    command(&envoy, "mode=reload&window=1s");
    assert_eq!(grpc_health::check(envoy.port), "SERVING");
    terminate(&envoy);
    assert_eq!(grpc_health::check(envoy.port), "NOT_SERVING");
    assert_eq!(Watch::start(envoy.port).finish(), ["UNAVAILABLE"]);
    command(&envoy, "mode=off");
    assert_eq!(grpc_health::check(envoy.port), "SERVING");
}

#[test]
fn without_the_bridge_a_grpc_client_gets_an_error_and_the_log_a_line() {
    let envoy = Envoy::start(example(1).without("sluice-grpc-bridge"));
    for _ in 0..2 {
        assert_eq!(grpc_health::check(envoy.port), "UNIMPLEMENTED");
    }
    let log = envoy.log();
    assert_eq!(log.matches("no gRPC bridge added a body").count(), 1, "{log}");
    terminate(&envoy);
    assert_eq!(grpc_health::check(envoy.port), "UNAVAILABLE");
    assert_eq!(Watch::start(envoy.port).finish(), ["UNAVAILABLE"]);
}

#[test]
fn without_local_health_checks_reach_the_upstream_except_during_a_terminate() {
    let upstream = grpc_health::serve();
    let envoy = Envoy::start(not_local(upstream));
    assert_eq!(grpc_health::check(envoy.port), "SERVING");
    terminate(&envoy);
    assert_eq!(grpc_health::check(envoy.port), "NOT_SERVING");
    command(&envoy, "mode=off");
    assert_eq!(grpc_health::check(envoy.port), "SERVING");
}

/// The stop hook would otherwise wait for a stream that has no end.
#[test]
fn a_watch_of_the_upstream_is_not_in_flight_and_ends_when_a_terminate_begins() {
    let envoy = Envoy::start(not_local(grpc_health::serve()));
    let watch = Watch::start(envoy.port);
    envoy.wait_for_stat("http.ingress.downstream_rq_active", 1);
    let client = http2::Client::connect(envoy.port);
    let open = client.start("POST", WATCH, &GRPC, Some(NO_MESSAGE));
    envoy.wait_for_stat("http.ingress.downstream_rq_active", 2);
    envoy.wait_for_stat("wasmcustom.sluice.route.grpc.requests", 2);
    assert_eq!(envoy.stat(IN_FLIGHT), 0);
    let start = Instant::now();
    terminate(&envoy);
    let seen = watch.finish();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[0], "SERVING");
    assert!(!["OK", "UNIMPLEMENTED", "DEADLINE_EXCEEDED"].contains(&&seen[1][..]), "{seen:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let response = client.finish(open);
    assert_eq!(response.body, SERVING);
    assert!(response.reset.is_some());
    assert_eq!(envoy.stat(IN_FLIGHT), 0);
    assert_eq!(Watch::start(envoy.port).finish(), ["UNAVAILABLE"]);
}

/// An Envoy that checks the health of this proxy over gRPC.
fn checking(proxy: &Envoy) -> Envoy {
    let bootstrap = Bootstrap::example("static", proxy.port).http_2_upstream();
    Envoy::start(bootstrap.changed("clusters", |clusters| {
        clusters[0]["health_checks"] = json!([{ "timeout": "1s", "interval": "0.2s",
            "no_traffic_interval": "0.2s", "unhealthy_threshold": 2, "healthy_threshold": 2,
            "grpc_health_check": {} }]);
    }))
}

#[test]
fn the_health_check_of_another_envoy_follows_a_terminate_and_its_end() {
    const HEALTHY: &str = "cluster.service.membership_healthy";
    let proxy = Envoy::start(example(1));
    let balancer = checking(&proxy);
    balancer.wait_for_stat(HEALTHY, 1);
    eventually("two successful checks", || {
        (balancer.stat("cluster.service.health_check.success") >= 2).then_some(())
    });
    terminate(&proxy);
    balancer.wait_for_stat(HEALTHY, 0);
    command(&proxy, "mode=off");
    balancer.wait_for_stat(HEALTHY, 1);

    // The filter's status is enough to remove a proxy without the bridge.
    let proxy = Envoy::start(not_local(grpc_health::serve()).without("sluice-grpc-bridge"));
    let balancer = checking(&proxy);
    eventually("two successful checks", || {
        (balancer.stat("cluster.service.health_check.success") >= 2).then_some(())
    });
    balancer.wait_for_stat(HEALTHY, 1);
    terminate(&proxy);
    balancer.wait_for_stat(HEALTHY, 0);
}

#[test]
fn the_health_check_of_haproxy_follows_a_terminate_and_its_end() {
    let proxy = Envoy::start(example(1));
    let haproxy = HaProxy::checking_grpc(proxy.port);
    haproxy.wait_until_up("grpc");
    terminate(&proxy);
    haproxy.wait_until_down("grpc");
    command(&proxy, "mode=off");
    haproxy.wait_until_up("grpc");
}
