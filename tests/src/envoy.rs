//! A real Envoy: started from a bootstrap, inspected through its admin port, stopped when dropped.

mod bootstrap;
mod tls;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::http1::Client;
pub use crate::process::Predecessor;
use crate::process::ServerProcess;
use crate::{eventually, root};
pub use bootstrap::{Bootstrap, manifests, yaml};

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    /// The port of its first listener.
    pub port: u16,
    /// The admin port.
    pub admin: u16,
    process: ServerProcess,
    bootstrap: Bootstrap,
    workers: usize,
    options: Vec<String>,
    /// The number of hot restarts.
    restarts: u32,
}

/// How many discovered configurations Envoy has accepted and rejected.
struct ConfigCounts {
    accepted: u64,
    rejected: u64,
}

/// The result of a configuration push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushResult {
    /// The configuration is in force.
    Accepted,
    /// The previous configuration stays in force.
    Rejected,
}

impl Envoy {
    /// Starts Envoy with one worker and waits until it serves.
    ///
    /// # Panics
    /// If Envoy is not found, or rejects the bootstrap.
    pub fn start(bootstrap: Bootstrap) -> Self {
        Self::start_with_workers(bootstrap, 1)
    }

    /// Starts Envoy with this many workers and waits until it serves.
    ///
    /// # Panics
    /// If Envoy is not found, or rejects the bootstrap.
    pub fn start_with_workers(bootstrap: Bootstrap, workers: usize) -> Self {
        Self::start_with_options(bootstrap, workers, &[])
    }

    /// Starts Envoy with this many workers and more command-line options, and waits until it
    /// serves.
    ///
    /// # Panics
    /// If Envoy is not found, or rejects the bootstrap or an option.
    pub fn start_with_options(bootstrap: Bootstrap, workers: usize, options: &[&str]) -> Self {
        let mut envoy = Self::spawn(bootstrap, workers, options);
        envoy.wait_until_ready();
        envoy.port = envoy.listener_ports()[0];
        assert_eq!(envoy.config_counts().rejected, 0, "Envoy rejected the filter's configuration");
        envoy
    }

    /// The ports of all listeners, in the order of the bootstrap.
    ///
    /// # Panics
    /// If a listener has no port.
    pub fn listener_ports(&self) -> Vec<u16> {
        let listeners: Value = serde_json::from_str(&self.admin_get("/listeners?format=json").1)
            .expect("Envoy's list of listeners is JSON");
        let statuses = listeners["listener_statuses"].as_array().expect("a list of listeners");
        let port = |status: &Value| {
            let address = &status["local_address"]["socket_address"];
            let port = address["port_value"].as_u64().expect("a listener has a port");
            port.try_into().expect("a port has 16 bits")
        };
        statuses.iter().map(port).collect()
    }

    /// Replaces the process by a hot restart: another process takes over the listeners, and this
    /// one drains its connections and ends after `--parent-shutdown-time-s`. The value then stands
    /// for the other process; returns this one.
    ///
    /// The first listener must have a fixed port ([`Bootstrap::listening_on`]).
    ///
    /// # Panics
    /// If Envoy does not start.
    pub fn hot_restart(&mut self) -> Predecessor {
        self.restarts += 1;
        let base_id = fs::read_to_string(self.folder().join(BASE_ID)).expect("Envoy's base id");
        let mut command = command_in(self.folder(), self.workers, &self.options, self.restarts);
        command.args(["--base-id", base_id.trim()]);
        command.args(["--restart-epoch", &self.restarts.to_string()]);
        let predecessor = self.process.succeed(command);
        self.wait_until_ready();
        predecessor
    }

    fn wait_until_ready(&mut self) {
        let file = admin_address_file(self.folder(), self.restarts);
        let address = eventually("Envoy to start", || {
            if let Some(status) = self.process.exit_status() {
                panic!("Envoy exited during its start ({status})");
            }
            fs::read_to_string(&file).ok().filter(|address| address.contains(':'))
        });
        self.admin = port(&address);
        eventually("Envoy to be ready", || (self.admin_get("/ready").0 == 200).then_some(()));
    }

    /// Starts Envoy with a bootstrap that it rejects; returns the log.
    ///
    /// # Panics
    /// If Envoy does not exit with an error.
    pub fn start_rejected(bootstrap: Bootstrap) -> String {
        let mut envoy = Self::spawn(bootstrap, 1, &[]);
        let status = eventually("Envoy to exit", || envoy.process.exit_status());
        assert!(!status.success(), "Envoy exited without an error");
        envoy.log()
    }

    /// Replaces the filter's configuration by an atomic rename and waits until Envoy has accepted
    /// or rejected it. The bootstrap's filter must be discovered ([`Bootstrap::discovered`]).
    pub fn push(&mut self, configuration: &Value) -> PushResult {
        self.push_text(&configuration.to_string())
    }

    /// [`push`](Self::push) with any text as the configuration.
    pub fn push_text(&mut self, configuration: &str) -> PushResult {
        let before = self.config_counts();
        self.bootstrap.replace_filter(self.process.folder.path(), configuration);
        eventually("Envoy to accept or reject a configuration", || {
            let now = self.config_counts();
            match (now.accepted > before.accepted, now.rejected > before.rejected) {
                (_, true) => Some(PushResult::Rejected),
                (true, false) => Some(PushResult::Accepted),
                (false, false) => None,
            }
        })
    }

    /// Replaces the filter's module and its configuration in one step, and waits until Envoy has
    /// accepted or rejected them.
    pub fn push_module(&mut self, module: &Path, configuration: &Value) -> PushResult {
        self.bootstrap = self.bootstrap.clone().with_module(module);
        self.push(configuration)
    }

    /// Changes each field of this name in one of the example's files, and replaces the file by an
    /// atomic rename.
    pub fn replace(&mut self, file: &str, field: &str, mut change: impl FnMut(&mut Value)) {
        self.bootstrap.replace(self.process.folder.path(), file, field, &mut change);
    }

    fn config_counts(&self) -> ConfigCounts {
        let count = |name: &str| self.stat(&format!("{}.{name}", bootstrap::DISCOVERY));
        ConfigCounts {
            accepted: count("config_reload"),
            rejected: count("config_fail") + count("update_rejected"),
        }
    }

    /// The value of a counter or gauge; 0 if it does not exist.
    ///
    /// # Panics
    /// If the value is not a number.
    pub fn stat(&self, name: &str) -> u64 {
        let (_, text) = self.admin_get(&format!("/stats?filter=^{}$", name.replace('.', "\\.")));
        let value = text.trim().rsplit_once(": ").map(|(_, value)| value);
        value.map_or(0, |value| {
            value.parse().unwrap_or_else(|_| panic!("expected a number, found {text:?}"))
        })
    }

    /// Waits until a counter or gauge has this value.
    pub fn wait_for_stat(&self, name: &str, value: u64) {
        let awaited = format!("{name} to be {value}, it was {}", self.stat(name));
        eventually(&awaited, || (self.stat(name) == value).then_some(()));
    }

    /// The process id.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// The folder of its configuration files.
    pub fn folder(&self) -> &Path {
        self.process.folder.path()
    }

    /// Whether the process has ended, for example by a crash.
    pub fn has_ended(&mut self) -> bool {
        self.process.exit_status().is_some()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Sends a GET request to the admin port; returns status and body.
    pub fn admin_get(&self, path: &str) -> (u16, String) {
        let response = Client::get_once(self.admin, path);
        (response.status, String::from_utf8_lossy(&response.body.bytes).into_owned())
    }

    /// Sends a POST request to the admin port.
    ///
    /// # Panics
    /// If the status is not 200.
    pub fn admin_post(&self, path: &str) {
        let response = Client::connect(self.admin).post(path, b"");
        assert_eq!(response.status, 200, "POST {path} to Envoy's admin port");
    }

    fn spawn(bootstrap: Bootstrap, workers: usize, options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let process = ServerProcess::start("Envoy", |folder| {
            bootstrap.write(folder.path());
            let mut command = command_in(folder.path(), workers, &options, 0);
            command.args(["--use-dynamic-base-id", "--base-id-path"]);
            command.arg(folder.path().join(BASE_ID));
            command
        });
        Self { port: 0, admin: 0, process, bootstrap, workers, options, restarts: 0 }
    }
}

/// The file in which Envoy writes the id that a hot restart needs.
const BASE_ID: &str = "base-id";

fn admin_address_file(folder: &Path, restarts: u32) -> PathBuf {
    folder.join(format!("admin-{restarts}"))
}

/// A command that starts Envoy with the configuration in a folder, without the options of the base
/// id.
fn command_in(folder: &Path, workers: usize, options: &[String], restarts: u32) -> Command {
    let mut command = command();
    command
        .current_dir(root())
        .arg("-c")
        .arg(folder.join(bootstrap::START))
        .arg("--admin-address-path")
        .arg(admin_address_file(folder, restarts))
        .args(["--log-level", "warning", "--concurrency", &workers.to_string()])
        .args(options)
        // Tests wait for access log lines.
        .args(["--file-flush-interval-msec", "20"]);
    command
}

/// A command that starts Envoy.
///
/// # Panics
/// If Envoy is not found.
pub fn command() -> Command {
    let fetched = root().join("target/envoy/envoy");
    let program = std::env::var_os("SLUICE_ENVOY").map_or(fetched, PathBuf::from);
    assert!(
        program.is_file(),
        "no Envoy at {}: run `cargo xtask envoy`, or name one in SLUICE_ENVOY",
        program.display()
    );
    Command::new(program)
}

/// The version of Envoy, such as 1 and 40.
///
/// # Panics
/// If Envoy is not found, or does not print its version.
pub fn version() -> (u32, u32) {
    let output = command().arg("--version").output().expect("Envoy prints its version");
    let text = String::from_utf8_lossy(&output.stdout);
    // Such as `…/envoy  version: 9e558093…/1.40.0/Clean/RELEASE/BoringSSL`.
    let version = text.rsplit_once("version: ").and_then(|(_, text)| text.split('/').nth(1));
    let mut parts = version.into_iter().flat_map(|version| version.split('.'));
    let mut part = || parts.next().and_then(|part| part.parse().ok());
    part().zip(part()).unwrap_or_else(|| panic!("expected a version of Envoy, found {text:?}"))
}

fn port(address: &str) -> u16 {
    let port = address.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.unwrap_or_else(|| panic!("expected an address with a port, found {address:?}"))
}
