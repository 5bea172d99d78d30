//! The configuration of the proxies under test: one of the examples, with what the harness needs.

use std::time::Duration;

use serde_json::{Value, json};

use super::clients::{CLOSED_BY, DETAILS};
use super::fault::proxy_name;
use super::probe::{ADMIN, HEALTH, TOKEN_SHA256};
use super::store::KEY;
use crate::envoy::Bootstrap;

/// The interval at which the filter polls the store: the shortest that it accepts.
pub(super) fn poll_interval(refresh: Duration) -> Duration {
    2 * refresh
}

/// The filter's configuration. `number` makes each push different.
pub(super) fn configuration(refresh: Duration, number: u64, state: Option<&Value>) -> Value {
    let interval = format!("{}ms", poll_interval(refresh).as_millis());
    let mut configuration = json!({
        "version": 1,
        "defaults": { "timeouts": { "request": format!("{}ms", 100_000 + number) } },
        "drain": {
            "refresh": format!("{}ms", refresh.as_millis()),
            "control": { "cluster": "etcd", "format": "etcd-v3", "key": KEY,
                         "interval": interval, "timeout": "300ms" },
            "admin": { "path": ADMIN, "token_sha256": TOKEN_SHA256 } },
        "health": { "path": HEALTH, "local": true }
    });
    if let Some(state) = state {
        configuration["drain"]["state"] = state.clone();
    }
    configuration
}

/// The example in which listener, clusters and filter come from files, with etcd.
pub(super) fn bootstrap(index: usize, port: u16, upstream: u16, store: u16) -> Bootstrap {
    let node = json!({ "node": { "id": proxy_name(index).to_string(), "cluster": "chaos" } });
    // Clients distinguish the filter's closes from Envoy's, and crashes from other failures.
    let marked =
        format!(r#"remove("x-sluice-drain") response:headers():add("{CLOSED_BY}", "sluice")"#);
    let any_error = json!({ "status_code_filter": { "comparison": {
        "op": "GE", "value": { "default_value": 400, "runtime_key": "chaos.errors" } } } });
    let details = json!({ "header": { "key": DETAILS, "value": "%RESPONSE_CODE_DETAILS%" } });
    let replies = json!({ "local_reply_config": {
        "mappers": [{ "filter": any_error, "headers_to_add": [details] }] } });
    Bootstrap::example("dynamic", upstream)
        .with(&node)
        .with_connection_manager(&replies)
        .changed("inline_string", |lua| {
            let code = lua.as_str().expect("the code of the drain bridge");
            *lua = json!(code.replace(r#"remove("x-sluice-drain")"#, &marked));
        })
        // A request may be suspended for longer than Envoy's default of 15 s.
        .changed("route", |route| route["timeout"] = json!("0s"))
        .changed("resources", |resources| {
            if resources[0]["filter_chains"].is_array() {
                resources[0]["address"]["socket_address"]["port_value"] = json!(port);
            }
            if resources[0]["load_assignment"].is_object() {
                let etcd = resources[0].to_string().replace("\"service\"", "\"etcd\"");
                let etcd = serde_json::from_str(&etcd).expect("the text of a cluster");
                resources.as_array_mut().expect("a list of clusters").push(etcd);
            }
        })
        .changed("resources", |resources| {
            if resources[1]["name"] == "etcd" {
                let endpoints = &mut resources[1]["load_assignment"]["endpoints"][0];
                let endpoint = &mut endpoints["lb_endpoints"][0]["endpoint"];
                endpoint["address"]["socket_address"]["port_value"] = json!(store);
            }
        })
}
