//! The real Envoy of a comparison, with the clusters that traces need.
//!
//! One Envoy runs many traces, but each trace starts a new simulator. Drain epochs can only rise in
//! a process, so the epochs of a trace are shifted above those of earlier traces, and an earlier
//! drain is ended first.

use std::sync::Mutex;

use serde_json::{Value, json};
use sluice_sim::proxy::ProxySettings;

use super::failure_counts::FailureCounts;
use super::proxy_settings;
use super::upstream::Ports;
use crate::envoy::{Bootstrap, Envoy, PushResult};
use crate::eventually;
use crate::http1::Client;

/// The request header that selects the cluster: the upstream's HTTP version, or how many
/// connections it refuses.
pub(super) const UPSTREAM: &str = "x-upstream";

/// The most refused connections before an upstream accepts one; with more refusals, it accepts
/// none.
pub(super) const REFUSALS: usize = 2;

/// The number of attempts that such an upstream accepts before it refuses again.
const ACCEPTED: usize = 8;

/// All epochs of a trace are lower.
const MAX_EPOCH: u64 = 1000;

/// A port on which no program listens.
const REFUSING_PORT: u16 = 1;

/// An Envoy and the state of its configuration.
pub(super) struct Proxy {
    envoy: Envoy,
    /// The number that is added to the epochs of the current trace.
    epoch_shift: u64,
    /// Whether a drain may be in force.
    drained: bool,
    in_force: String,
    pushes: u32,
}

impl Proxy {
    /// Starts Envoy with these settings in front of these upstreams.
    pub(super) fn start(ports: Ports, settings: &ProxySettings) -> Self {
        // Envoys start one after the other; a concurrent start would exceed the start timeout.
        static STARTING: Mutex<()> = Mutex::new(());
        let _lock = STARTING.lock();
        let base = json!({ "version": 1 });
        let bootstrap = Bootstrap::discovered(ports.http1, &base)
            .changed("virtual_hosts", |hosts| {
                for host in hosts.as_array_mut().expect("a list of virtual hosts") {
                    host["include_attempt_count_in_response"] = json!(true);
                }
            })
            .changed("routes", |routes| prepend(routes, routes_by_header()))
            .changed("clusters", |clusters| prepend(clusters, more_clusters(ports)))
            // Random request ids would differ in the bodies of error pages.
            .with_connection_manager(
                &json!({ "generate_request_id": false, "preserve_external_request_id": true }),
            );
        let envoy = Envoy::start(proxy_settings::apply(bootstrap, settings));
        Self { envoy, epoch_shift: 0, drained: false, in_force: base.to_string(), pushes: 0 }
    }

    pub(super) fn port(&self) -> u16 {
        self.envoy.port
    }

    pub(super) fn epoch_shift(&self) -> u64 {
        self.epoch_shift
    }

    /// The filter's counters of failed streams.
    pub(super) fn failures(&self) -> FailureCounts {
        let (_, stats) = self.envoy.admin_get("/stats?filter=\\.ended\\.");
        let lines = stats.lines().filter_map(|line| line.strip_prefix("wasmcustom.sluice.route."));
        let counted = lines.filter_map(|line| {
            let (name, count) = line.split_once(": ")?;
            let (route, reason) = name.split_once(".ended.")?;
            Some(((route.to_owned(), reason.to_owned()), count.parse().ok()?))
        });
        counted.collect()
    }

    /// Activates the first configuration of a trace.
    ///
    /// # Panics
    /// If the filter rejects it.
    pub(super) fn begin(&mut self, configuration: &Value) {
        if self.drained {
            let mut off = configuration.clone();
            off["drain"]["state"] = json!({ "epoch": MAX_EPOCH, "mode": "off" });
            assert!(self.push(&off.to_string()), "{off}");
            (self.drained, self.epoch_shift) = (false, self.epoch_shift + MAX_EPOCH);
        }
        let text = configuration.to_string();
        if self.in_force != text {
            assert!(self.push(&text), "{text}");
        }
    }

    /// Pushes a configuration and waits until a worker uses it or Envoy rejects it; returns whether
    /// it was accepted.
    pub(super) fn push(&mut self, configuration: &str) -> bool {
        self.pushes += 1;
        let path = format!("/.push/{}", self.pushes);
        let adapted = match serde_json::from_str::<Value>(configuration) {
            Ok(mut value) if value.is_object() => {
                self.shift_epoch(&mut value);
                add_probe_route(&mut value, &path);
                value.to_string()
            }
            _ => configuration.to_owned(),
        };
        let accepted = self.envoy.push_text(&adapted) == PushResult::Accepted;
        if accepted {
            self.in_force = configuration.to_owned();
            let port = self.envoy.port;
            eventually("a worker to use a configuration", || {
                let response = Client::get_once(port, &path);
                response.header("x-accel-buffering").map(|_| ())
            });
        }
        accepted
    }

    fn shift_epoch(&mut self, configuration: &mut Value) {
        if let Some(epoch) = configuration.pointer_mut("/drain/state/epoch")
            && let Some(number) = epoch.as_u64()
        {
            *epoch = json!(self.epoch_shift + number);
            self.drained = true;
        }
    }
}

/// Adds a route whose response shows that this configuration is in force.
fn add_probe_route(configuration: &mut Value, path: &str) {
    let route =
        json!({ "name": "push", "match": { "path": { "exact": path } }, "buffering": "off" });
    match configuration.get_mut("routes").and_then(Value::as_array_mut) {
        Some(routes) => routes.insert(0, route),
        None => configuration["routes"] = json!([route]),
    }
}

fn prepend(list: &mut Value, mut front: Vec<Value>) {
    let list = list.as_array_mut().expect("a list");
    front.append(list);
    *list = front;
}

/// The routes that select the cluster with the name in [`UPSTREAM`].
fn routes_by_header() -> Vec<Value> {
    let priorities = json!({
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 1 } });
    cluster_names()
        .map(|name| {
            json!({
                "match": { "prefix": "/", "headers": [
                    { "name": UPSTREAM, "string_match": { "exact": name } }] },
                "route": { "cluster": name, "retry_policy": { "retry_priority": priorities } } })
        })
        .collect()
}

fn cluster_names() -> impl Iterator<Item = String> {
    let refusing = (1..=REFUSALS + 1).map(refusing);
    std::iter::once(HTTP2.to_owned()).chain(refusing)
}

/// The name of the HTTP/2 cluster.
pub(super) const HTTP2: &str = "http2";

/// The name of the cluster that refuses this many connections of an exchange, or all if more than
/// [`REFUSALS`].
pub(super) fn refusing(times: usize) -> String {
    match times {
        0..=REFUSALS => format!("refuses-{times}"),
        _ => "refuses".to_owned(),
    }
}

fn more_clusters(ports: Ports) -> Vec<Value> {
    let mut http2 = cluster(HTTP2, &[ports.http2]);
    http2["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} } } });
    let refusing = (1..=REFUSALS + 1).map(|times| {
        // Each retry uses the next priority.
        let mut hosts = vec![REFUSING_PORT; times];
        if times <= REFUSALS {
            hosts.extend([ports.http1; ACCEPTED]);
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
