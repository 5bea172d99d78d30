//! A real etcd, for drains that a whole fleet takes from one key.

use std::fs::{self, File};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http1::Client;
use crate::upstream::Upstream;
use crate::{debian, eventually};

/// A running etcd.
#[derive(Debug)]
pub struct Etcd {
    /// Where its clients connect.
    pub port: u16,
    process: Child,
    folder: TempDir,
}

impl Etcd {
    /// Starts an etcd with nothing in it.
    ///
    /// # Panics
    /// If there is no etcd on this machine, or it does not start.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = Upstream::nobody();
        let process = Self::run(port, &folder);
        let etcd = Self { port, process, folder };
        etcd.await_ready();
        etcd
    }

    /// Kills it, as a machine that loses its power does.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again where it was, with what it had.
    pub fn restart(&mut self) {
        self.process = Self::run(self.port, &self.folder);
        self.await_ready();
    }

    /// Writes a key.
    ///
    /// # Panics
    /// If etcd does not take it.
    pub fn put(&self, key: &str, value: &str) {
        self.call("put", &json!({ "key": encoded(key), "value": encoded(value) }));
    }

    /// Removes a key.
    ///
    /// # Panics
    /// If etcd does not do it.
    pub fn delete(&self, key: &str) {
        self.call("deleterange", &json!({ "key": encoded(key) }));
    }

    /// The value of a key, if it is there.
    ///
    /// # Panics
    /// If etcd does not answer, or the value is no text.
    pub fn value(&self, key: &str) -> Option<String> {
        let answer = self.call("range", &json!({ "key": encoded(key) }));
        let value = answer["kvs"][0]["value"].as_str()?.to_owned();
        let bytes = Base64::decode_vec(&value).expect("etcd writes base64");
        Some(String::from_utf8(bytes).expect("a text was written"))
    }

    fn call(&self, verb: &str, body: &Value) -> Value {
        let path = format!("/v3/kv/{verb}");
        let response = Client::connect(self.port).post(&path, body.to_string().as_bytes());
        let text = String::from_utf8_lossy(&response.body.bytes);
        assert_eq!(response.status, 200, "etcd: {text}");
        serde_json::from_str(&text).expect("etcd answers with JSON")
    }

    fn await_ready(&self) {
        eventually("etcd to listen", || TcpStream::connect(("127.0.0.1", self.port)).ok());
        eventually("etcd to be ready", || {
            (Client::once(self.port, "/health").status == 200).then_some(())
        });
    }

    fn run(port: u16, folder: &TempDir) -> Child {
        let log = File::options().create(true).append(true).open(folder.path().join("log"));
        let log = log.expect("a file in a folder of our own");
        let [client, peer] =
            [port, Upstream::nobody()].map(|port| format!("http://127.0.0.1:{port}"));
        debian::command("etcd-server", "etcd")
            .current_dir(folder)
            .args(["--data-dir", "data", "--name", "test", "--logger", "zap"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd can be started")
    }
}

fn encoded(text: &str) -> String {
    Base64::encode_string(text.as_bytes())
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let end = log.len().saturating_sub(3000);
            eprintln!("--- the end of etcd's log\n{}\n---", log.get(end..).unwrap_or(&log));
        }
    }
}
