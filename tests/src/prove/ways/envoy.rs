//! Two real Envoys side by side, with the filter or without.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Drain, Fleet};
use crate::envoy::{Bootstrap, Envoy};
use crate::haproxy::{HaProxy, Server};
use crate::prove::filter::{configuration, order};
use crate::{eventually, steady_port};

/// Two cores are enough for two of these.
const WORKERS: usize = 2;

/// How long Envoy spreads its own drain. Its default of ten minutes is for hot restarts.
const DRAIN_SECONDS: &str = "10";

pub(super) struct Pair {
    drain: Drain,
    bootstrap: Bootstrap,
    servers: [Server; 2],
    running: [Option<Envoy>; 2],
}

impl Pair {
    pub(super) fn start(drain: Drain, upstream: u16) -> Self {
        let servers = ["a", "b"].map(|name| {
            let port = steady_port();
            Server { name, http1: port, http2: port }
        });
        let bootstrap = bootstrap(drain, upstream);
        let mut pair = Self { drain, bootstrap, servers, running: [None, None] };
        pair.launch(0);
        pair.launch(1);
        pair
    }

    fn launch(&mut self, index: usize) {
        let Server { name, http1, .. } = self.servers[index];
        let node = json!({ "node": { "id": name, "cluster": "proof" } });
        let bootstrap = self.bootstrap.clone().with(&node).listening_on(http1);
        let options = ["--drain-time-s", DRAIN_SECONDS];
        self.running[index] = Some(Envoy::start_with_options(bootstrap, WORKERS, &options));
    }

    fn take_out(&mut self, index: usize, balancer: &HaProxy) {
        let envoy = self.running[index].as_ref().expect("it was launched");
        match self.drain {
            Drain::Sluice(window) => order(envoy, "mode=terminate", window),
            Drain::HealthcheckFail => envoy.order("/healthcheck/fail"),
            Drain::Listeners => envoy.order("/drain_listeners?graceful"),
            Drain::None => balancer.set(self.servers[index].name, "drain"),
        }
        let name = self.servers[index].name;
        balancer.await_out(name);
        // Whoever just kills waits for nothing else: calm connections would stay for ever.
        if self.drain != Drain::None {
            let is_empty = || balancer.connections(name) == 0 && is_idle(envoy);
            eventually("the last connection to close", || is_empty().then_some(()));
        }
    }
}

impl Fleet for Pair {
    fn servers(&self) -> Vec<Server> {
        self.servers.to_vec()
    }

    fn restart(&mut self, index: usize, balancer: &HaProxy) -> Duration {
        let begin = Instant::now();
        self.take_out(index, balancer);
        let took = begin.elapsed();
        // Dropping one is SIGKILL.
        self.running[index] = None;
        self.launch(index);
        let name = self.servers[index].name;
        if self.drain == Drain::None {
            balancer.set(name, "ready");
        }
        balancer.await_in(name);
        took
    }
}

fn bootstrap(drain: Drain, upstream: u16) -> Bootstrap {
    let ours = Bootstrap::discovered(upstream, &configuration());
    let plain = || ours.clone().without("sluice-drain-bridge").without("sluice");
    match drain {
        Drain::Sluice(_) => ours,
        Drain::HealthcheckFail => plain().with_filter(health_check()),
        Drain::Listeners | Drain::None => plain(),
    }
}

/// Whether nothing is in flight, by the filter's count (none where there is no filter) and by Envoy's.
fn is_idle(envoy: &Envoy) -> bool {
    let names = ["wasmcustom.sluice.in_flight", "http.ingress.downstream_rq_active"];
    names.iter().all(|name| envoy.stat(name) == 0)
}

/// Envoy's own filter for health checks, which `/healthcheck/fail` turns.
fn health_check() -> Value {
    json!({ "name": "health", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck",
        "pass_through_mode": false,
        "headers": [{ "name": ":path", "string_match": { "exact": "/health" } }] } })
}
