//! Two real HAProxies as the proxies, behind the HAProxy that balances.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Fleet;
use crate::haproxy::{HaProxy, Server};
use crate::process::ServerProcess;
use crate::{debian, eventually, reusable_port};

/// How a reload of HAProxy closes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closes {
    /// Over `close-spread-time`. HAProxy 2.6 then closes idle connections without notice, also with
    /// `idle-close-on-response`.
    Spread,
    /// Each connection with its next response.
    OnResponse,
}

pub(super) struct Pair {
    servers: [Server; 2],
    running: [ServerProcess; 2],
    patience: Duration,
}

impl Pair {
    pub(super) fn start(closes: Closes, upstream: u16, patience: Duration) -> Self {
        let servers = ["a", "b"].map(|name| {
            let port = reusable_port();
            Server { name, http1: port, http2: port }
        });
        let running =
            servers.map(|server| launch(&configuration(&server, closes, upstream, patience)));
        for server in servers {
            let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, server.http1)).ok();
            eventually("HAProxy to listen", connect);
        }
        Self { servers, running, patience }
    }
}

impl Fleet for Pair {
    fn servers(&self) -> Vec<Server> {
        self.servers.to_vec()
    }

    fn restart(&mut self, index: usize, balancer: &HaProxy) -> Duration {
        let start = Instant::now();
        let process = &self.running[index];
        process.replace_workers(self.patience, || process.signal(Signal::USR2));
        let drained = start.elapsed();
        balancer.wait_until_up(self.servers[index].name);
        drained
    }
}

/// Starts a master process, which reloads upon a signal. Its workers end with it.
fn launch(configuration: &str) -> ServerProcess {
    ServerProcess::start("HAProxy", |folder| {
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, configuration).expect("a temporary folder");
        let mut command = debian::command("haproxy", "haproxy");
        command.args(["-W", "-f"]).arg(file);
        command
    })
}

fn configuration(server: &Server, closes: Closes, upstream: u16, patience: Duration) -> String {
    let (port, patience) = (server.http1, patience.as_secs());
    let spread = match closes {
        Closes::Spread => "close-spread-time 5s",
        Closes::OnResponse => "",
    };
    format!(
        "global
  nbthread 2
  maxconn 4096
  {spread}
  hard-stop-after {patience}s
defaults
  mode http
  option idle-close-on-response
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen proxy
  bind 127.0.0.1:{port}
  server service 127.0.0.1:{upstream}
"
    )
}
