//! A real Prometheus that reads an Envoy's metrics, so that queries are asked where an operator asks them.

use std::fs;
use std::process::{Child, Stdio};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::envoy::yaml;
use crate::http1::Client;
use crate::upstream::Upstream;
use crate::{debian, eventually, root};

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    process: Child,
    folder: TempDir,
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
    /// Starts Prometheus as the example has it, but with this admin port of an Envoy as its target, and looking often.
    ///
    /// # Panics
    /// If there is no Prometheus on this machine, or it does not start.
    pub fn start(admin: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = Upstream::nobody();
        let mut configuration = yaml(&root().join("envoy-examples/metrics/prometheus.yaml"));
        configuration["global"]["scrape_interval"] = json!("200ms");
        let targets = &mut configuration["scrape_configs"][0]["static_configs"][0]["targets"];
        *targets = json!([format!("127.0.0.1:{admin}")]);
        let file = folder.path().join("prometheus.yaml");
        fs::write(&file, configuration.to_string()).expect("a folder of our own");
        let log = fs::File::create(folder.path().join("log")).expect("a folder of our own");
        let process = debian::command("prometheus", "prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Prometheus can be started");
        let prometheus = Self { port, process, folder };
        eventually("Prometheus to be ready", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
            (Client::once(port, "/-/ready").status == 200).then_some(())
        });
        prometheus
    }

    /// What a query gives now.
    ///
    /// # Panics
    /// If Prometheus refuses the query, or it gives anything but rows.
    pub fn ask(&self, query: &str) -> Vec<Row> {
        let query_text = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let response = Client::once(self.port, &format!("/api/v1/query?query={query_text}"));
        let answer: Value =
            serde_json::from_slice(&response.body.bytes).expect("an answer in JSON");
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

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- the log of Prometheus\n{log}---");
        }
    }
}
