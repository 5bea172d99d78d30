//! A setup: the proxy, the plugin, the clusters and the time at which the clock starts.

use std::time::Duration;

use serde::Deserialize;

use super::plugin::PluginSection;
use super::section::ProxySection;
use crate::trace::{FieldError, optional_duration, optional_time, parse_json};

/// The setup at the start of a trace, or in a file of its own. Every part is optional.
///
/// ```
/// use sluice_sim::proxy::Setup;
///
/// let setup = Setup::parse(r#"{"proxy":{"preset":"istio-sidecar"},"clusters":["auth"]}"#)?;
/// assert!(setup.proxy.is_some());
/// # Ok::<(), sluice_sim::trace::FieldError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setup {
    pub proxy: Option<ProxySection>,
    pub plugin: Option<PluginSection>,
    /// The names of the clusters that the plugin can call. Without a list, there are none.
    pub clusters: Option<Vec<String>>,
    /// The time of the proxy's clock at the start, since the Unix epoch.
    pub start_time: Option<Duration>,
}

/// A setup in a file of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {\"proxy\":{\"preset\":\"envoy\"}}")]
struct File {
    /// Permitted, so that a line of a trace is also a file.
    #[serde(default, deserialize_with = "optional_duration")]
    at: Option<Duration>,
    proxy: Option<ProxySection>,
    plugin: Option<PluginSection>,
    clusters: Option<Vec<String>>,
    #[serde(default, deserialize_with = "optional_time")]
    start_time: Option<Duration>,
}

/// Whether an object has no part of a setup, so that it can only be a section.
fn is_section(text: &str) -> bool {
    let parts = ["at", "proxy", "plugin", "clusters", "start_time"];
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(fields)) => {
            !fields.is_empty() && !parts.iter().any(|part| fields.contains_key(*part))
        }
        _ => false,
    }
}

impl Setup {
    /// Parses the contents of a file: the same JSON object as in a trace, or only its `proxy`.
    ///
    /// # Errors
    /// The first mistake, with its field.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if is_section(text) {
            return Ok(Self { proxy: Some(parse_json(text)?), ..Self::default() });
        }
        let File { at, proxy, plugin, clusters, start_time } = parse_json(text)?;
        if at.is_some_and(|at| !at.is_zero()) {
            return Err(FieldError::new("at", "is not the start; remove it, or write \"0s\""));
        }
        Ok(Self { proxy, plugin, clusters, start_time })
    }

    /// Whether it has no part.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the parts of `other`: its fields replace those of `self`, its clusters are added.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let proxy = match (&self.proxy, &other.proxy) {
            (Some(one), Some(two)) => Some(one.merged(two)),
            (one, two) => two.clone().or_else(|| one.clone()),
        };
        let plugin = match (&self.plugin, &other.plugin) {
            (Some(one), Some(two)) => Some(one.merged(two)),
            (one, two) => two.clone().or_else(|| one.clone()),
        };
        let mut clusters = self.clusters.clone();
        for name in other.clusters.iter().flatten() {
            let clusters = clusters.get_or_insert_default();
            if !clusters.contains(name) {
                clusters.push(name.clone());
            }
        }
        Self { proxy, plugin, clusters, start_time: other.start_time.or(self.start_time) }
    }
}
