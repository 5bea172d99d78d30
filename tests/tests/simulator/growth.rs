//! How the cost of the filter grows with what a client or an operator chooses, in instructions. A
//! client must not be able to make one request cost as much as thousands.

use serde_json::{Value, json};
use sluice_sim::{HeaderMap, PluginId, PluginOptions, Process, Profile, StreamId, Vm, VmOptions};

use super::replays::module;

/// One VM with a configuration.
struct Worker {
    vm: Vm,
    plugin: PluginId,
}

impl Worker {
    fn new(configuration: &Value) -> Self {
        let process = Process::new(Profile::Envoy, 1);
        let mut vm = Vm::new(module(), &process, VmOptions::default()).expect("a VM");
        let options = PluginOptions::default().with_configuration(configuration.to_string());
        let plugin = vm.start_plugin(options).expect("a valid configuration");
        Self { vm, plugin }
    }

    /// The instructions for request headers; the second exchange, after the first has made room.
    fn request(&mut self, more: &[(&str, &str)]) -> u64 {
        let pseudo = [(":method", "POST"), (":authority", "a.example.com")];
        let headers: HeaderMap = pseudo.iter().chain(more).copied().collect();
        let mut cost = 0;
        for _ in 0..2 {
            let stream: StreamId = self.vm.open_http(self.plugin, Default::default());
            let before = self.vm.cost();
            self.vm.request_headers(stream, headers.clone(), false);
            cost = (self.vm.cost() - before).instructions;
            self.vm.close_http(stream);
            self.vm.drain_effects(&mut Vec::new());
        }
        cost
    }
}

/// The most instructions for one more byte of a header. The simulator counts the copy, and the filter
/// searches a path for its query.
const PER_BYTE: u64 = 10;

/// The length of the longest header that Envoy accepts by default, nearly.
const LONG: usize = 58_000;

fn error_pages() -> Value {
    let page = |number| json!({ "content_type": format!("text/t{number}"), "body": "{reason}" });
    json!({ "content_type": "text/plain", "body": "{reason} {request_id}",
            "alternatives": (0..254).map(page).collect::<Vec<_>>() })
}

#[test]
fn a_long_accept_header_costs_no_more_than_its_copy() {
    let mut worker = Worker::new(&json!({ "version": 1, "errors": error_pages() }));
    let accept = "text/a;q=0.1,".repeat(LONG / 13);
    let short = worker.request(&[(":path", "/"), ("accept", "text/a;q=0.1")]);
    let long = worker.request(&[(":path", "/"), ("accept", &accept)]);
    let more = long.saturating_sub(short);
    assert!(more < PER_BYTE * accept.len() as u64 + 50_000, "{short} and {long} instructions");
}

#[test]
fn a_failed_request_with_a_long_accept_header_has_a_bounded_cost() {
    let mut worker = Worker::new(&json!({
        "version": 1, "errors": error_pages(), "defaults": { "buffering": { "request": "on" } }
    }));
    let cost = |worker: &mut Worker, accept: &str| {
        worker.request(&[(":path", "/"), ("accept", accept), ("content-length", "1000000")])
    };
    let within = cost(&mut worker, &"text/a;q=0.1,".repeat(1000 / 13));
    let beyond = cost(&mut worker, &"text/a;q=0.1,".repeat(LONG / 13));
    assert!(beyond < within + within / 10 + PER_BYTE * LONG as u64, "{within} and {beyond}");
    assert!(within < 20_000_000, "{within} instructions for 255 pages");
}

#[test]
fn a_long_path_is_not_matched_with_a_regular_expression() {
    let mut worker = Worker::new(&json!({ "version": 1, "routes": [
        { "name": "a", "match": { "path": { "regex": "/api/([a-z]+/)*[0-9]+" } } },
        { "name": "b", "match": { "headers": [{ "name": "x", "regex": "(a|b)*c" }] } } ] }));
    let path = format!("/api/{}", "a".repeat(LONG));
    let none = worker.request(&[(":path", "/")]);
    let longest = worker.request(&[(":path", &path[..4096])]);
    let long = worker.request(&[(":path", &path), ("x", &path)]);
    assert!(long < none + 2 * PER_BYTE * LONG as u64, "{none} and {long} instructions");
    assert!(longest < 5_000_000, "{longest} instructions for the longest path that is matched");
}

#[test]
fn hosts_cost_the_same_each_when_a_configuration_is_loaded() {
    let hosts: Vec<String> = (0..200).map(|host| format!("h{host}")).collect();
    let cost = |routes: usize| {
        let route = |number| json!({ "name": format!("r{number}"), "match": { "hosts": hosts } });
        let routes: Vec<Value> = (0..routes).map(route).collect();
        let worker = Worker::new(&json!({ "version": 1, "routes": routes }));
        worker.vm.cost().instructions
    };
    let (few, many) = (cost(50), cost(200));
    assert!(many < 5 * few, "{few} instructions for 50 routes, {many} for 200");
    assert!(many < 200 * 200 * 6_000, "{} instructions for each host", many / (200 * 200));
}
