//! What surrounds the filter in a file of Envoy, Istio or Envoy Gateway, and what it does to
//! clients there.

use sluice_filter::config::Signal;
use sluice_filter::proxy_timeouts::{ProxyTimeout, ProxyTimeouts, proxy_warnings};
use sluice_filter::{Lint, Loaded};

use super::document::{Place, Plugin};
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
const REPLYING: [&str; 22] = [
    "adaptive_concurrency",
    "admission_control",
    "api_key_auth",
    "aws_lambda",
    "basic_auth",
    "cache",
    "cors",
    "csrf",
    "custom_response",
    "dynamic_modules",
    "ext_authz",
    "ext_proc",
    "fault",
    "golang",
    "health_check",
    "jwt_authn",
    "local_ratelimit",
    "lua",
    "oauth2",
    "ratelimit",
    "rbac",
    "wasm",
];

/// The marker that the drain bridge handles.
const MARKER: &str = sluice_filter::reserved_headers::MARKER;

/// Envoy's default for `per_connection_buffer_limit_bytes`.
const BUFFER_LIMIT: u64 = 1 << 20;

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
        // Istio takes both from one file. The filter chain of other files is in another file.
        Place::Elsewhere => {
            if plugin.is_istio && needs_bridge(loaded) && !file.iter().any(has_bridge) {
                found.push(Finding { line: plugin.line, text: missing_bridge() });
            }
        }
    }
    clusters(plugin, file, loaded, &mut found);
    found
}

/// The warnings about the configuration, with what the file says about the proxy.
pub(super) fn warnings(plugin: &Plugin<'_>, loaded: &Loaded) -> Vec<String> {
    let (timeouts, limit) = match &plugin.place {
        Place::Manager { manager, .. } => (timeouts(manager), plugin.buffer_limit),
        Place::Elsewhere => (ProxyTimeouts::default(), None),
    };
    let limit = limit.unwrap_or(BUFFER_LIMIT);
    let fits = |lint: &Lint| matches!(lint, Lint::ManyBytes { bytes } if *bytes <= limit);
    let known = loaded.warnings.iter().filter(|warning| !fits(&warning.lint));
    let proxy = proxy_warnings(&loaded.rules, &timeouts);
    known.chain(&proxy).map(ToString::to_string).collect()
}

fn crash_policy(plugin: &Plugin<'_>, found: &mut Vec<Finding>) {
    let (field, fixed) = match plugin.tree.get("fail_strategy") {
        Some(strategy) => (Some(strategy), "failStrategy: FAIL_RELOAD"),
        None if plugin.is_istio => (None, "failStrategy: FAIL_RELOAD"),
        None => (
            plugin.tree.get("failure_policy"),
            "failure_policy: FAIL_RELOAD and reload_config: { backoff: { base_interval: 0.05s } }",
        ),
    };
    let policy = field.and_then(Tree::text).unwrap_or("FAIL_CLOSED");
    if plugin.has_failure_policy && policy != "FAIL_RELOAD" {
        let then = match policy {
            "FAIL_OPEN" => "passes requests without the filter",
            _ => "replies 503 to every request",
        };
        let text = format!("after a crash of the filter, a worker {then}; write {fixed}");
        found.push(Finding { line: field.map_or(plugin.line, |field| field.line), text });
    }
}

fn stop_iteration(plugin: &Plugin<'_>, loaded: &Loaded, found: &mut Vec<Finding>) {
    let option = plugin.tree.get("allow_on_headers_stop_iteration");
    if !plugin.has_failure_policy || option.is_some_and(|option| option.to_json() == true) {
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
    for filter in filters.iter().take(index).filter(|filter| !has_bridge(filter)) {
        if let Some(kind) = kind(filter).filter(|kind| REPLYING.contains(kind)) {
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
    match filters.iter().position(has_bridge) {
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

fn has_bridge(tree: &Tree) -> bool {
    // The marker is also in Sluice's own documentation, but not as a value of a field.
    tree.any(&|tree| tree.get("header_name").and_then(Tree::text) == Some(MARKER))
}

/// The name of the filter in its type, such as `ext_authz`.
fn kind(filter: &Tree) -> Option<&str> {
    let url = filter.at(&["typed_config", "@type"])?.text()?;
    url.split_once("filters.http.")?.1.split('.').next()
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

/// The timeouts of a connection manager and its routes. Of several routes, the shortest counts.
fn timeouts(manager: &Tree) -> ProxyTimeouts {
    let stream_idle = match manager.get("stream_idle_timeout").and_then(milliseconds) {
        Some(millis) => ProxyTimeout::configured(millis),
        None => Some(ProxyTimeout::STREAM_IDLE),
    };
    let mut routes = Vec::new();
    collect_routes(manager, &mut routes);
    let own = |route: &&Tree| match route.get("timeout").and_then(milliseconds) {
        Some(millis) => ProxyTimeout::configured(millis),
        None => Some(ProxyTimeout::ROUTE),
    };
    let route = match routes.is_empty() {
        true => Some(ProxyTimeout::ROUTE),
        false => routes.iter().filter_map(own).min_by_key(|timeout| timeout.millis),
    };
    ProxyTimeouts { route, stream_idle }
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
