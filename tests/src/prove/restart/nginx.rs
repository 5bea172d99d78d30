//! Two real nginx.

use std::time::{Duration, Instant};

use super::Fleet;
use crate::haproxy::{HaProxy, Server};
use crate::nginx::{Nginx, Release};
use crate::reusable_port;

pub(super) struct Pair {
    servers: [Server; 2],
    running: [Nginx; 2],
    patience: Duration,
}

impl Pair {
    pub(super) fn start(release: Release, upstream: u16, patience: Duration) -> Self {
        let servers =
            ["a", "b"].map(|name| Server { name, http1: reusable_port(), http2: reusable_port() });
        let running = servers.map(|server| {
            let text = configuration(&server, release, upstream, patience);
            Nginx::start_release(release, server.http1, &text)
        });
        Self { servers, running, patience }
    }
}

impl Fleet for Pair {
    fn servers(&self) -> Vec<Server> {
        self.servers.to_vec()
    }

    fn restart(&mut self, index: usize, balancer: &HaProxy) -> Duration {
        let start = Instant::now();
        self.running[index].reload(self.patience);
        let drained = start.elapsed();
        balancer.wait_until_up(self.servers[index].name);
        drained
    }
}

/// Without TLS, Debian's nginx cannot detect HTTP/2, hence two ports.
fn configuration(server: &Server, release: Release, upstream: u16, patience: Duration) -> String {
    let Server { http1, http2, .. } = server;
    let patience = patience.as_secs();
    let min_timeout = match release {
        Release::Debian => "",
        Release::Current => "keepalive_min_timeout 5s;",
    };
    format!(
        "worker_processes 2;
worker_shutdown_timeout {patience}s;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  {min_timeout}
  map $http_upgrade $connection_value {{ default upgrade; \"\" \"\"; }}
  upstream service {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{http1};
    listen 127.0.0.1:{http2} http2;
    location / {{
      proxy_pass http://service;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_value;
    }}
  }}
}}
"
    )
}
