//! The setups, and the Envoy that has a listener for each of them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sluice_test_kit::inputs;
use sluice_test_kit::program::{module, root};

use super::wasm::HostCalls;
use super::{Origin, lua};
use crate::envoy::{Bootstrap, yaml};

/// The timeout that every setup with a decision sets, in milliseconds.
pub(super) const TIMEOUT_MS: u32 = 7000;

/// Envoy's default timeout, in milliseconds.
const DEFAULT_TIMEOUT_MS: u32 = 15_000;

/// The body of every response.
pub(super) const BODY_BYTES: usize = 512;

/// What a listener does with a request before the router.
pub(super) struct Setup {
    pub(super) name: &'static str,
    filters: Vec<Filter>,
    /// The timeout that the router uses.
    pub(super) timeout_ms: u32,
    /// The fields that the setup adds to Envoy's route.
    route: Value,
}

enum Filter {
    Bridge,
    Lua,
    Handwritten(HostCalls),
    Sluice(Value),
}

pub(super) const NO_FILTERS: &str = "no filters";
pub(super) const SLUICE: &str = "Sluice, 100 routes with `timeouts.request`";
pub(super) const SLUICE_AUTO: &str = "… and `\"buffering\": \"auto\"`";
pub(super) const SLUICE_DRAIN: &str = "… and `drain`, idle, with its bridge";
pub(super) const LUA: &str = "Lua, the same decisions";
pub(super) const HANDWRITTEN: &str = "module with the host calls of `timeouts.request`";
pub(super) const HANDWRITTEN_AUTO: &str = "… and of `\"buffering\": \"auto\"`";
pub(super) const HANDWRITTEN_DRAIN: &str = "… and of `drain`, idle, with the bridge";

/// All setups. The first is the one with which the others are compared.
pub(super) fn setups() -> Vec<Setup> {
    use Filter::{Bridge, Handwritten, Lua, Sluice};
    let setup = |name, filters, timeout_ms| Setup { name, filters, timeout_ms, route: json!({}) };
    let passive = |name, filters| setup(name, filters, DEFAULT_TIMEOUT_MS);
    let deciding = |name, filters| setup(name, filters, TIMEOUT_MS);
    let sluice = |policy: Value, sections: Value| Sluice(configuration(&policy, &sections));
    let none = || json!({});
    let off = json!({ "typed_per_filter_config": { "sluice": {
        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true } } });
    let page = json!({ "errors": { "content_type": "text/plain", "body": "{reason}" } });
    vec![
        passive(NO_FILTERS, vec![]),
        passive("drain bridge alone", vec![Bridge]),
        passive("module with empty callbacks", vec![Handwritten(HostCalls::None)]),
        passive("Sluice, no routes", vec![Sluice(json!({ "version": 1 }))]),
        deciding(SLUICE, vec![sluice(none(), none())]),
        deciding(
            "… and `retry`",
            vec![sluice(json!({ "retry": { "on": ["connect-failure"], "attempts": 2 } }), none())],
        ),
        deciding(SLUICE_AUTO, vec![sluice(json!({ "buffering": "auto" }), none())]),
        deciding(
            "… and `timeouts.read`",
            vec![sluice(json!({ "timeouts": { "request": "7s", "read": "60s" } }), none())],
        ),
        deciding(SLUICE_DRAIN, vec![Bridge, sluice(none(), json!({ "drain": {} }))]),
        deciding("… and `errors`", vec![sluice(none(), page)]),
        deciding(
            "… and `report.access_log`",
            vec![sluice(none(), json!({ "report": { "access_log": true } }))],
        ),
        deciding(LUA, vec![Lua]),
        deciding(HANDWRITTEN, vec![Handwritten(HostCalls::Timeout)]),
        deciding(HANDWRITTEN_AUTO, vec![Handwritten(HostCalls::TimeoutAndResponse)]),
        deciding(HANDWRITTEN_DRAIN, vec![Bridge, Handwritten(HostCalls::TimeoutAndDrain)]),
        Setup {
            route: off,
            ..passive("Sluice, `disabled` on Envoy's route", vec![sluice(none(), none())])
        },
        Setup {
            route: json!({ "timeout": "7s" }),
            ..deciding("no filters, `timeout` on Envoy's route", vec![])
        },
    ]
}

/// The first segment of the paths of a route.
pub(super) fn segment(route: usize) -> String {
    format!("service-{route}")
}

/// The path of a request that only this route matches.
pub(super) fn request_path(route: usize) -> String {
    format!("/{}/some/page?sort=asc", segment(route))
}

/// A hundred routes with a request timeout and this policy, and more sections.
fn configuration(policy: &Value, sections: &Value) -> Value {
    let timeout = format!("{}s", TIMEOUT_MS / 1000);
    let routes = (0..inputs::ROUTES).map(|route| {
        let prefix = format!("/{}/", segment(route));
        let mut fields = json!({ "name": format!("route-{route}"),
            "match": { "path": { "prefix": prefix } }, "timeouts": { "request": timeout } });
        add(&mut fields, policy);
        fields
    });
    let mut document = json!({ "version": 1, "routes": routes.collect::<Vec<_>>() });
    add(&mut document, sections);
    document
}

fn add(into: &mut Value, fields: &Value) {
    let fields = fields.as_object().expect("an object").clone();
    into.as_object_mut().expect("an object").extend(fields);
}

/// An Envoy with a listener for each setup, in their order. Writes the handwritten modules into a
/// folder.
pub(super) fn bootstrap(
    setups: &[Setup],
    origin: Origin,
    upstream: u16,
    folder: &Path,
) -> Bootstrap {
    for calls in HostCalls::ALL {
        fs::write(folder.join(calls.file()), calls.module()).expect("a temporary folder");
    }
    let listeners: Vec<Value> = setups
        .iter()
        .enumerate()
        .map(|(number, setup)| listener(number, setup, origin, folder))
        .collect();
    Bootstrap::example("static", upstream)
        .changed("static_resources", |resources| resources["listeners"] = json!(listeners))
}

fn listener(number: usize, setup: &Setup, origin: Origin, folder: &Path) -> Value {
    let filters = setup.filters.iter().map(|filter| match filter {
        Filter::Bridge => yaml(&root().join("envoy-examples/drain-bridge/bridge.yaml")),
        Filter::Lua => lua::filter(),
        Filter::Handwritten(calls) => wasm_filter(number, &folder.join(calls.file()), &json!({})),
        Filter::Sluice(configuration) => wasm_filter(number, module(), configuration),
    });
    let router = json!({ "name": "router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } });
    let mut route = setup.route.clone();
    route["match"] = json!({ "prefix": "/" });
    match origin {
        Origin::Envoy => {
            let body = "x".repeat(BODY_BYTES);
            route["direct_response"] = json!({ "status": 200, "body": { "inline_string": body } });
            // Only a route to a cluster has a timeout.
            route.as_object_mut().expect("an object").remove("timeout");
        }
        Origin::Upstream => {
            route["route"] = json!({ "cluster": "service" });
            if let Some(timeout) = route.as_object_mut().expect("an object").remove("timeout") {
                route["route"]["timeout"] = timeout;
            }
        }
    }
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "use_remote_address": true,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
        "http_filters": filters.chain([router]).collect::<Vec<_>>(),
    });
    json!({
        "name": format!("setup-{number}"),
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
    })
}

/// A filter with a VM of its own, as in a deployment.
fn wasm_filter(number: usize, file: &Path, configuration: &Value) -> Value {
    json!({ "name": "sluice", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": "sluice",
            "vm_config": { "vm_id": format!("setup-{number}"), "runtime": "envoy.wasm.runtime.v8",
                           "code": { "local": { "filename": file } } },
            "configuration": { "@type": "type.googleapis.com/google.protobuf.StringValue",
                               "value": configuration.to_string() },
        } } })
}
