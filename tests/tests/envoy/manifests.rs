//! The manifests for Kubernetes carry the bridge that is tested, configurations that the filter
//! accepts, and a hook that waits until nothing is in flight.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_filter::config::Config;
use sluice_tests::envoy::{self, Bootstrap, Envoy, yaml};
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;
use sluice_tests::{eventually, root};

/// The manifests in a file of the examples.
pub(super) fn manifests(file: &str) -> Vec<Value> {
    envoy::manifests(&root().join("envoy-examples").join(file))
}

fn fragment() -> Value {
    yaml(&root().join("envoy-examples/drain-bridge/bridge.yaml"))
}

#[test]
fn every_example_has_the_same_bridge_right_before_the_filter() {
    for example in ["drain-bridge", "dynamic", "fleet", "kubernetes"] {
        let mut bridges: Vec<Value> = Vec::new();
        let _ = Bootstrap::example(example, 1).changed("http_filters", |filters| {
            let filters = filters.as_array().expect("a list of filters");
            let here = filters.iter().position(|filter| filter["name"] == "sluice");
            bridges.extend(here.map(|here| filters[here - 1].clone()));
        });
        assert_eq!(bridges, [fragment()], "{example}");
    }
    let istio = manifests("istio/sluice.yaml");
    assert_eq!(istio[1]["spec"]["configPatches"][0]["patch"]["value"], fragment());
    let gateway = manifests("envoy-gateway/sluice.yaml");
    assert_eq!(gateway[1]["spec"]["jsonPatches"][0]["operation"]["value"], fragment());
}

#[test]
fn the_filter_accepts_the_configurations_of_the_manifests() {
    let istio = &manifests("istio/sluice.yaml")[0]["spec"];
    let gateway = &manifests("envoy-gateway/sluice.yaml")[0]["spec"];
    for configuration in [&istio["pluginConfig"], &gateway["wasm"][0]["config"]] {
        let parsed = Config::parse(configuration.to_string().as_bytes());
        let config = parsed.expect("a configuration that is accepted").config;
        assert_eq!(config.routes.len(), 2);
    }
}

#[test]
fn the_parts_of_the_kubernetes_example_name_each_other() {
    let example = root().join("envoy-examples/kubernetes");
    let map = &yaml(&example.join("kustomization.yaml"))["configMapGenerator"][0];
    let files: Vec<&str> =
        map["files"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    for file in &files {
        assert!(*file == "sluice_filter.wasm" || example.join(file).is_file(), "{file}");
    }
    let parts = manifests("kubernetes/deployment.yaml");
    let [deployment, service] = &parts[..] else { panic!("a Deployment and a Service") };
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&service["spec"]["selector"], labels);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["configMap"]["name"], map["name"]);
    let container = &pod["containers"][0];
    let port = &container["ports"][0];
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    assert_eq!(container["readinessProbe"]["httpGet"]["port"], port["name"]);
    let bootstrap = yaml(&example.join("envoy.yaml"));
    let listeners = bootstrap["static_resources"]["listeners"].as_array().unwrap();
    for (listener, port) in listeners.iter().zip(container["ports"].as_array().unwrap()) {
        let address = &listener["address"]["socket_address"];
        assert_eq!(address["port_value"], port["containerPort"]);
    }
    let scraped = &deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"];
    assert_eq!(*scraped, container["ports"][1]["containerPort"].to_string());
    let fragment = yaml(&root().join("envoy-examples/metrics/stats.yaml"));
    assert_eq!(bootstrap["stats_config"], fragment["stats_config"]);
    let hook = &container["lifecycle"]["preStop"]["exec"]["command"][0];
    let script = hook.as_str().unwrap().strip_prefix("/etc/sluice/").expect("where the files are");
    assert!(files.contains(&script), "{script}");
    for part in [container, &pod["initContainers"][0]] {
        for mount in part["volumeMounts"].as_array().unwrap() {
            let mut volumes = pod["volumes"].as_array().unwrap().iter();
            assert!(volumes.any(|volume| volume["name"] == mount["name"]), "{mount}");
        }
    }
}

fn module() -> String {
    root().join("target/sluice_filter.wasm").display().to_string()
}

/// The Envoy of a Pod, with its service and its admin port on these ports of this machine.
fn pod(service: u16, admin: u16) -> Bootstrap {
    let address = |port: u16| json!({ "address": "127.0.0.1", "port_value": port });
    Bootstrap::example("kubernetes", service)
        .with(&json!({
            "node": { "id": "pod-1", "cluster": "ingress" },
            "admin": { "address": { "socket_address": address(admin) } },
        }))
        .changed("filename", |name| *name = json!(module()))
        .changed("socket_address", |socket| match socket["address"].as_str() {
            Some("service") => *socket = address(service),
            Some("0.0.0.0") => *socket = address(0),
            _ => *socket = address(admin),
        })
}

#[test]
fn the_metrics_of_a_pod_can_be_had_and_nothing_else_of_its_admin_port() {
    let upstream = Upstream::ok();
    let envoy = Envoy::start(pod(upstream.port, Upstream::nobody()));
    assert_eq!(Client::once(envoy.port, "/api/x").status, 200);
    let listeners: Value = serde_json::from_str(&envoy.ask("/listeners?format=json").1).unwrap();
    let address = &listeners["listener_statuses"][1]["local_address"]["socket_address"];
    let port = address["port_value"].as_u64().and_then(|port| port.try_into().ok()).unwrap();
    eventually("the route's metrics", || {
        let metrics = Client::once(port, "/stats/prometheus").body.bytes;
        let metrics = String::from_utf8_lossy(&metrics).into_owned();
        metrics.contains("sluice_route_requests{sluice_route=\"api\"} 1\n").then_some(())
    });
    for path in ["/", "/stats", "/quitquitquit", "/stats/prometheus/../../quitquitquit"] {
        assert_eq!(Client::connect(port).post(path, b"").status, 404, "{path}");
    }
}

#[test]
fn a_pod_that_terminates_waits_for_its_last_request() {
    let upstream = Upstream::start(|request, reply| {
        if request.path() == "/slow" {
            reply.pause(3000);
        }
        reply.respond(200, &[], b"ok");
    });
    let envoy = Envoy::start(pod(upstream.port, Upstream::nobody()));
    let terminate = root().join("envoy-examples/kubernetes/filter.terminate.yaml");
    let text = fs::read_to_string(terminate).expect("it is there");
    let text = text.replace("/etc/sluice/sluice_filter.wasm", &module());
    fs::write(envoy.folder().join("filter.terminate.yaml"), text).expect("a folder of our own");
    assert_eq!(Client::once(envoy.port, "/health").status, 200);
    let mut slow = Client::connect(envoy.port);
    slow.send("GET", "/slow", &[]);
    sleep(Duration::from_millis(300));
    let start = Instant::now();
    let mut hook = Command::new("bash")
        .arg(root().join("envoy-examples/kubernetes/drain.sh"))
        .env("SLUICE_FOLDER", envoy.folder())
        .env("SLUICE_ADMIN_PORT", envoy.admin.to_string())
        .env("SLUICE_NOTICE_SECONDS", "1")
        .spawn()
        .expect("bash is there");
    sleep(Duration::from_millis(1000));
    assert_eq!(Client::once(envoy.port, "/health").status, 503);
    assert!(hook.wait().expect("the hook ends").success());
    assert!(start.elapsed() > Duration::from_millis(2500), "it did not wait for the request");
    assert_eq!(slow.receive().status, 200);
}
