//! Configures a real Envoy with the settings of a trace's proxy, so that the trace runs on both.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_sim::proxy::{ProxySettings, RetryPolicy};

use crate::envoy::Bootstrap;

/// Sets every setting that the simulator has, also those with Envoy's defaults: the bootstrap has
/// other values.
pub(super) fn apply(bootstrap: Bootstrap, settings: &ProxySettings) -> Bootstrap {
    let upgrades: Vec<_> =
        settings.upgrades.iter().map(|protocol| json!({ "upgrade_type": protocol })).collect();
    let internal: Vec<_> = settings
        .internal_addresses
        .iter()
        .map(|range| {
            json!({ "address_prefix": range.first().to_string(), "prefix_len": range.bits() })
        })
        .collect();
    let manager = json!({
        "use_remote_address": settings.use_remote_address,
        "http_protocol_options": { "accept_http_10": settings.http10 },
        "normalize_path": settings.normalize_path,
        "merge_slashes": settings.merge_slashes,
        "strip_trailing_host_dot": settings.strip_trailing_host_dot,
        "stream_idle_timeout": seconds(settings.stream_idle_timeout),
        "request_timeout": seconds(settings.request_timeout),
        "path_with_escaped_slashes_action": settings.path_with_escaped_slashes_action.name(),
        "common_http_protocol_options": {
            "max_stream_duration": seconds(settings.max_stream_duration),
            "headers_with_underscores_action": settings.headers_with_underscores_action.name(),
        },
        "upgrade_configs": upgrades,
        "internal_address_config": { "cidr_ranges": internal },
    });
    bootstrap
        .with_buffers(settings.buffer_limit)
        .with_connection_manager(&without_zero_duration(manager))
        .changed("route", |action| change_route(action, settings))
        .changed("typed_config", |typed| {
            let kind = typed["@type"].as_str().unwrap_or_default().to_owned();
            if kind.ends_with(".router.v3.Router") {
                typed["respect_expected_rq_timeout"] = json!(settings.respect_expected_rq_timeout);
            }
            if kind.ends_with(".wasm.v3.Wasm") {
                let plugin = &mut typed["config"];
                plugin["failure_policy"] = json!(settings.failure_policy.name());
                plugin["allow_on_headers_stop_iteration"] =
                    json!(settings.allow_on_headers_stop_iteration);
                if settings.failure_policy.name() != "FAIL_RELOAD" {
                    plugin.as_object_mut().expect("a plugin is an object").remove("reload_config");
                }
            }
        })
}

fn change_route(action: &mut Value, settings: &ProxySettings) {
    if action.get("cluster").is_none() {
        return;
    }
    action["timeout"] = seconds(settings.route_timeout);
    if settings.max_grpc_timeout.is_some() {
        action["max_grpc_timeout"] = seconds(settings.max_grpc_timeout);
    }
    if let Some(timeout) = settings.route_idle_timeout {
        action["idle_timeout"] = seconds(timeout);
    }
    for (name, value) in retry_policy(&settings.retry_policy) {
        action["retry_policy"][name] = value;
    }
}

fn retry_policy(policy: &RetryPolicy) -> Vec<(&'static str, Value)> {
    let mut fields = Vec::new();
    let words: Vec<_> = policy.retry_on.iter().map(|condition| condition.name()).collect();
    if !words.is_empty() {
        fields.push(("retry_on", json!(words.join(","))));
    }
    fields.extend(policy.num_retries.map(|retries| ("num_retries", json!(retries))));
    if policy.per_try_timeout.is_some() {
        fields.push(("per_try_timeout", seconds(policy.per_try_timeout)));
    }
    if !policy.retriable_status_codes.is_empty() {
        fields.push(("retriable_status_codes", json!(policy.retriable_status_codes)));
    }
    if !policy.retriable_headers.is_empty() {
        let matchers = policy.retriable_headers.iter();
        let matchers: Vec<_> =
            matchers.map(|name| json!({ "name": name, "present_match": true })).collect();
        fields.push(("retriable_headers", json!(matchers)));
    }
    fields
}

/// `max_stream_duration` has no value that disables it.
fn without_zero_duration(mut manager: Value) -> Value {
    let options = &mut manager["common_http_protocol_options"];
    if options["max_stream_duration"] == json!("0s") {
        options.as_object_mut().expect("an object").remove("max_stream_duration");
    }
    manager
}

/// A duration in Envoy's format; zero disables a timeout.
fn seconds(timeout: Option<Duration>) -> Value {
    json!(format!("{}s", timeout.unwrap_or_default().as_secs_f64()))
}
