//! Envoy's configuration for a test: one of the examples that users copy, with the ports replaced
//! and what the test is about changed. So the examples are what the tests run.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::root;

/// The prefix of the counters of the discovered filter.
pub(super) const DISCOVERY: &str = "extension_config_discovery.http_filter.sluice";

const FILTERS: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";

/// A bootstrap in the making.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    document: Value,
    /// The discovered filter as its file has it, if it is discovered.
    filter: Option<Value>,
}

impl Bootstrap {
    /// An example, with its upstream on this port.
    ///
    /// # Panics
    /// If there is no such example, or it is no YAML.
    pub fn example(name: &str, upstream: u16) -> Self {
        let folder = root().join("envoy-examples").join(name);
        let mut document = read(&folder.join("envoy.yaml"));
        let discovered = folder.join("filter.yaml");
        let mut filter = discovered.is_file().then(|| read(&discovered));
        let zero = |value: &mut Value| *value = json!(0);
        each(&mut document["admin"], "port_value", &mut |value| zero(value));
        each(&mut document["static_resources"]["listeners"], "port_value", &mut |value| {
            zero(value)
        });
        each(&mut document["static_resources"]["clusters"], "port_value", &mut |value| {
            *value = json!(upstream);
        });
        for document in [Some(&mut document), filter.as_mut()].into_iter().flatten() {
            each(document, "filename", &mut |value| {
                let name = value.as_str().expect("a file name is a string");
                *value = json!(root().join(name));
            });
        }
        Self { document, filter }
    }

    /// The drain bridge and the filter, which is discovered, with this configuration.
    pub fn discovered(upstream: u16, configuration: &Value) -> Self {
        Self::example("drain-bridge", upstream).configured(configuration)
    }

    /// With this configuration of the filter.
    pub fn configured(self, configuration: &Value) -> Self {
        self.configured_text(&configuration.to_string())
    }

    /// With this text as the filter's configuration.
    pub fn configured_text(mut self, configuration: &str) -> Self {
        let document = self.filter.as_mut().unwrap_or(&mut self.document);
        configure(document, configuration);
        self
    }

    /// Without the filter in `http_filters` that has this name.
    ///
    /// # Panics
    /// If there is none.
    pub fn without(mut self, name: &str) -> Self {
        let filters = self.manager()["http_filters"].as_array_mut().expect("a list of filters");
        let before = filters.len();
        filters.retain(|filter| filter["name"] != name);
        assert_eq!(filters.len() + 1, before, "no filter {name}");
        self
    }

    /// With these fields of the connection manager replaced.
    ///
    /// # Panics
    /// If `fields` is no object.
    pub fn manager_with(mut self, fields: &Value) -> Self {
        for (name, value) in fields.as_object().expect("fields of an object") {
            self.manager()[name] = value.clone();
        }
        self
    }

    /// With these fields of the first route's action replaced.
    ///
    /// # Panics
    /// If `fields` is no object.
    pub fn route_with(mut self, fields: &Value) -> Self {
        let route = &mut self.manager()["route_config"]["virtual_hosts"][0]["routes"][0]["route"];
        for (name, value) in fields.as_object().expect("fields of an object") {
            route[name] = value.clone();
        }
        self
    }

    /// Writes everything Envoy needs into a folder; the path of the bootstrap.
    pub(super) fn write(&self, folder: &Path) -> PathBuf {
        let mut document = self.document.clone();
        if let Some(filter) = &self.filter {
            each(&mut document, "path_config_source", &mut |source| {
                *source = json!({
                    "path": folder.join("filter.json"),
                    "watched_directory": { "path": folder },
                });
            });
            fs::write(folder.join("filter.json"), filter.to_string()).expect("a folder of our own");
        }
        let path = folder.join("envoy.json");
        fs::write(&path, document.to_string()).expect("a folder of our own");
        path
    }

    /// Replaces the discovered filter's configuration in one step.
    pub(super) fn write_filter(&mut self, folder: &Path, configuration: &str) {
        let filter = self.filter.as_mut().expect("only a discovered filter can be replaced");
        configure(filter, configuration);
        let next = folder.join("next");
        fs::write(&next, filter.to_string()).expect("a folder of our own");
        fs::rename(next, folder.join("filter.json")).expect("a folder of our own");
    }

    fn manager(&mut self) -> &mut Value {
        self.document.pointer_mut(FILTERS).expect("an example has a connection manager")
    }
}

fn configure(document: &mut Value, configuration: &str) {
    let mut found = 0;
    each(document, "configuration", &mut |value| {
        value["value"] = json!(configuration);
        found += 1;
    });
    assert_eq!(found, 1, "an example has one filter with a configuration");
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Hands over the value of each field of this name, wherever it stands.
fn each(value: &mut Value, name: &str, change: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                if field == name {
                    change(value);
                } else {
                    each(value, name, change);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each(value, name, change)),
        _ => {}
    }
}
