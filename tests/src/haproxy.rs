//! A real HAProxy that spreads connections over proxies, as a TCP load balancer in front of a fleet
//! does: it knows nothing of HTTP but the health check.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use tempfile::TempDir;

use crate::{debian, eventually, steady_port};

/// A proxy behind the balancer.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    /// Its name in the balancer.
    pub name: &'static str,
    /// Where it takes HTTP/1.1, the health check included.
    pub http1: u16,
    /// Where it takes HTTP/2; the same port for a proxy that tells the two apart.
    pub http2: u16,
}

/// How the balancer chooses a server for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// One after the other: HAProxy's own choice.
    RoundRobin,
    /// The one with the fewest connections: what HAProxy's manual advises for long sessions.
    LeastConnections,
}

/// A running HAProxy.
#[derive(Debug)]
pub struct HaProxy {
    /// Where it takes HTTP/1.1 connections.
    pub http1: u16,
    /// Where it takes HTTP/2 connections.
    pub http2: u16,
    process: Child,
    folder: TempDir,
}

/// A line of HAProxy's statistics: a server in one of the two proxies of the configuration.
struct Line {
    proxy: String,
    server: String,
    status: String,
    connections: u64,
}

impl HaProxy {
    /// Starts HAProxy in front of these servers and waits until it listens. It checks their health
    /// every second, and takes two answers alike for the truth.
    ///
    /// # Panics
    /// If there is no HAProxy on this machine, or it does not start.
    pub fn start(balance: Balance, servers: &[Server]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (http1, http2) = (steady_port(), steady_port());
        let configuration = folder.path().join("haproxy.cfg");
        let text = configuration_text(&socket(&folder), (http1, http2), balance, servers);
        fs::write(&configuration, text).expect("a folder of our own");
        let log = fs::File::create(folder.path().join("log")).expect("a folder of our own");
        let process = debian::command("haproxy", "haproxy")
            .args(["-db", "-f"])
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("HAProxy can be started");
        let haproxy = Self { http1, http2, process, folder };
        eventually("HAProxy to listen", || {
            UnixStream::connect(socket(&haproxy.folder)).ok()?;
            TcpStream::connect((Ipv4Addr::LOCALHOST, http2)).ok()
        });
        haproxy
    }

    /// Waits until new connections go to this server.
    pub fn await_in(&self, server: &str) {
        let is_in = || (self.status(server) == "UP").then_some(());
        eventually("HAProxy to take a server in", is_in);
    }

    /// Waits until no new connection goes to this server.
    pub fn await_out(&self, server: &str) {
        let is_out = || !self.status(server).starts_with("UP");
        eventually("HAProxy to take a server out", || is_out().then_some(()));
    }

    /// Tells HAProxy by hand to give this server no new connections (`drain`), or some again (`ready`).
    pub fn set(&self, server: &str, state: &str) {
        self.ask(&format!("set server {HTTP_1}/{server} state {state}"));
    }

    /// The connections that go to this server now.
    pub fn connections(&self, server: &str) -> u64 {
        let lines = self.lines();
        lines.iter().filter(|line| line.server == server).map(|line| line.connections).sum()
    }

    fn status(&self, server: &str) -> String {
        let mut lines = self.lines().into_iter();
        let line = lines.find(|line| line.proxy == HTTP_1 && line.server == server);
        line.expect("HAProxy tells about each of its servers").status
    }

    fn lines(&self) -> Vec<Line> {
        let text = self.ask("show stat -1 4 -1");
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

    fn ask(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(socket(&self.folder)).expect("HAProxy answers");
        writeln!(stream, "{command}").expect("HAProxy listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("HAProxy answers in text");
        answer
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- HAProxy's log\n{log}---");
        }
    }
}

/// The two proxies of the configuration. The second follows the first in which servers are in.
const HTTP_1: &str = "http1";
const HTTP_2: &str = "http2";

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("socket")
}

fn configuration_text(
    socket: &std::path::Path,
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
