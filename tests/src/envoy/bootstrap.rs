//! Envoy's configuration for a test: one of `envoy-examples/`, with other ports and the changes
//! that the test needs. The tests therefore run the files that users copy.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::tls;
use crate::root;

/// The prefix of the counters of the discovered filter.
pub(super) const DISCOVERY: &str = "extension_config_discovery.http_filter.sluice";

/// The bootstrap file.
pub(super) const START: &str = "envoy.yaml";

/// The files of an example, by name.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    files: BTreeMap<String, Value>,
}

impl Bootstrap {
    /// An example, with its upstream on this port.
    ///
    /// # Panics
    /// If the example does not exist, or a file is not valid YAML.
    pub fn example(name: &str, upstream: u16) -> Self {
        let folder = root().join("envoy-examples").join(name);
        let mut files = BTreeMap::new();
        follow(&folder, START, &mut files);
        for file in files.values_mut() {
            each(file, "port_value", &mut |port| *port = json!(0));
            each(file, "endpoint", &mut |endpoint| {
                each(endpoint, "port_value", &mut |port| *port = json!(upstream));
            });
            each(file, "filename", &mut |name| *name = json!(root().join(text(name))));
        }
        Self { files }
    }

    /// The example `drain-bridge`, whose filter is discovered, with this configuration.
    pub fn discovered(upstream: u16, configuration: &Value) -> Self {
        Self::example("drain-bridge", upstream).configured(configuration)
    }

    /// Sets the filter's configuration.
    pub fn configured(self, configuration: &Value) -> Self {
        self.configured_text(&configuration.to_string())
    }

    /// Sets the filter's configuration to any text.
    pub fn configured_text(mut self, configuration: &str) -> Self {
        self.configure(configuration);
        self
    }

    /// Uses this module as the filter.
    ///
    /// # Panics
    /// If the file does not exist.
    pub fn with_module(self, module: &Path) -> Self {
        assert!(module.is_file(), "no {}: run `cargo xtask test`", module.display());
        self.changed("code", |code| code["local"]["filename"] = json!(module))
    }

    /// Adds a cluster with one endpoint on this port.
    pub fn with_cluster(self, name: &str, port: u16) -> Self {
        let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
        let endpoint = json!({ "endpoint": { "address": address } });
        let cluster = json!({
            "name": name, "connect_timeout": "1s",
            "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] }
        });
        self.changed("clusters", |clusters| {
            clusters.as_array_mut().expect("a list of clusters").push(cluster.clone());
        })
    }

    /// Adds a cluster with one endpoint on this port, which speaks HTTP/2.
    pub fn with_http2_cluster(self, name: &str, port: u16) -> Self {
        self.with_cluster(name, port).changed("clusters", |clusters| {
            for cluster in clusters.as_array_mut().expect("a list of clusters") {
                if cluster["name"] == name {
                    cluster["typed_extension_protocol_options"] = http2_options();
                }
            }
        })
    }

    /// Moves the cluster of this name to another port.
    ///
    /// # Panics
    /// If the cluster does not exist.
    pub fn cluster_at(self, name: &str, port: u16) -> Self {
        let mut found = 0;
        let bootstrap = self.changed("clusters", |clusters| {
            for cluster in clusters.as_array_mut().expect("a list of clusters") {
                if cluster["name"] == name {
                    each(cluster, "port_value", &mut |value| *value = json!(port));
                    found += 1;
                }
            }
        });
        assert_eq!(found, 1, "the number of clusters named {name}");
        bootstrap
    }

    /// Uses HTTP/2 for all upstreams.
    pub fn http_2_upstream(self) -> Self {
        let options = http2_options();
        self.changed("clusters", |clusters| {
            for cluster in clusters.as_array_mut().expect("a list of clusters") {
                cluster["typed_extension_protocol_options"] = options.clone();
            }
        })
    }

    /// Sets these top-level fields of the bootstrap.
    pub fn with(mut self, fields: &Value) -> Self {
        let start = self.files.get_mut(START).expect("an example has a bootstrap file");
        merge(start, fields);
        self
    }

    /// Moves the first listener to this port; the others use free ports.
    pub fn listening_on(self, port: u16) -> Self {
        self.changed("listeners", |listeners| {
            listeners[0]["address"]["socket_address"]["port_value"] = json!(port);
        })
    }

    /// Accepts clients over TLS, with HTTP/2 or HTTP/1.1.
    pub fn with_tls(self) -> Self {
        self.changed("filter_chains", |chains| {
            for chain in chains.as_array_mut().expect("a list of filter chains") {
                chain["transport_socket"] = tls::transport_socket();
            }
        })
    }

    /// Removes the filter of this name from `http_filters`.
    ///
    /// # Panics
    /// If the filter does not exist.
    pub fn without(self, name: &str) -> Self {
        let mut removed = 0;
        let without = self.changed("http_filters", |filters| {
            let filters = filters.as_array_mut().expect("a list of filters");
            removed += filters.len();
            filters.retain(|filter| filter["name"] != name);
            removed -= filters.len();
        });
        assert_eq!(removed, 1, "the number of filters named {name}");
        without
    }

    /// Sets the buffer limit of client and upstream connections, in bytes.
    pub fn with_buffers(self, bytes: u32) -> Self {
        let limit = |list: &mut Value| {
            for item in list.as_array_mut().expect("a list of listeners or clusters") {
                item["per_connection_buffer_limit_bytes"] = json!(bytes);
            }
        };
        self.changed("listeners", limit).changed("clusters", limit)
    }

    /// Adds this filter immediately before the router.
    pub fn with_filter(self, filter: Value) -> Self {
        self.changed("http_filters", |filters| {
            let filters = filters.as_array_mut().expect("a list of filters");
            filters.insert(filters.len() - 1, filter.clone());
        })
    }

    /// Adds this filter immediately before the filter `name`.
    ///
    /// # Panics
    /// If the filter `name` does not exist.
    pub fn with_filter_before(self, name: &str, filter: Value) -> Self {
        let mut added = 0;
        let with = self.changed("http_filters", |filters| {
            let filters = filters.as_array_mut().expect("a list of filters");
            if let Some(place) = filters.iter().position(|filter| filter["name"] == name) {
                filters.insert(place, filter.clone());
                added += 1;
            }
        });
        assert_eq!(added, 1, "the number of filters named {name}");
        with
    }

    /// Replaces these fields of the connection manager.
    pub fn with_connection_manager(self, fields: &Value) -> Self {
        self.changed("typed_config", |typed| {
            if typed.get("http_filters").is_some() {
                merge(typed, fields);
            }
        })
    }

    /// Changes the value of each field of this name, in all files.
    pub fn changed(mut self, name: &str, mut change: impl FnMut(&mut Value)) -> Self {
        self.files.values_mut().for_each(|file| each(file, name, &mut change));
        self
    }

    /// The file of this name.
    ///
    /// # Panics
    /// If the example has no such file.
    pub fn file(&self, name: &str) -> &Value {
        self.files.get(name).unwrap_or_else(|| panic!("the example has no {name}"))
    }

    /// Writes every file into a folder.
    pub(super) fn write(&self, folder: &Path) {
        for name in self.files.keys() {
            self.write_file(folder, name);
        }
    }

    /// Replaces the filter's configuration in the file that contains it, by an atomic rename.
    pub(super) fn replace_filter(&mut self, folder: &Path, configuration: &str) {
        let name = self.configure(configuration);
        assert_ne!(name, START, "only a discovered filter can be replaced without a restart");
        self.write_file(folder, &name);
    }

    /// Changes the value of each field of this name in one file, and replaces the file by an atomic
    /// rename.
    pub(super) fn replace(
        &mut self,
        folder: &Path,
        file: &str,
        field: &str,
        change: &mut dyn FnMut(&mut Value),
    ) {
        each(self.files.get_mut(file).expect("the example has this file"), field, change);
        self.write_file(folder, file);
    }

    fn write_file(&self, folder: &Path, name: &str) {
        let mut file = self.files[name].clone();
        each(&mut file, "path_config_source", &mut |source| {
            let path = folder.join(file_name(source));
            *source = json!({ "path": path, "watched_directory": { "path": folder } });
        });
        let next = folder.join("next");
        fs::write(&next, file.to_string()).expect("a temporary folder");
        fs::rename(next, folder.join(name)).expect("a temporary folder");
    }

    /// Sets the filter's configuration; returns the name of the file that contains it.
    fn configure(&mut self, configuration: &str) -> String {
        let mut found = Vec::new();
        for (name, file) in &mut self.files {
            each(file, "configuration", &mut |value| {
                value["value"] = json!(configuration);
                found.push(name.clone());
            });
        }
        assert_eq!(found.len(), 1, "the number of filters with a configuration");
        found.remove(0)
    }
}

/// The options of a cluster whose endpoints speak HTTP/2.
fn http2_options() -> Value {
    json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {} } } })
}

/// Reads a file and the files that Envoy watches because of it.
fn follow(folder: &Path, name: &str, files: &mut BTreeMap<String, Value>) {
    let mut file = yaml(&folder.join(name));
    let mut watched = Vec::new();
    each(&mut file, "path_config_source", &mut |source| watched.push(file_name(source)));
    files.insert(name.to_owned(), file);
    for name in watched {
        follow(folder, &name, files);
    }
}

/// Reads a YAML file.
///
/// # Panics
/// If it cannot be read, or is not valid YAML.
pub fn yaml(path: &Path) -> Value {
    serde_saphyr::from_str(&read(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads a YAML file with several documents.
///
/// # Panics
/// If it cannot be read, or is not valid YAML.
pub fn manifests(path: &Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn file_name(source: &Value) -> String {
    let path = text(&source["path"]);
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a path is a string")
}

fn merge(into: &mut Value, fields: &Value) {
    for (name, value) in fields.as_object().expect("an object") {
        into[name] = value.clone();
    }
}

/// Applies `change` to the value of each field of this name, at any depth; inner fields first.
fn each(value: &mut Value, name: &str, change: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                each(value, name, change);
                if field == name {
                    change(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each(value, name, change)),
        _ => {}
    }
}
