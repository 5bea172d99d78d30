//! The Istio and Envoy Gateway manifests, translated to Envoy configuration as those control planes
//! do it, on a real Envoy: the patches apply, filter and bridge work together, drains reach the
//! replies of a guard, and the filter recovers from a crash.

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;
use sluice_tests::{eventually, root};

use super::crashes::crashing_module;
use super::filter_order::guards;
use super::manifests::manifests;

/// The network filter whose `http_filters` Istio patches.
const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// The wasm filter with the plugin settings that the control plane generates.
fn wasm(name: &str, plugin: &Value, configuration: &Value) -> Value {
    let mut config = plugin.clone();
    config["vm_config"]["runtime"] = json!("envoy.wasm.runtime.v8");
    config["vm_config"]["code"] =
        json!({ "local": { "filename": root().join("target/sluice_filter.wasm") } });
    config["configuration"] = json!({
        "@type": "type.googleapis.com/google.protobuf.StringValue",
        "value": configuration.to_string(),
    });
    json!({ "name": name, "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": config } })
}

/// A guard of the control plane under Envoy's name for it. It denies `/denied`.
fn jwt() -> Value {
    let guards = guards().into_iter();
    let guard = guards.map(|guard| guard.filter).find(|filter| filter["name"] == "jwt");
    let mut filter = guard.expect("a guard that checks tokens");
    filter["name"] = json!("envoy.filters.http.jwt_authn");
    filter
}

/// An Istio gateway with a guard: the plugin is inserted in the place of its phase, then the
/// patches are applied.
fn istio(manifests: &[Value], upstream: u16) -> Bootstrap {
    let [plugin, filter] = manifests else { panic!("a WasmPlugin and an EnvoyFilter") };
    let metadata = &plugin["metadata"];
    let [namespace, name] = ["namespace", "name"].map(|field| metadata[field].as_str());
    let name = format!("{}.{}", namespace.expect("a namespace"), name.expect("a name"));
    let fields = json!({
        "name": name,
        "failure_policy": plugin["spec"]["failStrategy"],
        "vm_config": { "environment_variables": { "key_values": {} } },
    });
    let wasm = wasm(&name, &fields, &plugin["spec"]["pluginConfig"]);
    let patches = filter["spec"]["configPatches"].as_array().expect("a list of patches");
    let gateway = Bootstrap::example("static", upstream).without("sluice").with_filter(jwt());
    let gateway = match plugin["spec"]["phase"].as_str() {
        Some("AUTHN") => gateway.with_filter_before("envoy.filters.http.jwt_authn", wasm),
        _ => gateway.with_filter(wasm),
    };
    gateway.changed("http_filters", |filters| {
        for patch in patches {
            assert_eq!(patch["applyTo"], "HTTP_FILTER");
            let matched = json!({ "context": "GATEWAY",
                "listener": { "filterChain": { "filter": { "name": CONNECTION_MANAGER } } } });
            assert_eq!(patch["match"], matched, "this test translates only this match");
            assert_eq!(
                patch["patch"]["operation"], "INSERT_FIRST",
                "this test translates only this operation"
            );
            let filters = filters.as_array_mut().expect("a list of filters");
            filters.insert(0, patch["patch"]["value"].clone());
        }
    })
}

/// A gateway of Envoy Gateway's quickstart with a guard: the plugin is inserted behind the guard,
/// as in the default order, and enabled only on the routes that the policy targets. Then the
/// filters are ordered and the listener is patched.
fn envoy_gateway(manifests: &[Value], upstream: u16) -> Bootstrap {
    let of = |kind: &'static str| manifests.iter().filter(move |part| part["kind"] == kind);
    let extension = of("EnvoyExtensionPolicy").next().expect("an extension policy");
    let order = &of("EnvoyProxy").next().expect("the settings of the proxy")["spec"]["filterOrder"];
    let order = order.as_array().expect("a list of positions");
    let mut policies: Vec<&Value> = of("EnvoyPatchPolicy").map(|policy| &policy["spec"]).collect();
    policies.sort_by_key(|policy| policy["priority"].as_i64().unwrap_or(0));
    let plugin = &extension["spec"]["wasm"][0];
    let name = "envoy.filters.http.wasm/envoyextensionpolicy/default/sluice/wasm/0";
    let fields = json!({
        "name": plugin["name"],
        "root_id": plugin["rootID"],
        "vm_config": { "vm_id": "envoyextensionpolicy/default/sluice/wasm/0" },
    });
    let mut wasm = wasm(name, &fields, &plugin["config"]);
    wasm["disabled"] = json!(true);
    let switched_on = json!({ name: {
        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {} } });
    let patches = policies.iter().flat_map(|policy| policy["jsonPatches"].as_array());
    let patches: Vec<&Value> = patches.flatten().collect();
    let gateway = Bootstrap::example("static", upstream).without("sluice");
    gateway
        .with_filter(jwt())
        .with_filter(wasm)
        .changed("http_filters", |filters| {
            let filters = filters.as_array_mut().expect("a list of filters");
            order.iter().for_each(|position| move_filter(filters, position));
        })
        .changed("routes", |routes| routes[0]["typed_per_filter_config"] = switched_on.clone())
        .changed("listeners", |listeners| {
            let listener = &mut listeners[0];
            listener["name"] = json!("default/eg/http");
            listener["default_filter_chain"] = listener["filter_chains"][0].take();
            listener.as_object_mut().expect("a listener").remove("filter_chains");
            for patch in &patches {
                assert_eq!(patch["type"], "type.googleapis.com/envoy.config.listener.v3.Listener");
                assert_eq!(patch["name"], listener["name"]);
                let operation = serde_json::from_value(json!([patch["operation"]]));
                let operation: json_patch::Patch = operation.expect("a JSON patch");
                json_patch::patch(listener, &operation).expect("a patch that applies");
            }
        })
}

/// Moves a filter as Envoy Gateway does for one entry of `filterOrder`: it skips the entry if one
/// of the two filters does not exist.
fn move_filter(filters: &mut Vec<Value>, position: &Value) {
    let find = |filters: &[Value], kind: &Value| {
        let kind = kind.as_str().expect("the entries of this project have a name and `before`");
        filters
            .iter()
            .position(|filter| filter["name"].as_str().is_some_and(|name| name.starts_with(kind)))
    };
    let from = find(filters, &position["name"]);
    if let (Some(from), Some(_)) = (from, find(filters, &position["before"])) {
        let filter = filters.remove(from);
        let to = find(filters, &position["before"]).expect("it exists");
        filters.insert(to, filter);
    }
}

/// Asserts that events are streamed and no connection is closed.
fn streams(bootstrap: Bootstrap) {
    let envoy = Envoy::start(bootstrap);
    let mut client = Client::connect(envoy.port);
    for (path, streamed) in [("/events", Some("no")), ("/", None)] {
        let response = client.get(path);
        assert_eq!((response.status, response.header("x-accel-buffering")), (200, streamed));
        assert!(!response.closes());
    }
}

/// Asserts that responses close their connections, also those of a guard, and that no client sees
/// the drain marker.
fn closes(bootstrap: Bootstrap) {
    let envoy = Envoy::start(bootstrap);
    for (path, status) in [("/", 200), ("/denied", 401)] {
        let response = eventually("a response that closes its connection", || {
            let response = Client::connect(envoy.port).get(path);
            response.closes().then_some(response)
        });
        assert_eq!((response.status, response.header("x-sluice-drain")), (status, None));
    }
}

/// Asserts that only the crashing request fails and the filter runs again.
fn survives(bootstrap: Bootstrap) {
    let envoy =
        Envoy::start(bootstrap.changed("filename", |name| *name = json!(crashing_module())));
    let mut client = Client::connect(envoy.port);
    client.send("GET", "/", &[("x-crash", "now")]);
    assert_eq!(client.receive().status, 503);
    eventually("the filter to run again", || {
        let response = Client::get_once(envoy.port, "/events");
        (response.header("x-accel-buffering") == Some("no")).then_some(())
    });
}

/// A drain as the configuration of a manifest starts it.
fn drain() -> Value {
    json!({ "state": { "epoch": 1, "mode": "terminate" } })
}

#[test]
fn the_istio_gateway_streams_drains_and_recovers_from_a_crash() {
    let upstream = Upstream::ok();
    let mut manifests = manifests("istio/sluice.yaml");
    streams(istio(&manifests, upstream.port));
    survives(istio(&manifests, upstream.port));
    manifests[0]["spec"]["pluginConfig"]["drain"] = drain();
    closes(istio(&manifests, upstream.port));
}

#[test]
fn the_envoy_gateway_streams_drains_and_recovers_from_a_crash() {
    let upstream = Upstream::ok();
    let mut manifests = manifests("envoy-gateway/sluice.yaml");
    streams(envoy_gateway(&manifests, upstream.port));
    survives(envoy_gateway(&manifests, upstream.port));
    manifests[0]["spec"]["wasm"][0]["config"]["drain"] = drain();
    closes(envoy_gateway(&manifests, upstream.port));
}
