//! Finds configurations of the filter: in a file of its own, or in a file of Envoy, Istio or Envoy
//! Gateway.

use serde_json::Value;

use crate::yaml::{Node, Tree};

/// A configuration of the filter in a file of a proxy.
pub(super) struct Plugin<'t> {
    /// The line of the plugin.
    pub(super) line: usize,
    /// The name of the filter.
    pub(super) name: String,
    /// The object that has the plugin's options.
    pub(super) tree: &'t Tree,
    pub(super) place: Place<'t>,
    /// The configuration, as JSON text.
    pub(super) configuration: String,
    /// What reads the object.
    pub(super) host: Host,
    /// `per_connection_buffer_limit_bytes` of the listener around it.
    pub(super) buffer_limit: Option<u64>,
}

/// What reads the options of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// Envoy: PluginConfig.
    Envoy,
    /// Istio: the spec of a WasmPlugin.
    Istio,
    /// Envoy Gateway: an item of `wasm` in an EnvoyExtensionPolicy.
    Gateway,
}

/// Where a plugin stands.
pub(super) enum Place<'t> {
    /// In the filters of an HTTP connection manager, at this position.
    Manager {
        manager: &'t Tree,
        index: usize,
    },
    Elsewhere,
}

/// What surrounds a value.
#[derive(Clone, Copy, Default)]
struct Around<'t> {
    manager: Option<(&'t Tree, usize)>,
    name: Option<&'t str>,
    buffer_limit: Option<u64>,
}

/// All configurations of the filter in the documents of a file.
pub(super) fn plugins(file: &[Tree]) -> Vec<Plugin<'_>> {
    let mut found = Vec::new();
    file.iter().for_each(|tree| search(tree, Around::default(), &mut found));
    found
}

fn search<'t>(tree: &'t Tree, mut around: Around<'t>, found: &mut Vec<Plugin<'t>>) {
    if let Some(limit) = tree.get("per_connection_buffer_limit_bytes") {
        // Protobuf's JSON form allows text for a number.
        let text = limit.text().and_then(|text| text.parse().ok());
        around.buffer_limit = text.or_else(|| limit.to_json().as_u64());
    }
    let name = tree.get("name").or_else(|| tree.at(&["metadata", "name"]));
    if let Some(name) = name.and_then(Tree::text) {
        around.name = Some(name);
    }
    if let Some((configuration, host)) = plugin(tree, around.name) {
        let place = match around.manager {
            Some((manager, index)) => Place::Manager { manager, index },
            None => Place::Elsewhere,
        };
        found.push(Plugin {
            line: tree.line,
            name: around.name.unwrap_or("sluice").to_owned(),
            tree,
            place,
            configuration,
            host,
            buffer_limit: around.buffer_limit,
        });
        return;
    }
    let filters = tree.get("http_filters").map(Tree::list).unwrap_or_default();
    for (index, filter) in filters.iter().enumerate() {
        search(filter, Around { manager: Some((tree, index)), ..around }, found);
    }
    let others: Vec<&Tree> = match &tree.node {
        Node::Object(fields) => {
            let others =
                fields.iter().filter(|(name, _)| name != "http_filters" && name != "httpFilters");
            others.map(|(_, tree)| tree).collect()
        }
        _ => tree.children(),
    };
    others.into_iter().for_each(|child| search(child, around, found));
}

/// The text of the configuration of a plugin, and what reads its options.
fn plugin(tree: &Tree, name: Option<&str>) -> Option<(String, Host)> {
    if let (Some(vm), Some(configuration)) = (tree.get("vm_config"), tree.get("configuration")) {
        let id = vm.get("vm_id").and_then(Tree::text);
        let is_named = [name, id].into_iter().flatten().any(is_sluice);
        let value = configuration.get("value").unwrap_or(configuration);
        return Some((configuration_text(value, is_named)?, Host::Envoy));
    }
    let is_named = name.is_some_and(is_sluice);
    if let Some(configuration) = tree.get("plugin_config") {
        return Some((configuration_text(configuration, is_named)?, Host::Istio));
    }
    if let (Some(configuration), Some(_)) = (tree.get("config"), tree.get("code")) {
        return Some((configuration_text(configuration, is_named)?, Host::Gateway));
    }
    None
}

fn is_sluice(name: &str) -> bool {
    name.contains("sluice")
}

/// The JSON text of a configuration that is text or an object. `None` if it is another filter's:
/// neither its name nor its fields are Sluice's.
fn configuration_text(tree: &Tree, is_named: bool) -> Option<String> {
    let text = match tree.text() {
        Some(text) => text.to_owned(),
        None => tree.to_json().to_string(),
    };
    let has_version = || match serde_json::from_str::<Value>(&text) {
        Ok(value) => value.get("version") == Some(&Value::from(1)),
        // A mistake in the JSON is reported, if it is probably Sluice's.
        Err(_) => text.contains("\"version\": 1") || text.contains("\"version\":1"),
    };
    (is_named || has_version()).then_some(text)
}
