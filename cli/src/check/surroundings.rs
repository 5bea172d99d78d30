//! What surrounds the filter in a file of Envoy, Istio or Envoy Gateway, and what it does to
//! clients there.

use serde_json::Value;
use sluice_filter::config::Signal;
use sluice_filter::proxy_settings::{ProxySettings, ProxyTimeout, proxy_warnings};
use sluice_filter::{Lint, Loaded};

use super::document::{Host, Place, Plugin};
use crate::yaml::Tree;

/// Something in the file that keeps the filter from working as configured.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) line: usize,
    /// What is there, what happens to a client because of it, and what to write.
    pub(super) text: String,
}

/// Filters that can reply to a request, as Envoy's packages name them
/// (`envoy.extensions.filters.http.NAME.v3`).
const REPLYING: [&str; 29] = [
    "adaptive_concurrency",
    "admission_control",
    "api_key_auth",
    "aws_lambda",
    "basic_auth",
    "buffer",
    "cache",
    "cache_v2",
    "cors",
    "csrf",
    "custom_response",
    "dynamic_forward_proxy",
    "dynamic_modules",
    "ext_authz",
    "ext_proc",
    "fault",
    "file_server",
    "golang",
    "grpc_json_transcoder",
    "health_check",
    "jwt_authn",
    "local_ratelimit",
    "lua",
    "oauth2",
    "rate_limit_quota",
    "ratelimit",
    "rbac",
    "stateful_session",
    "wasm",
];

/// The marker that the drain bridge handles.
const MARKER: &str = sluice_filter::reserved_headers::MARKER;

/// The buffer limit that Envoy Gateway sets.
const GATEWAY_BUFFER_LIMIT: u64 = 32 << 10;

/// Checks the surroundings of a plugin with these rules.
pub(super) fn findings(plugin: &Plugin<'_>, file: &[Tree], loaded: &Loaded) -> Vec<Finding> {
    let mut found = Vec::new();
    crash_policy(plugin, &mut found);
    stop_iteration(plugin, loaded, &mut found);
    match &plugin.place {
        Place::Manager { manager, index } => {
            chain(plugin, manager, *index, loaded, &mut found);
            paths(manager, loaded, &mut found);
        }
        Place::Elsewhere => {
            phase(plugin, loaded, &mut found);
            // The filter chain of an ECDS resource is in another file, but Kubernetes gets both at
            // once.
            let is_kubernetes = file.iter().any(|tree| tree.get("kind").is_some());
            if is_kubernetes && needs_bridge(loaded) && !file.iter().any(has_bridge) {
                found.push(Finding { line: plugin.line, text: missing_bridge() });
            }
        }
    }
    clusters(plugin, file, loaded, &mut found);
    found
}

/// The warnings about the configuration in a proxy with these settings.
pub(super) fn warnings(loaded: &Loaded, proxy: &ProxySettings) -> Vec<String> {
    // The lint of the filter knows only Envoy's default buffer limit.
    let known = loaded.warnings.iter();
    let known = known.filter(|warning| !matches!(warning.lint, Lint::ManyBytes { .. }));
    let proxy = proxy_warnings(&loaded.rules, proxy);
    known.chain(&proxy).map(ToString::to_string).collect()
}

/// What the file says about the proxy.
pub(super) fn settings(plugin: &Plugin<'_>) -> ProxySettings {
    let defaults = ProxySettings::default();
    match (&plugin.place, plugin.host) {
        (Place::Manager { manager, .. }, _) => ProxySettings {
            buffer_limit: plugin.buffer_limit.unwrap_or(defaults.buffer_limit),
            ..timeouts(manager)
        },
        // Istio disables both timeouts.
        (Place::Elsewhere, Host::Istio) => {
            ProxySettings { route: None, stream_idle: None, ..defaults }
        }
        (Place::Elsewhere, Host::Gateway) => {
            ProxySettings { buffer_limit: GATEWAY_BUFFER_LIMIT, ..defaults }
        }
        (Place::Elsewhere, Host::Envoy) => defaults,
    }
}

fn crash_policy(plugin: &Plugin<'_>, found: &mut Vec<Finding>) {
    let tree = plugin.tree;
    let (field, fixed) = match plugin.host {
        Host::Istio => (tree.get("fail_strategy"), "failStrategy: FAIL_RELOAD"),
        Host::Envoy => (
            tree.get("failure_policy").or_else(|| tree.get("fail_open")),
            "failure_policy: FAIL_RELOAD and reload_config: { backoff: { base_interval: 0.05s } }",
        ),
        // An EnvoyExtensionPolicy has no such field.
        Host::Gateway => return,
    };
    // The numbers are those of Envoy's enum FailurePolicy; `fail_open` is its predecessor.
    let then = match field.map(|field| field.to_json()) {
        Some(Value::String(policy)) if policy == "FAIL_RELOAD" => return,
        Some(Value::Number(policy)) if policy.as_u64() == Some(1) => return,
        Some(Value::String(policy)) if policy == "FAIL_OPEN" => {
            "passes requests without the filter"
        }
        Some(Value::Number(policy)) if policy.as_u64() == Some(3) => {
            "passes requests without the filter"
        }
        Some(Value::Bool(true)) => "passes requests without the filter",
        _ => "replies 503 to every request",
    };
    let text = format!("after a crash of the filter, a worker {then}; write {fixed}");
    found.push(Finding { line: field.map_or(plugin.line, |field| field.line), text });
}

/// Behind Istio's own authentication, the filter stands behind filters that reply.
fn phase(plugin: &Plugin<'_>, loaded: &Loaded, found: &mut Vec<Finding>) {
    if plugin.host != Host::Istio || loaded.rules.drain.is_none() {
        return;
    }
    let phase = plugin.tree.get("phase");
    if phase.and_then(Tree::text) != Some("AUTHN") {
        let text = "Istio's authentication and authorization can reply before Sluice sees the request, and during a \
                    drain such a client keeps its connection; write phase: AUTHN"
            .to_owned();
        found.push(Finding { line: phase.map_or(plugin.line, |phase| phase.line), text });
    }
}

fn stop_iteration(plugin: &Plugin<'_>, loaded: &Loaded, found: &mut Vec<Finding>) {
    let option = plugin.tree.get("allow_on_headers_stop_iteration");
    if plugin.host == Host::Istio || option.is_some_and(|option| option.to_json() == true) {
        return;
    }
    let rules = &loaded.rules;
    let policies = || rules.routes.iter().map(|route| &route.policy).chain([&rules.defaults]);
    let mut add = |effect: &str| {
        let text = format!("{effect}; write allow_on_headers_stop_iteration: true");
        found.push(Finding { line: option.map_or(plugin.line, |option| option.line), text });
    };
    if policies().any(|policy| policy.holds_headers()) {
        add(
            "response headers do not wait for the first event (hold_headers), so clients get a cut response instead of a \
             504",
        );
    }
    if rules.lingering.is_some() {
        add(
            "the rest of a refused upload is not received (lingering), so clients that write everything before they \
             read lose the reply",
        );
    }
}

/// The order of the filters, and the drain bridge.
fn chain(
    plugin: &Plugin<'_>,
    manager: &Tree,
    index: usize,
    loaded: &Loaded,
    found: &mut Vec<Finding>,
) {
    let filters = manager.get("http_filters").map(Tree::list).unwrap_or_default();
    if loaded.rules.drain.is_none() {
        return;
    }
    let is_disabled =
        |filter: &Tree| filter.get("disabled").is_some_and(|value| value.to_json() == true);
    let before = filters.iter().take(index);
    for filter in before.filter(|filter| !is_bridge(filter) && !is_disabled(filter)) {
        if let Some(kind) = replying_kind(filter) {
            let name = filter.get("name").and_then(Tree::text).unwrap_or(kind);
            let text = format!(
                "{name:?} can reply before Sluice sees the request, and during a drain such a client \
                 keeps its connection; move the filter {:?} before it",
                plugin.name
            );
            found.push(Finding { line: filter.line, text });
        }
    }
    if !needs_bridge(loaded) {
        return;
    }
    match filters.iter().position(is_bridge) {
        None => found.push(Finding { line: plugin.line, text: missing_bridge() }),
        Some(bridge) if bridge > index => {
            let text =
                "the drain bridge stands behind Sluice, where it does not see the marker, so a \
                        drain closes no connection; move it before Sluice"
                    .to_owned();
            found.push(Finding { line: filters[bridge].line, text });
        }
        Some(_) => {}
    }
}

fn needs_bridge(loaded: &Loaded) -> bool {
    loaded.rules.drain.as_ref().is_some_and(|drain| drain.signal != Signal::Header)
}

fn missing_bridge() -> String {
    "there is no drain bridge, so Envoy removes what the filter sets to close a connection, and a \
     drain closes none; add envoy-examples/drain-bridge/bridge.yaml before Sluice"
        .to_owned()
}

/// Whether a matcher in `tree` reads the marker, as that of the bridge does.
fn has_bridge(tree: &Tree) -> bool {
    tree.any(&|tree| tree.get("header_name").and_then(Tree::text) == Some(MARKER))
}

/// Whether a filter is the drain bridge. One that comes from elsewhere is recognized by its name.
fn is_bridge(filter: &Tree) -> bool {
    let name = filter.get("name").and_then(Tree::text).unwrap_or_default();
    let is_discovered = filter.get("config_discovery").is_some();
    has_bridge(filter) || (is_discovered && name.contains("bridge"))
}

/// The type of a filter that can reply, such as `ext_authz`, also inside of a filter that wraps it.
fn replying_kind(filter: &Tree) -> Option<&'static str> {
    let is_kind = |kind: &str| {
        filter.any(&|tree| {
            let url = tree.text().and_then(|text| text.split_once("filters.http."));
            url.is_some_and(|(_, rest)| rest.split('.').next() == Some(kind))
        })
    };
    REPLYING.into_iter().find(|kind| is_kind(kind))
}

/// Paths are compared as the client sent them.
fn paths(manager: &Tree, loaded: &Loaded, found: &mut Vec<Finding>) {
    let mut routes = loaded.rules.routes.iter();
    let is_set = manager.get("normalize_path").is_some_and(|value| value.to_json() == true);
    if is_set || !routes.any(|route| route.conditions.path.is_some()) {
        return;
    }
    let text =
        "paths are not normalized, so a client that sends /a/../api/x or /%61pi/x does not match \
                the route of /api/x; write normalize_path: true, merge_slashes: true and \
                path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT"
            .to_owned();
    found.push(Finding { line: manager.line, text });
}

/// The clusters that the configuration names must exist, if the file has the clusters.
fn clusters(plugin: &Plugin<'_>, file: &[Tree], loaded: &Loaded, found: &mut Vec<Finding>) {
    let control = loaded.rules.drain.as_ref().and_then(|drain| drain.control.as_ref());
    let (Some(control), Some(resources)) =
        (control, file.iter().find_map(|tree| tree.get("static_resources")))
    else {
        return;
    };
    let dynamic = file.iter().any(|tree| tree.at(&["dynamic_resources", "cds_config"]).is_some());
    let names: Vec<&str> = resources
        .get("clusters")
        .map(Tree::list)
        .unwrap_or_default()
        .iter()
        .filter_map(|cluster| cluster.get("name")?.text())
        .collect();
    let cluster = control.cluster.as_str();
    if !dynamic && !names.contains(&cluster) {
        let text = format!(
            "drain.control.cluster: found {cluster:?}, but the file has no such cluster, so no drain of the \
             store reaches this proxy; expected one of {}",
            names.join(", ")
        );
        found.push(Finding { line: plugin.line, text });
    }
}

/// The timeouts of a connection manager and its routes. Of several routes, the longest counts, so that
/// a warning is right for every request.
fn timeouts(manager: &Tree) -> ProxySettings {
    let of = |tree: &Tree, field: &str, default: Option<ProxyTimeout>| match tree
        .get(field)
        .and_then(milliseconds)
    {
        Some(millis) => ProxyTimeout::configured(millis),
        None => default,
    };
    let stream_idle = of(manager, "stream_idle_timeout", Some(ProxyTimeout::STREAM_IDLE));
    let mut routes = Vec::new();
    collect_routes(manager, &mut routes);
    let defaults = ProxySettings::default();
    // The routes of a control plane are not in this file.
    if manager.get("rds").is_some() || manager.get("scoped_routes").is_some() {
        return ProxySettings { route: None, stream_idle: None, ..defaults };
    }
    if routes.is_empty() {
        return ProxySettings { stream_idle, ..defaults };
    }
    let longest = |of: &dyn Fn(&Tree) -> Option<ProxyTimeout>| {
        let timeouts: Option<Vec<ProxyTimeout>> = routes.iter().map(|route| of(route)).collect();
        timeouts?.into_iter().max_by_key(|timeout| timeout.millis)
    };
    ProxySettings {
        route: longest(&|route| of(route, "timeout", Some(ProxyTimeout::ROUTE))),
        stream_idle: longest(&|route| of(route, "idle_timeout", stream_idle)),
        ..defaults
    }
}

/// The `route` actions below a connection manager.
fn collect_routes<'t>(tree: &'t Tree, routes: &mut Vec<&'t Tree>) {
    if let Some(action) = tree.get("route").filter(|_| tree.get("match").is_some()) {
        routes.push(action);
    }
    tree.children().into_iter().for_each(|child| collect_routes(child, routes));
}

/// A duration of Protobuf's JSON form, such as `1.5s`.
fn milliseconds(tree: &Tree) -> Option<u64> {
    let seconds: f64 = tree.text()?.strip_suffix('s')?.parse().ok()?;
    (0.0..1e12).contains(&seconds).then(|| (seconds * 1000.0).round() as u64)
}
