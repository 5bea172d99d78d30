//! A real HAProxy that distributes connections over proxies, as a TCP load balancer in front of a
//! fleet. HTTP is only used for its health checks.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::process::ServerProcess;
use crate::{debian, eventually, reusable_port, root};

/// A proxy behind the balancer.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    /// Its name in the balancer.
    pub name: &'static str,
    /// The port for HTTP/1.1 and for health checks.
    pub http1: u16,
    /// The port for HTTP/2; the same port if the proxy detects the protocol.
    pub http2: u16,
}

/// The balancer's rule for choosing a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, HAProxy's default.
    RoundRobin,
    /// The server with the fewest connections, HAProxy's recommendation for long sessions.
    LeastConnections,
}

/// A running HAProxy.
#[derive(Debug)]
pub struct HaProxy {
    /// The port for HTTP/1.1 connections.
    pub http1: u16,
    /// The port for HTTP/2 connections.
    pub http2: u16,
    process: ServerProcess,
}

/// A line of HAProxy's statistics: one server in one of the two proxies of the configuration.
struct Line {
    proxy: String,
    server: String,
    status: String,
    connections: u64,
}

impl HaProxy {
    /// Starts HAProxy in front of these servers and waits until it listens. It checks their health
    /// every second, and changes a server's state after two equal results.
    ///
    /// # Panics
    /// If HAProxy is not found or does not start.
    pub fn start(balance: Balance, servers: &[Server]) -> Self {
        Self::start_with(|socket, ports| configuration(socket, ports, balance, servers))
    }

    /// Starts HAProxy in front of a server `grpc`, whose health it checks over gRPC.
    ///
    /// # Panics
    /// If HAProxy is not found or does not start.
    pub fn checking_grpc(port: u16) -> Self {
        Self::start_with(|socket, ports| grpc_configuration(socket, ports, port))
    }

    fn start_with(configuration: impl FnOnce(&Path, (u16, u16)) -> String) -> Self {
        let (http1, http2) = (reusable_port(), reusable_port());
        let process = ServerProcess::start("HAProxy", |folder| {
            let file = folder.path().join("haproxy.cfg");
            let text = configuration(&socket(folder.path()), (http1, http2));
            fs::write(&file, text).expect("a temporary folder");
            let mut command = debian::command("haproxy", "haproxy");
            command.args(["-db", "-f"]).arg(file);
            command
        });
        let haproxy = Self { http1, http2, process };
        eventually("HAProxy to listen", || {
            UnixStream::connect(haproxy.socket()).ok()?;
            TcpStream::connect((Ipv4Addr::LOCALHOST, http2)).ok()
        });
        haproxy
    }

    /// Waits until new connections go to this server.
    pub fn wait_until_up(&self, server: &str) {
        let is_up = || (self.status(server) == "UP").then_some(());
        eventually("HAProxy to mark a server as up", is_up);
    }

    /// Waits until no new connection goes to this server.
    pub fn wait_until_down(&self, server: &str) {
        let is_down = || !self.status(server).starts_with("UP");
        eventually("HAProxy to mark a server as down", || is_down().then_some(()));
    }

    /// Sets the administrative state of a server: `drain` (no new connections) or `ready`.
    pub fn set_state(&self, server: &str, state: &str) {
        self.command(&format!("set server {HTTP_1}/{server} state {state}"));
    }

    /// The number of open connections to this server.
    pub fn connections(&self, server: &str) -> u64 {
        let lines = self.lines();
        lines.iter().filter(|line| line.server == server).map(|line| line.connections).sum()
    }

    /// Waits until these servers together have this many open connections.
    pub fn wait_for_connections(&self, servers: &[Server], count: usize) {
        let open = || servers.iter().map(|server| self.connections(server.name)).sum::<u64>();
        eventually("every client to connect", || (open() == count as u64).then_some(()));
    }

    fn status(&self, server: &str) -> String {
        let mut lines = self.lines().into_iter();
        let line = lines.find(|line| line.proxy == HTTP_1 && line.server == server);
        line.expect("the statistics list each server").status
    }

    fn lines(&self) -> Vec<Line> {
        let text = self.command("show stat -1 4 -1");
        let mut rows = text.trim_start_matches("# ").lines().map(|row| row.split(',').collect());
        let names: Vec<&str> = rows.next().expect("HAProxy's statistics have a heading");
        let column = |name| names.iter().position(|found| *found == name).expect("a known column");
        let [proxy, server, status, connections] =
            ["pxname", "svname", "status", "scur"].map(column);
        let rows = rows.filter(|row: &Vec<&str>| row.len() == names.len());
        rows.map(|row| Line {
            proxy: row[proxy].to_owned(),
            server: row[server].to_owned(),
            status: row[status].to_owned(),
            connections: row[connections].parse().expect("a number of connections"),
        })
        .collect()
    }

    /// Sends a command to HAProxy's socket and returns the output.
    fn command(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).expect("HAProxy listens");
        writeln!(stream, "{command}").expect("HAProxy reads commands");
        let mut output = String::new();
        stream.read_to_string(&mut output).expect("HAProxy writes text");
        output
    }

    fn socket(&self) -> PathBuf {
        socket(self.process.folder.path())
    }
}

/// The two proxies of the configuration. The second takes the states of servers from the first.
const HTTP_1: &str = "http1";
const HTTP_2: &str = "http2";

fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

fn configuration(
    socket: &Path,
    (http1, http2): (u16, u16),
    balance: Balance,
    servers: &[Server],
) -> String {
    let balance = match balance {
        Balance::RoundRobin => "roundrobin",
        Balance::LeastConnections => "leastconn",
    };
    let list = |line: &dyn Fn(&Server) -> String| servers.iter().map(line).collect::<String>();
    let checked =
        list(&|Server { name, http1, .. }| format!("  server {name} 127.0.0.1:{http1} check\n"));
    let followed = list(&|Server { name, http2, .. }| {
        format!("  server {name} 127.0.0.1:{http2} track {HTTP_1}/{name}\n")
    });
    let socket = socket.display();
    format!(
        "global
  nbthread 1
  maxconn 4096
  stats socket {socket} mode 600 level admin
defaults
  mode tcp
  balance {balance}
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  retries 3
  option redispatch 1
listen {HTTP_1}
  bind 127.0.0.1:{http1}
  option httpchk
  http-check send meth GET uri /health ver HTTP/1.1 hdr Host x
  default-server inter 1s fall 2 rise 2
{checked}listen {HTTP_2}
  bind 127.0.0.1:{http2}
{followed}"
    )
}

/// The check of `envoy-examples/grpc-health/README.md`.
fn grpc_configuration(socket: &Path, (http1, http2): (u16, u16), server: u16) -> String {
    let readme = root().join("envoy-examples/grpc-health/README.md");
    let readme = fs::read_to_string(readme).expect("the README exists");
    let lines = readme.lines().map(str::trim);
    let check: Vec<&str> = lines.filter(|line| line.starts_with("http-check ")).collect();
    assert_eq!(check.len(), 2, "{check:?}");
    let (check, socket) = (check.join("\n  "), socket.display());
    format!(
        "global
  nbthread 1
  stats socket {socket} mode 600 level admin
defaults
  mode http
  timeout connect 2s
  timeout client 1m
  timeout server 1m
listen {HTTP_1}
  bind 127.0.0.1:{http1}
  bind 127.0.0.1:{http2} proto h2
  option httpchk
  {check}
  server grpc 127.0.0.1:{server} proto h2 check check-proto h2 inter 200ms fall 2 rise 2
"
    )
}
