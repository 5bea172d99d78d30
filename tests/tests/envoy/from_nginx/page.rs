//! Reads `docs/from-nginx.md` and starts proxies with the configuration blocks of its sections.

use std::any::Any;
use std::fs;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::nginx::Nginx;
use sluice_tests::root;
use sluice_tests::upstream::{Reply, Request, Upstream};

/// The whole page.
pub(super) struct Page {
    text: String,
}

/// One section: an nginx directive and its replacement.
pub(super) struct Section {
    nginx: String,
    json: Option<Value>,
    yaml: Option<String>,
}

/// A proxy configured by a section, with its upstream.
pub(super) struct Tried {
    /// The port for clients.
    pub(super) port: u16,
    pub(super) upstream: Upstream,
    /// Keeps the proxy running.
    _proxy: Box<dyn Any>,
}

impl Page {
    pub(super) fn read() -> Self {
        let text = fs::read_to_string(root().join("docs/from-nginx.md")).expect("the page exists");
        Self { text }
    }

    /// The names in the table; each links to its section.
    pub(super) fn rows(&self) -> Vec<&str> {
        let rows = self.text.lines().filter(|line| line.starts_with('|')).skip(2);
        let name = |row| {
            let link = str::strip_prefix(row, "| [`").and_then(|row| row.split_once("`](#"));
            let (name, rest) = link.expect("a row begins with a link");
            let (anchor, _) = rest.split_once(") |").expect("a link has an end");
            assert_eq!(anchor, name.to_lowercase().replace(' ', "-"), "the link of {name}");
            name
        };
        rows.map(name).collect()
    }

    /// The names of the sections.
    pub(super) fn sections(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("### ")).collect()
    }
}

/// The name of the test of a section.
pub(super) fn test(section: &str) -> String {
    section.to_lowercase().replace([' ', '-'], "_")
}

impl Section {
    /// The section for a test.
    pub(super) fn of(name: &str) -> Self {
        let page = Page::read();
        let found = page.text.split("\n### ").skip(1).find_map(|section| {
            let (heading, text) = section.split_once('\n')?;
            (test(heading) == name).then_some(text)
        });
        let section = found.unwrap_or_else(|| panic!("the page has no section for {name}"));
        let json = block(section, "json").map(|text| serde_json::from_str(text).expect("JSON"));
        let yaml = block(section, "yaml").map(str::to_owned);
        assert!(json.is_some() || yaml.is_some(), "{name}: the section has no replacement");
        let nginx = block(section, "nginx").expect("the section has nginx directives").to_owned();
        Self { nginx, json, yaml }
    }

    /// Starts both proxies without the section's configuration.
    pub(super) fn unsaid(&self) -> Self {
        Self { nginx: String::new(), json: None, yaml: None }
    }

    /// The filter configuration; empty if the section has no JSON.
    pub(super) fn json(&self) -> Value {
        self.json.clone().unwrap_or_else(|| json!({ "version": 1 }))
    }

    /// Starts both proxies, each with its own upstream that runs this script.
    pub(super) fn both(
        &self,
        script: impl Fn(&Request, &mut Reply) + Clone + Send + Sync + 'static,
    ) -> [Tried; 2] {
        self.with_servers(1, script)
    }

    /// As `with`, with the upstream listed `servers` times, which nginx counts as that many
    /// servers.
    pub(super) fn with_servers(
        &self,
        servers: usize,
        script: impl Fn(&Request, &mut Reply) + Clone + Send + Sync + 'static,
    ) -> [Tried; 2] {
        let upstreams = [script.clone(), script].map(|script| Upstream::start(script));
        let ports = upstreams.each_ref().map(|upstream| vec![upstream.port; servers]);
        let [before, behind] = upstreams;
        let (nginx, envoy) = (self.nginx(&ports[0]), self.envoy(&ports[1]));
        [
            Tried { port: nginx.port, upstream: before, _proxy: Box::new(nginx) },
            Tried { port: envoy.port, upstream: behind, _proxy: Box::new(envoy) },
        ]
    }

    /// Starts nginx with the section's directives.
    pub(super) fn nginx(&self, servers: &[u16]) -> Nginx {
        let (main, server) = match self.nginx.strip_prefix("# in the main context\n") {
            Some(main) => (main, ""),
            None => ("", self.nginx.as_str()),
        };
        let servers = servers.iter().map(|port| format!("server 127.0.0.1:{port} max_fails=0;"));
        let port = sluice_tests::unused_port();
        let text = format!(
            "worker_processes 1;
             {main}
             events {{}}
             http {{
                 access_log off;
                 client_max_body_size 0;
                 proxy_http_version 1.1;
                 proxy_set_header Connection \"\";
                 upstream service {{ {} }}
                 server {{
                     listen 127.0.0.1:{port};
                     {server}
                     location / {{ proxy_pass http://service; }}
                 }}
             }}",
            servers.collect::<String>()
        );
        Nginx::start_with(port, &text)
    }

    /// Starts Envoy with the section's JSON and YAML.
    pub(super) fn envoy(&self, servers: &[u16]) -> Envoy {
        self.envoy_with(servers, &self.json())
    }

    /// Starts Envoy with the section's YAML and this filter configuration.
    pub(super) fn envoy_with(&self, servers: &[u16], configuration: &Value) -> Envoy {
        let bootstrap = Bootstrap::discovered(servers[0], configuration);
        let bootstrap = bootstrap.changed("lb_endpoints", |endpoints| {
            let endpoint = |port| {
                let mut endpoint = endpoints[0].clone();
                endpoint["endpoint"]["address"]["socket_address"]["port_value"] = json!(port);
                endpoint
            };
            *endpoints = servers.iter().map(endpoint).collect();
        });
        Envoy::start(match &self.yaml {
            Some(yaml) => placed(bootstrap, yaml),
            None => bootstrap,
        })
    }
}

/// Inserts these fields at the place that the first line of the block names.
fn placed(bootstrap: Bootstrap, yaml: &str) -> Bootstrap {
    let fields: Value = serde_saphyr::from_str(yaml).expect("YAML");
    let into = |list: &mut Value| {
        for (name, value) in fields.as_object().expect("fields of an object") {
            list[0][name] = value.clone();
        }
    };
    match yaml.lines().next() {
        Some("# in the connection manager") => bootstrap.with_connection_manager(&fields),
        Some("# in the cluster") => bootstrap.changed("clusters", into),
        Some("# in the listener") => bootstrap.changed("listeners", into),
        Some("# in the plugin configuration") => bootstrap.changed("config", |config| {
            if config.get("vm_config").is_some() {
                for (name, value) in fields.as_object().expect("fields of an object") {
                    config[name] = value.clone();
                }
            }
        }),
        place => panic!("{place:?} is not a known place in the bootstrap"),
    }
}

/// The block in this language; a section has at most one.
fn block<'a>(section: &'a str, language: &str) -> Option<&'a str> {
    let fence = format!("\n```{language}\n");
    let mut blocks = section.split(&fence).skip(1);
    let block = blocks.next()?.split("```").next();
    assert!(blocks.next().is_none(), "two blocks of {language}");
    block
}
