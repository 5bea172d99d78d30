//! The Kubernetes manifests contain the tested drain bridge, configurations that the filter
//! accepts, and a preStop hook that waits until no request is in flight.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sluice_filter::load;
use sluice_tests::envoy::{self, Bootstrap, Envoy, yaml};
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;
use sluice_tests::{eventually, root};

use crate::program::sluice;

/// The manifests of an example file.
pub(super) fn manifests(file: &str) -> Vec<Value> {
    envoy::manifests(&root().join("envoy-examples").join(file))
}

/// The examples of Envoy with the drain bridge.
const BRIDGED: [&str; 6] =
    ["drain-bridge", "dynamic", "fleet", "grpc-health", "kubernetes", "streaming-ai"];

fn fragment() -> Value {
    yaml(&root().join("envoy-examples/drain-bridge/bridge.yaml"))
}

#[test]
fn every_example_has_the_same_bridge_directly_before_the_filter() {
    for example in BRIDGED {
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

/// Behind a filter that replies, drains do not close connections.
#[test]
fn in_every_example_only_the_bridge_stands_before_the_filter() {
    for example in BRIDGED.into_iter().chain(["static"]) {
        let mut found = 0;
        let _ = Bootstrap::example(example, 1).changed("http_filters", |filters| {
            let filters = filters.as_array().expect("a list of filters");
            let names = filters.iter().map(|filter| filter["name"].as_str().expect("a name"));
            if let Some(here) = names.clone().position(|name| name == "sluice") {
                let earlier: Vec<&str> = names.take(here).collect();
                assert!(earlier.iter().all(|name| *name == "sluice-drain-bridge"), "{example}");
                found += 1;
            }
        });
        assert_eq!(found, 1, "{example}");
    }
    assert_eq!(manifests("istio/sluice.yaml")[0]["spec"]["phase"], "AUTHN");
}

#[test]
fn the_filter_accepts_the_configurations_of_the_manifests() {
    let istio = &manifests("istio/sluice.yaml")[0]["spec"];
    let gateway = &manifests("envoy-gateway/sluice.yaml")[0]["spec"];
    for configuration in [&istio["pluginConfig"], &gateway["wasm"][0]["config"]] {
        let loaded = load(configuration.to_string().as_bytes());
        let rules = loaded.expect("the filter accepts the configuration").rules;
        assert_eq!(rules.routes.len(), 2);
    }
}

#[test]
fn the_references_of_the_kubernetes_example_resolve() {
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
    let hook = hook();
    let option = |name: &str| hook.iter().find_map(|word| word.strip_prefix(name));
    let [listen, path] = [&port["containerPort"], &admin_path(&filter())].map(Value::clone);
    let url = format!("http://127.0.0.1:{listen}{}", path.as_str().unwrap());
    assert_eq!(option("--url="), Some(url.as_str()));
    let wait: u64 =
        option("--wait=").and_then(|wait| wait.strip_suffix('s')?.parse().ok()).unwrap();
    assert!(Some(wait) < pod["terminationGracePeriodSeconds"].as_u64());
    let kustomization = yaml(&example.join("kustomization.yaml"));
    let secret = &kustomization["secretGenerator"][0];
    let volume = |name: &str| {
        let mut volumes = pod["volumes"].as_array().unwrap().iter();
        volumes.find(|volume| volume["name"] == name).unwrap()
    };
    assert_eq!(volume("token")["secret"]["secretName"], secret["name"]);
    let mounted = |part: &Value, name: &str, file: &str| {
        let mut mounts = part["volumeMounts"].as_array().unwrap().iter();
        let mount = mounts.find(|mount| mount["name"] == name).unwrap();
        format!("{}/{file}", mount["mountPath"].as_str().unwrap())
    };
    let token = mounted(container, "token", secret["files"][0].as_str().unwrap());
    assert_eq!(option("--token-file="), Some(token.as_str()));
    let init = &pod["initContainers"][0];
    assert_eq!(hook[0], mounted(container, "program", "sluice"));
    assert_eq!(init["command"][2], mounted(init, "program", ""));
    for part in [container, &pod["initContainers"][0]] {
        for mount in part["volumeMounts"].as_array().unwrap() {
            let mut volumes = pod["volumes"].as_array().unwrap().iter();
            assert!(volumes.any(|volume| volume["name"] == mount["name"]), "{mount}");
        }
    }
}

/// The preStop command of the Pod.
fn hook() -> Vec<String> {
    let deployment = &manifests("kubernetes/deployment.yaml")[0];
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let command = &container["lifecycle"]["preStop"]["exec"]["command"];
    let words = command.as_array().expect("a list of words").iter().flat_map(Value::as_str);
    words.map(str::to_owned).collect()
}

/// The filter configuration of the Pod.
fn filter() -> String {
    let mut found = String::new();
    let _ = Bootstrap::example("kubernetes", 1).changed("configuration", |value| {
        found = value["value"].as_str().expect("a text").to_owned()
    });
    found
}

fn admin_path(filter: &str) -> Value {
    let filter: Value = serde_json::from_str(filter).expect("the filter's configuration is JSON");
    filter["drain"]["admin"]["path"].clone()
}

fn module() -> String {
    root().join("target/sluice_filter.wasm").display().to_string()
}

/// The Pod's Envoy, with service and admin port replaced by local ports.
pub(super) fn pod(service: u16, admin: u16) -> Bootstrap {
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
fn a_pod_exposes_its_metrics_and_nothing_else_of_the_admin_port() {
    let upstream = Upstream::ok();
    let envoy = Envoy::start(pod(upstream.port, sluice_tests::unused_port()));
    assert_eq!(Client::get_once(envoy.port, "/api/x").status, 200);
    let listeners: Value =
        serde_json::from_str(&envoy.admin_get("/listeners?format=json").1).unwrap();
    let address = &listeners["listener_statuses"][1]["local_address"]["socket_address"];
    let port = address["port_value"].as_u64().and_then(|port| port.try_into().ok()).unwrap();
    eventually("the route's metrics", || {
        let metrics = Client::get_once(port, "/stats/prometheus").body.bytes;
        let metrics = String::from_utf8_lossy(&metrics).into_owned();
        metrics.contains("sluice_route_requests{sluice_route=\"api\"} 1\n").then_some(())
    });
    for path in ["/", "/stats", "/quitquitquit", "/stats/prometheus/../../quitquitquit"] {
        assert_eq!(Client::connect(port).post(path, b"").status, 404, "{path}");
    }
}

#[test]
fn a_terminating_pod_waits_for_its_last_request() {
    let released = Arc::new(AtomicBool::new(false));
    let ready = released.clone();
    let upstream = Upstream::start(move |request, reply| {
        if request.path() == "/slow" {
            eventually("the signal to respond", || ready.load(Ordering::Relaxed).then_some(()));
        }
        reply.respond(200, &[], b"ok");
    });
    let token = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(&token, "of this Pod").expect("the file is writable");
    let hash: String = Sha256::digest("of this Pod").iter().map(|b| format!("{b:02x}")).collect();
    let keyed = filter().replace(&"0".repeat(64), &hash);
    assert!(keyed.contains(&hash), "the configuration contains the hash");
    let pod = pod(upstream.port, sluice_tests::unused_port()).configured_text(&keyed);
    let envoy = Envoy::start(pod);
    assert_eq!(Client::get_once(envoy.port, "/health").status, 200);
    let mut slow = Client::connect(envoy.port);
    slow.send("GET", "/slow", &[]);
    envoy.wait_for_stat("wasmcustom.sluice.in_flight", 1);
    let place = token.path().display().to_string();
    let hook = hook().into_iter().skip(1).map(|word| {
        word.replace(":10000/", &format!(":{}/", envoy.port))
            .replace("/etc/sluice-token/token", &place)
            .replace("--window=15s", "--window=1s")
    });
    let mut hook = sluice(hook).spawn().expect("the program was found");
    eventually("the health check to fail", || {
        (Client::get_once(envoy.port, "/health").status == 503).then_some(())
    });
    assert!(matches!(hook.try_wait(), Ok(None)), "the hook waits for the request");
    released.store(true, Ordering::Relaxed);
    assert_eq!(slow.receive().status, 200);
    assert!(hook.wait().expect("the hook ends").success());
}
