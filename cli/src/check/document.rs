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
    /// Whether the object is where `failure_policy` belongs.
    pub(super) has_failure_policy: bool,
    pub(super) is_istio: bool,
    /// `per_connection_buffer_limit_bytes` of the listener around it.
    pub(super) buffer_limit: Option<u64>,
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
        around.buffer_limit = limit.to_json().as_u64();
    }
    if let Some(name) = tree.get("name").and_then(Tree::text) {
        around.name = Some(name);
    }
    if let Some((options, configuration, is_istio, has_failure_policy)) = plugin(tree) {
        let place = match around.manager {
            Some((manager, index)) => Place::Manager { manager, index },
            None => Place::Elsewhere,
        };
        found.push(Plugin {
            line: tree.line,
            name: around.name.unwrap_or("sluice").to_owned(),
            tree: options,
            place,
            configuration,
            has_failure_policy,
            is_istio,
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

/// The options of a plugin, the text of its configuration, whether Istio reads it, and whether it is
/// the object for `failure_policy`.
fn plugin(tree: &Tree) -> Option<(&Tree, String, bool, bool)> {
    // Envoy: PluginConfig.
    if let (Some(_), Some(configuration)) = (tree.get("vm_config"), tree.get("configuration")) {
        let text = configuration_text(configuration.get("value").unwrap_or(configuration))?;
        return Some((tree, text, false, true));
    }
    // Istio: the spec of a WasmPlugin.
    if let Some(configuration) = tree.get("plugin_config") {
        return Some((tree, configuration_text(configuration)?, true, true));
    }
    // Envoy Gateway: an item of `wasm` in an EnvoyExtensionPolicy. It has no failure policy.
    if let (Some(configuration), Some(_)) = (tree.get("config"), tree.get("code")) {
        return Some((tree, configuration_text(configuration)?, false, false));
    }
    None
}

/// The JSON text of a configuration that is text or an object. `None` if it is another filter's.
fn configuration_text(tree: &Tree) -> Option<String> {
    let text = match tree.text() {
        Some(text) => text.to_owned(),
        None => tree.to_json().to_string(),
    };
    // Text that is not valid JSON is checked too, if it is probably Sluice's.
    let is_ours = match serde_json::from_str::<Value>(&text) {
        Ok(value) => value.get("version").is_some(),
        Err(_) => text.contains("\"version\""),
    };
    is_ours.then_some(text)
}
