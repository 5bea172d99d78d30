//! The real proxy of a stage: an Envoy that can play what traces say of upstreams and configurations.
//!
//! It lives for many traces, each of which begins afresh in the simulator. So drain epochs, which only rise
//! in a process, are shifted above those of earlier traces, and what an earlier trace began is ended first.

use serde_json::{Value, json};

use super::ended::Ended;
use super::upstream::Ports;
use crate::envoy::{Bootstrap, Envoy, Pushed};
use crate::eventually;
use crate::http1::Client;

/// The request header that chooses the upstream's HTTP version, or how often it refuses the connection first.
pub(super) const UPSTREAM: &str = "x-upstream";

/// How often an upstream may refuse the connection before it takes it; after that it refuses for ever.
pub(super) const REFUSALS: usize = 2;

/// Tries that such an upstream takes after its refusals, before it begins anew.
const TAKEN: usize = 8;

/// The epochs of a trace are below this.
const EPOCHS: u64 = 1000;

/// Where nobody listens.
const NOBODY: u16 = 1;

/// An Envoy with what was pushed to it.
pub(super) struct Proxy {
    envoy: Envoy,
    /// The highest drain epoch so far.
    epoch: u64,
    /// Whether a drain may be in force.
    drained: bool,
    in_force: String,
    pushes: u32,
}

impl Proxy {
    /// Starts an Envoy in front of these upstreams.
    pub(super) fn start(ports: Ports) -> Self {
        let base = json!({ "version": 1 });
        let bootstrap = Bootstrap::discovered(ports.http1, &base)
            .changed("virtual_hosts", |hosts| {
                for host in hosts.as_array_mut().expect("a list of virtual hosts") {
                    host["include_attempt_count_in_response"] = json!(true);
                }
            })
            .changed("routes", |routes| add(routes, own_routes()))
            .changed("clusters", |clusters| add(clusters, own_clusters(ports)))
            // The simulator gives requests no ids.
            .manager_with(
                &json!({ "generate_request_id": false, "preserve_external_request_id": true }),
            );
        let envoy = Envoy::start(bootstrap);
        Self { envoy, epoch: 0, drained: false, in_force: base.to_string(), pushes: 0 }
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.envoy.port
    }

    /// How far the epochs of the trace that runs are shifted.
    pub(super) fn epochs(&self) -> u64 {
        self.epoch
    }

    /// How many streams have ended badly so far, by route and reason.
    pub(super) fn ended(&self) -> Ended {
        let (_, stats) = self.envoy.ask("/stats?filter=\\.ended\\.");
        let lines = stats.lines().filter_map(|line| line.strip_prefix("wasmcustom.sluice.route."));
        let counted = lines.filter_map(|line| {
            let (name, count) = line.split_once(": ")?;
            let (route, reason) = name.split_once(".ended.")?;
            Some(((route.to_owned(), reason.to_owned()), count.parse().ok()?))
        });
        counted.collect()
    }

    /// Puts this configuration in force, as if it were the first one.
    ///
    /// # Panics
    /// If the filter refuses it.
    pub(super) fn begin(&mut self, configuration: &Value) {
        if self.drained {
            let mut off = configuration.clone();
            off["drain"]["state"] = json!({ "epoch": EPOCHS, "mode": "off" });
            assert!(self.push(&off.to_string()), "{off}");
            (self.drained, self.epoch) = (false, self.epoch + EPOCHS);
        }
        let text = configuration.to_string();
        if self.in_force != text {
            assert!(self.push(&text), "{text}");
        }
    }

    /// Pushes a configuration and waits until it decides, or is refused; whether it was accepted.
    pub(super) fn push(&mut self, configuration: &str) -> bool {
        self.pushes += 1;
        let path = format!("/.push/{}", self.pushes);
        let dressed = match serde_json::from_str::<Value>(configuration) {
            Ok(mut value) if value.is_object() => {
                self.shift_epoch(&mut value);
                mark(&mut value, &path);
                value.to_string()
            }
            _ => configuration.to_owned(),
        };
        let accepted = self.envoy.push_text(&dressed) == Pushed::Accepted;
        if accepted {
            self.in_force = configuration.to_owned();
            let port = self.envoy.port;
            eventually("a worker to follow a configuration", || {
                let answer = Client::once(port, &path);
                answer.header("x-accel-buffering").map(|_| ())
            });
        }
        accepted
    }

    fn shift_epoch(&mut self, configuration: &mut Value) {
        if let Some(epoch) = configuration.pointer_mut("/drain/state/epoch")
            && let Some(number) = epoch.as_u64()
        {
            *epoch = json!(self.epoch + number);
            self.drained = true;
        }
    }
}

/// Adds a route by which a client sees that this configuration is in force.
fn mark(configuration: &mut Value, path: &str) {
    let route =
        json!({ "name": "push", "match": { "path": { "exact": path } }, "buffering": "off" });
    match configuration.get_mut("routes").and_then(Value::as_array_mut) {
        Some(routes) => routes.insert(0, route),
        None => configuration["routes"] = json!([route]),
    }
}

fn add(list: &mut Value, mut front: Vec<Value>) {
    let list = list.as_array_mut().expect("a list");
    front.append(list);
    *list = front;
}

/// What the header chooses: a cluster of the same name.
fn own_routes() -> Vec<Value> {
    let priorities = json!({
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 1 } });
    clusters()
        .map(|name| {
            json!({
                "match": { "prefix": "/", "headers": [
                    { "name": UPSTREAM, "string_match": { "exact": name } }] },
                "route": { "cluster": name, "retry_policy": { "retry_priority": priorities } } })
        })
        .collect()
}

fn clusters() -> impl Iterator<Item = String> {
    let refusing = (1..=REFUSALS + 1).map(refusing);
    std::iter::once(HTTP2.to_owned()).chain(refusing)
}

/// The cluster that speaks HTTP/2.
pub(super) const HTTP2: &str = "http2";

/// The cluster that refuses so many connections of an exchange, or all of them above [`REFUSALS`].
pub(super) fn refusing(times: usize) -> String {
    match times {
        0..=REFUSALS => format!("refuses-{times}"),
        _ => "refuses".to_owned(),
    }
}

fn own_clusters(ports: Ports) -> Vec<Value> {
    let mut http2 = cluster(HTTP2, &[ports.http2]);
    http2["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} } } });
    let refusing = (1..=REFUSALS + 1).map(|times| {
        // Each retry takes the next priority.
        let mut hosts = vec![NOBODY; times];
        if times <= REFUSALS {
            hosts.extend([ports.http1; TAKEN]);
        }
        cluster(&refusing(times), &hosts)
    });
    std::iter::once(http2).chain(refusing).collect()
}

fn cluster(name: &str, ports: &[u16]) -> Value {
    let localities = ports.iter().enumerate().map(|(priority, port)| {
        json!({ "priority": priority, "lb_endpoints": [{ "endpoint": { "address": {
            "socket_address": { "address": "127.0.0.1", "port_value": port } } } }] })
    });
    json!({ "name": name, "connect_timeout": "1s",
            "load_assignment": { "cluster_name": name, "endpoints": localities.collect::<Vec<_>>() } })
}
