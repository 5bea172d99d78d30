//! Two real Envoys, with or without the filter.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::drain_method::{Health, Settings, Start};
use super::{Bounds, Fleet};
use crate::envoy::{Bootstrap, Envoy};
use crate::haproxy::{HaProxy, Server};
use crate::prove::filter::{configuration, start_drain};
use crate::reusable_port;

const WORKERS: usize = 2;

/// How often a drain is checked for its end.
const POLL: Duration = Duration::from_millis(20);

pub(super) struct Pair {
    settings: Settings,
    bootstrap: Bootstrap,
    patience: Duration,
    servers: [Server; 2],
    running: [Option<Envoy>; 2],
}

impl Pair {
    pub(super) fn start(settings: Settings, upstream: u16, bounds: Bounds) -> Self {
        let servers = ["a", "b"].map(|name| {
            let port = reusable_port();
            Server { name, http1: port, http2: port }
        });
        let bootstrap = bootstrap(&settings, upstream, bounds);
        let mut pair =
            Self { settings, bootstrap, patience: bounds.patience, servers, running: [None, None] };
        pair.launch(0);
        pair.launch(1);
        pair
    }

    fn launch(&mut self, index: usize) {
        let Server { name, http1, .. } = self.servers[index];
        let node = json!({ "node": { "id": name, "cluster": "proof" } });
        let bootstrap = self.bootstrap.clone().with(&node).listening_on(http1);
        let options = ["--drain-time-s", self.settings.drain_time];
        self.running[index] = Some(Envoy::start_with_options(bootstrap, WORKERS, &options));
    }

    fn drain(&mut self, index: usize, balancer: &HaProxy) {
        let start = Instant::now();
        let envoy = self.running[index].as_ref().expect("the proxy is running");
        let name = self.servers[index].name;
        if self.settings.balancer_drains {
            balancer.set_state(name, "drain");
        }
        match self.settings.start {
            Start::Terminate(window) => start_drain(envoy, "mode=terminate", window),
            Start::Admin(path) => envoy.admin_post(path),
            Start::None => {}
        }
        balancer.wait_until_down(name);
        if self.settings.waits {
            let is_empty = || balancer.connections(name) == 0 && is_idle(envoy);
            while start.elapsed() < self.patience && !is_empty() {
                sleep(POLL);
            }
        }
    }
}

impl Fleet for Pair {
    fn servers(&self) -> Vec<Server> {
        self.servers.to_vec()
    }

    fn restart(&mut self, index: usize, balancer: &HaProxy) -> Duration {
        let start = Instant::now();
        self.drain(index, balancer);
        let drained = start.elapsed();
        // Dropping an Envoy sends SIGKILL.
        self.running[index] = None;
        self.launch(index);
        let name = self.servers[index].name;
        if self.settings.balancer_drains {
            balancer.set_state(name, "ready");
        }
        balancer.wait_until_up(name);
        drained
    }
}

fn bootstrap(settings: &Settings, upstream: u16, bounds: Bounds) -> Bootstrap {
    let with_filter = Bootstrap::discovered(upstream, &configuration(bounds));
    let without_filter = || with_filter.clone().without("sluice-drain-bridge").without("sluice");
    let bootstrap = match settings.health {
        Health::Sluice => with_filter,
        Health::Envoy => without_filter().with_filter(health_check()),
        Health::Service => without_filter(),
    };
    bootstrap
        .with_connection_manager(&settings.connection_manager)
        // The default would end each stream after 15 s.
        .changed("route", |route| route["timeout"] = json!("0s"))
}

/// Whether both the filter (0 without the filter) and Envoy count no request in flight.
fn is_idle(envoy: &Envoy) -> bool {
    let names = ["wasmcustom.sluice.in_flight", "http.ingress.downstream_rq_active"];
    names.iter().all(|name| envoy.stat(name) == 0)
}

/// Envoy's filter for health checks, which `/healthcheck/fail` affects.
fn health_check() -> Value {
    json!({ "name": "health", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck",
        "pass_through_mode": false,
        "headers": [{ "name": ":path", "string_match": { "exact": "/health" } }] } })
}
