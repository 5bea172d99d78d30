//! A real nginx, for the hop that many have in front of Envoy.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::upstream::Upstream;
use crate::{debian, eventually, root};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    /// Where it listens.
    pub port: u16,
    process: Child,
    folder: TempDir,
}

impl Nginx {
    /// Starts nginx as the example has it, in front of this port.
    ///
    /// # Panics
    /// If there is no nginx on this machine, or it does not start.
    pub fn start(proxied: u16) -> Self {
        let port = Upstream::nobody();
        let example = root().join("envoy-examples/nginx-in-front/nginx.conf");
        let text = fs::read_to_string(example).expect("the example is there");
        let text = text
            .replace("127.0.0.1:8000", &format!("127.0.0.1:{port}"))
            .replace("127.0.0.1:10000", &format!("127.0.0.1:{proxied}"));
        Self::start_with(port, &text)
    }

    /// Starts nginx with this configuration, which listens on this port.
    ///
    /// # Panics
    /// If there is no nginx on this machine, or it does not start.
    pub fn start_with(port: u16, text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let folders = kinds.map(|kind| format!("{kind}_temp_path {kind};"));
        let text = text.replace("http {", &format!("http {{ {}", folders.join(" ")));
        fs::write(folder.path().join("nginx.conf"), text).expect("a folder of our own");
        let process = command(&folder)
            .args(["-g", &format!("daemon off; {PID}")])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx can be started");
        let nginx = Self { port, process, folder };
        eventually("nginx to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        nginx
    }

    /// Reloads the configuration and waits until the workers from before are gone.
    ///
    /// # Panics
    /// If they stay.
    pub fn reload(&self) {
        let before = self.workers();
        assert!(self.signal("reload"), "nginx takes no signal");
        let are_gone = || {
            let now = self.workers();
            !now.is_empty() && !before.iter().any(|worker| now.contains(worker))
        };
        eventually("nginx's old workers to end", || are_gone().then_some(()));
    }

    /// The process ids of its workers.
    fn workers(&self) -> Vec<String> {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.expect("Linux tells the children of a process");
        children.split_whitespace().map(str::to_owned).collect()
    }

    fn signal(&self, signal: &str) -> bool {
        let sent = command(&self.folder).args(["-g", PID, "-s", signal]).status();
        sent.is_ok_and(|status| status.success())
    }
}

const PID: &str = "pid nginx.pid;";

fn command(folder: &TempDir) -> Command {
    let mut command = debian::command("nginx", "nginx");
    command.arg("-p").arg(folder.path()).args(["-e", "error.log", "-c", "nginx.conf"]);
    command
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Only the master can end its workers.
        if !self.signal("stop") {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default();
            eprintln!("--- nginx's log\n{log}---");
        }
    }
}
