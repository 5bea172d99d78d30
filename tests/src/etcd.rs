//! A real etcd, the control store of a fleet.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http1::Client;
use crate::process::ServerProcess;
use crate::{debian, eventually, reusable_port, unused_port};

/// The folder of its data, in its temporary folder.
const DATA: &str = "data";

/// A running etcd.
#[derive(Debug)]
pub struct Etcd {
    /// The port for clients.
    pub port: u16,
    process: ServerProcess,
}

impl Etcd {
    /// Starts an empty etcd.
    ///
    /// # Panics
    /// If etcd is not found or does not start.
    pub fn start() -> Self {
        let port = reusable_port();
        let etcd =
            Self { port, process: ServerProcess::start("etcd", |folder| command(port, folder)) };
        etcd.wait_until_ready();
        etcd
    }

    /// Kills etcd, as a power failure does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts etcd again on the same port with the same data.
    pub fn restart(&mut self) {
        self.process.start_again(command(self.port, &self.process.folder));
        self.wait_until_ready();
    }

    /// Starts etcd again on the same port without its data.
    ///
    /// # Panics
    /// If the data cannot be removed.
    pub fn restart_empty(&mut self) {
        let data = self.process.folder.path().join(DATA);
        fs::remove_dir_all(data).expect("a folder with etcd's data");
        self.restart();
    }

    /// Writes a key.
    ///
    /// # Panics
    /// If etcd rejects the write.
    pub fn put(&self, key: &str, value: &str) {
        self.call("put", &json!({ "key": encoded(key), "value": encoded(value) }));
    }

    /// Removes a key.
    ///
    /// # Panics
    /// If etcd rejects the removal.
    pub fn delete(&self, key: &str) {
        self.call("deleterange", &json!({ "key": encoded(key) }));
    }

    /// The value of a key, if the key exists.
    ///
    /// # Panics
    /// If etcd does not respond, or the value is not UTF-8.
    pub fn value(&self, key: &str) -> Option<String> {
        let answer = self.call("range", &json!({ "key": encoded(key) }));
        let value = answer["kvs"][0]["value"].as_str()?.to_owned();
        let bytes = Base64::decode_vec(&value).expect("etcd writes base64");
        Some(String::from_utf8(bytes).expect("the value is UTF-8"))
    }

    fn call(&self, verb: &str, body: &Value) -> Value {
        let path = format!("/v3/kv/{verb}");
        let response = Client::connect(self.port).post(&path, body.to_string().as_bytes());
        let text = String::from_utf8_lossy(&response.body.bytes);
        assert_eq!(response.status, 200, "etcd: {text}");
        serde_json::from_str(&text).expect("etcd responds with JSON")
    }

    fn wait_until_ready(&self) {
        eventually("etcd to listen", || TcpStream::connect(("127.0.0.1", self.port)).ok());
        eventually("etcd to be ready", || {
            (Client::get_once(self.port, "/health").status == 200).then_some(())
        });
    }
}

fn command(port: u16, folder: &TempDir) -> Command {
    let [client, peer] = [port, unused_port()].map(|port| format!("http://127.0.0.1:{port}"));
    let mut command = debian::command("etcd-server", "etcd");
    command
        .current_dir(folder)
        .args(["--data-dir", DATA, "--name", "test", "--logger", "zap"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("test={peer}")]);
    command
}

fn encoded(text: &str) -> String {
    Base64::encode_string(text.as_bytes())
}
