//! A server program that a test runs: its process, its temporary folder and its log.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{TEST_TIMEOUT, eventually_within};

/// The number of log lines that are printed if the test fails.
const SHOWN_LINES: usize = 60;

/// A running server. It is killed when dropped; if the test panics, the end of its log is printed.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    pub(crate) folder: TempDir,
    name: &'static str,
    child: Child,
}

impl ServerProcess {
    /// Creates a folder and starts the command that `command` builds for the folder's path.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub(crate) fn start(name: &'static str, command: impl FnOnce(&TempDir) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let command = command(&folder);
        let child = spawn(name, &folder, command);
        Self { folder, name, child }
    }

    /// Starts the program again after [`kill`](Self::kill), in the same folder.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub(crate) fn start_again(&mut self, command: Command) {
        self.child = spawn(self.name, &self.folder, command);
    }

    /// Starts a second process of the program in the same folder. The value then stands for it;
    /// returns the first.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub(crate) fn succeed(&mut self, command: Command) -> Predecessor {
        let successor = spawn(self.name, &self.folder, command);
        Predecessor(std::mem::replace(&mut self.child, successor))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process.
    ///
    /// # Panics
    /// If the process has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.id().try_into().ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("the process runs");
    }

    /// Runs `reload`, and waits until the process has new child processes, and no earlier one.
    ///
    /// # Panics
    /// If an earlier child does not end soon after this time.
    pub(crate) fn replace_workers(&self, time: Duration, reload: impl FnOnce()) {
        let before = self.children();
        reload();
        let replaced = || {
            let now = self.children();
            !now.is_empty() && !before.iter().any(|child| now.contains(child))
        };
        eventually_within(time + TEST_TIMEOUT, "the earlier workers to end", || {
            replaced().then_some(())
        });
    }

    /// The process ids of its child processes.
    fn children(&self) -> Vec<String> {
        let id = self.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.expect("Linux lists the children of a process");
        children.split_whitespace().map(str::to_owned).collect()
    }

    /// The exit status, if the process has ended.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills the process and waits for its end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.wait();
    }

    /// Waits until the process ends.
    pub(crate) fn wait(&mut self) {
        let _ = self.child.wait();
    }

    /// Its standard error so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log_file(&self.folder)).unwrap_or_default()
    }
}

/// A process that another one replaces. It is killed when dropped.
#[derive(Debug)]
pub struct Predecessor(Child);

impl Predecessor {
    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            eprintln!("--- the end of {}'s log\n{shown}\n---", self.name);
        }
    }
}

fn spawn(name: &str, folder: &TempDir, mut command: Command) -> Child {
    let log = File::options().create(true).append(true).open(log_file(folder));
    let log = log.expect("a file in a temporary folder");
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    child.unwrap_or_else(|error| panic!("cannot start {name}: {error}"))
}

fn log_file(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}
