//! A real Prometheus that scrapes an Envoy, for tests of the queries in the documentation.

use std::fs;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::envoy::yaml;
use crate::http1::Client;
use crate::process::ServerProcess;
use crate::{debian, eventually, root, unused_port};

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    _process: ServerProcess,
}

/// One row of a query's result.
#[derive(Debug)]
pub struct Row {
    /// The labels, as an object.
    pub labels: Value,
    /// The value.
    pub value: f64,
}

impl Prometheus {
    /// Starts Prometheus with the example's configuration, the admin port of an Envoy as its
    /// target, and a short scrape interval.
    ///
    /// # Panics
    /// If Prometheus is not found or does not start.
    pub fn start(admin: u16) -> Self {
        let port = unused_port();
        let mut configuration = yaml(&root().join("envoy-examples/metrics/prometheus.yaml"));
        configuration["global"]["scrape_interval"] = json!("200ms");
        let targets = &mut configuration["scrape_configs"][0]["static_configs"][0]["targets"];
        *targets = json!([format!("127.0.0.1:{admin}")]);
        let process = ServerProcess::start("Prometheus", |folder| {
            let file = folder.path().join("prometheus.yaml");
            fs::write(&file, configuration.to_string()).expect("a temporary folder");
            let data = folder.path().join("data");
            let mut command = debian::command("prometheus", "prometheus");
            command
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"));
            command
        });
        eventually("Prometheus to be ready", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
            (Client::get_once(port, "/-/ready").status == 200).then_some(())
        });
        Self { port, _process: process }
    }

    /// The rows that a query returns now.
    ///
    /// # Panics
    /// If Prometheus rejects the query, or the result is not a vector.
    pub fn query(&self, query: &str) -> Vec<Row> {
        let query_text = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let response = Client::get_once(self.port, &format!("/api/v1/query?query={query_text}"));
        let answer: Value =
            serde_json::from_slice(&response.body.bytes).expect("Prometheus responds with JSON");
        assert_eq!(answer["status"], "success", "{query}: {}", answer["error"]);
        assert_eq!(answer["data"]["resultType"], "vector", "{query}");
        let rows = answer["data"]["result"].as_array().expect("a list of rows");
        let row = |row: &Value| {
            let value = row["value"][1].as_str().and_then(|value| value.parse().ok());
            Row { labels: row["metric"].clone(), value: value.expect("a number") }
        };
        rows.iter().map(row).collect()
    }
}
