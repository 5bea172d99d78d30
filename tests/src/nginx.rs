//! A real nginx, as deployed in front of Envoy or instead of it.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::process::ServerProcess;
use crate::{debian, eventually, root, unused_port};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    /// The port on which it listens.
    pub port: u16,
    process: ServerProcess,
}

impl Nginx {
    /// Starts nginx with the example's configuration in front of this port.
    ///
    /// # Panics
    /// If nginx is not found or does not start.
    pub fn start(proxied: u16) -> Self {
        let port = unused_port();
        let example = root().join("envoy-examples/nginx-in-front/nginx.conf");
        let text = fs::read_to_string(example).expect("the example exists");
        let text = text
            .replace("127.0.0.1:8000", &format!("127.0.0.1:{port}"))
            .replace("127.0.0.1:10000", &format!("127.0.0.1:{proxied}"));
        Self::start_with(port, &text)
    }

    /// Starts nginx with this configuration, which must listen on this port.
    ///
    /// # Panics
    /// If nginx is not found or does not start.
    pub fn start_with(port: u16, text: &str) -> Self {
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let folders = kinds.map(|kind| format!("{kind}_temp_path {kind};"));
        let text = text.replace("http {", &format!("http {{ {}", folders.join(" ")));
        let process = ServerProcess::start("nginx", |folder| {
            fs::write(folder.path().join("nginx.conf"), text).expect("a temporary folder");
            let mut command = command(folder.path());
            command.args(["-g", &format!("daemon off; {PID}")]);
            command
        });
        let nginx = Self { port, process };
        eventually("nginx to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        nginx
    }

    /// Reloads the configuration and waits until all earlier workers have ended.
    ///
    /// # Panics
    /// If a worker does not end.
    pub fn reload(&self) {
        let before = self.workers();
        assert!(self.signal("reload"), "nginx rejected the signal");
        let replaced = || {
            let now = self.workers();
            !now.is_empty() && !before.iter().any(|worker| now.contains(worker))
        };
        eventually("the earlier workers of nginx to end", || replaced().then_some(()));
    }

    /// The process ids of its workers.
    fn workers(&self) -> Vec<String> {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.expect("Linux lists the children of a process");
        children.split_whitespace().map(str::to_owned).collect()
    }

    fn signal(&self, signal: &str) -> bool {
        let sent = command(self.process.folder.path()).args(["-g", PID, "-s", signal]).status();
        sent.is_ok_and(|status| status.success())
    }
}

const PID: &str = "pid nginx.pid;";

fn command(folder: &Path) -> Command {
    let mut command = debian::command("nginx", "nginx");
    command.arg("-p").arg(folder).args(["-e", "stderr", "-c", "nginx.conf"]);
    command
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master process would leave its workers running.
        if self.signal("stop") {
            self.process.wait();
        }
    }
}
