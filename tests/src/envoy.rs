//! A real Envoy: started from a bootstrap, asked through its admin port, stopped when dropped.

mod bootstrap;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::http1::Client;
use crate::{eventually, root};
pub use bootstrap::{Bootstrap, manifests, yaml};

/// What is shown of the log of an Envoy whose test failed.
const SHOWN_LINES: usize = 60;

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    /// Where its first listener listens.
    pub port: u16,
    /// Where it answers about itself.
    pub admin: u16,
    process: Child,
    folder: TempDir,
    bootstrap: Bootstrap,
}

/// How often Envoy judged a discovered configuration.
struct Verdicts {
    accepted: u64,
    refused: u64,
}

/// What became of a configuration that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is in force.
    Accepted,
    /// It is not, and the one before still is.
    Refused,
}

impl Envoy {
    /// Starts Envoy with one worker and waits until it serves.
    ///
    /// # Panics
    /// If there is no Envoy on this machine, or it refuses the bootstrap.
    pub fn start(bootstrap: Bootstrap) -> Self {
        Self::start_with_workers(bootstrap, 1)
    }

    /// Starts Envoy with so many workers and waits until it serves.
    ///
    /// # Panics
    /// If there is no Envoy on this machine, or it refuses the bootstrap.
    pub fn start_with_workers(bootstrap: Bootstrap, workers: usize) -> Self {
        Self::start_with_options(bootstrap, workers, &[])
    }

    /// Starts Envoy with so many workers and further options of its command line, and waits until
    /// it serves.
    ///
    /// # Panics
    /// If there is no Envoy on this machine, or it refuses the bootstrap or an option.
    pub fn start_with_options(bootstrap: Bootstrap, workers: usize, options: &[&str]) -> Self {
        let mut envoy = Self::spawn(bootstrap, workers, options);
        let file = envoy.folder.path().join("admin");
        let address = eventually("Envoy to start", || {
            if let Ok(Some(status)) = envoy.process.try_wait() {
                panic!("Envoy ended at once ({status})");
            }
            fs::read_to_string(&file).ok().filter(|address| address.contains(':'))
        });
        envoy.admin = port(&address);
        eventually("Envoy to be ready", || (envoy.ask("/ready").0 == 200).then_some(()));
        let listeners: Value = serde_json::from_str(&envoy.ask("/listeners?format=json").1)
            .expect("Envoy's list of listeners is JSON");
        let address = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
        let found = address["port_value"].as_u64().expect("a listener has a port");
        envoy.port = found.try_into().expect("a port has 16 bits");
        assert_eq!(envoy.verdicts().refused, 0, "Envoy refused the filter's configuration");
        envoy
    }

    /// Starts Envoy with a bootstrap that it refuses; what it said.
    ///
    /// # Panics
    /// If it goes on running.
    pub fn refuse(bootstrap: Bootstrap) -> String {
        let mut envoy = Self::spawn(bootstrap, 1, &[]);
        let status = eventually("Envoy to refuse", || envoy.process.try_wait().ok().flatten());
        assert!(!status.success(), "Envoy ended well");
        envoy.log()
    }

    /// Replaces the filter's configuration by an atomic rename and waits for Envoy's verdict; only
    /// for a bootstrap whose filter is discovered ([`Bootstrap::discovered`]).
    pub fn push(&mut self, configuration: &Value) -> Pushed {
        self.push_text(&configuration.to_string())
    }

    /// The same with any text in the configuration's place.
    pub fn push_text(&mut self, configuration: &str) -> Pushed {
        let before = self.verdicts();
        self.bootstrap.replace_filter(self.folder.path(), configuration);
        eventually("Envoy's verdict on a configuration", || {
            let now = self.verdicts();
            match (now.accepted > before.accepted, now.refused > before.refused) {
                (_, true) => Some(Pushed::Refused),
                (true, false) => Some(Pushed::Accepted),
                (false, false) => None,
            }
        })
    }

    /// Changes the value of each field of this name in one of the example's files, and replaces the
    /// file by an atomic rename.
    pub fn replace(&mut self, file: &str, field: &str, mut change: impl FnMut(&mut Value)) {
        self.bootstrap.replace(self.folder.path(), file, field, &mut change);
    }

    fn verdicts(&self) -> Verdicts {
        let count = |name: &str| self.stat(&format!("{}.{name}", bootstrap::DISCOVERY));
        Verdicts {
            accepted: count("config_reload"),
            refused: count("config_fail") + count("update_rejected"),
        }
    }

    /// The value of a counter or gauge; 0 if Envoy has none of this name.
    ///
    /// # Panics
    /// If the value is no number.
    pub fn stat(&self, name: &str) -> u64 {
        let (_, text) = self.ask(&format!("/stats?filter=^{}$", name.replace('.', "\\.")));
        let value = text.trim().rsplit_once(": ").map(|(_, value)| value);
        value.map_or(0, |value| value.parse().unwrap_or_else(|_| panic!("{text:?} is no number")))
    }

    /// Waits until a counter or gauge has this value.
    pub fn await_stat(&self, name: &str, value: u64) {
        let what = format!("{name} to be {value}, it is {}", self.stat(name));
        eventually(&what, || (self.stat(name) == value).then_some(()));
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// The folder where its files lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Asks the admin port; status and text.
    pub fn ask(&self, path: &str) -> (u16, String) {
        let response = Client::once(self.admin, path);
        (response.status, String::from_utf8_lossy(&response.body.bytes).into_owned())
    }

    /// Gives an order to the admin port.
    ///
    /// # Panics
    /// If it is not carried out.
    pub fn order(&self, path: &str) {
        let response = Client::connect(self.admin).post(path, b"");
        assert_eq!(response.status, 200, "Envoy's admin port to {path}");
    }

    fn spawn(bootstrap: Bootstrap, workers: usize, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let configuration = bootstrap.write(folder.path());
        let log = File::create(folder.path().join("log")).expect("a file in a folder of our own");
        let process = command()
            .current_dir(root())
            .arg("-c")
            .arg(configuration)
            .arg("--admin-address-path")
            .arg(folder.path().join("admin"))
            .args(["--use-dynamic-base-id", "--log-level", "warning"])
            .args(["--concurrency", &workers.to_string()])
            .args(options)
            // Access logs are waited for.
            .args(["--file-flush-interval-msec", "20"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Envoy can be started");
        Self { port: 0, admin: 0, process, folder, bootstrap }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            eprintln!("--- the end of Envoy's log\n{shown}\n---");
        }
    }
}

/// A command that starts Envoy.
///
/// # Panics
/// If there is none on this machine.
pub fn command() -> Command {
    let ours = root().join("target/envoy/envoy");
    let program = std::env::var_os("SLUICE_ENVOY").map_or(ours, PathBuf::from);
    assert!(
        program.is_file(),
        "no Envoy at {}: run `cargo xtask envoy`, or name one in SLUICE_ENVOY",
        program.display()
    );
    Command::new(program)
}

fn port(address: &str) -> u16 {
    let port = address.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    port.unwrap_or_else(|| panic!("{address:?} has no port"))
}
