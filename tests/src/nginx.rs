//! A real nginx, for the hop that many have in front of Envoy.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Stdio};

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
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = Upstream::nobody();
        let example = root().join("envoy-examples/nginx-in-front/nginx.conf");
        let text = fs::read_to_string(example).expect("the example is there");
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let folders = kinds.map(|kind| format!("{kind}_temp_path {kind};"));
        let text = text
            .replace("127.0.0.1:8000", &format!("127.0.0.1:{port}"))
            .replace("127.0.0.1:10000", &format!("127.0.0.1:{proxied}"))
            .replace("http {", &format!("http {{ {}", folders.join(" ")));
        fs::write(folder.path().join("nginx.conf"), text).expect("a folder of our own");
        let process = debian::command("nginx")
            .arg("-p")
            .arg(folder.path())
            .args(["-e", "error.log", "-c", "nginx.conf"])
            .args(["-g", "daemon off; pid nginx.pid; master_process off;"])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx can be started");
        let nginx = Self { port, process, folder };
        eventually("nginx to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default();
            eprintln!("--- nginx's log\n{log}---");
        }
    }
}
