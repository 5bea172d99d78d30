//! The host calls of a GET, for every feature. In Envoy, a host call costs more than the whole
//! decision of the filter, so the counts are a budget: one more call in any row fails the test.
//!
//! `docs/benchmarks.md` contains the same table.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sluice_sim::{
    ConnectionInfo, Cost, HeaderMap, PluginOptions, Process, Profile, Properties, StreamId,
    StreamInfo, Vm, VmOptions,
};

use super::replays::module;
use crate::program::root;

/// The chunks of the response.
const CHUNKS: u64 = 3;

/// Create, request headers, response headers, log, done, delete; and one for each chunk.
const CALLBACKS: u64 = 6 + CHUNKS;

/// The host calls of each callback.
#[derive(Debug, PartialEq, Eq)]
struct Calls {
    request: u64,
    response: u64,
    each_chunk: u64,
    end: u64,
}

/// A feature, the configuration of a GET that uses it, and the budget.
struct Row {
    feature: &'static str,
    configuration: Value,
    budget: Calls,
}

fn row(feature: &'static str, configuration: Value, calls: [u64; 4]) -> Row {
    let [request, response, each_chunk, end] = calls;
    Row { feature, configuration, budget: Calls { request, response, each_chunk, end } }
}

/// A configuration with one route that has this policy, and more sections.
fn routed(policy: Value, sections: Value) -> Value {
    let mut route = json!({ "name": "api", "match": { "path": { "prefix": "/api/" } } });
    let mut document = json!({ "version": 1 });
    for (into, fields) in [(&mut route, policy), (&mut document, sections)] {
        let fields = fields.as_object().expect("an object").clone();
        into.as_object_mut().expect("an object").extend(fields);
    }
    document["routes"] = json!([route]);
    document
}

fn budgets() -> Vec<Row> {
    let timeout = || json!({ "timeouts": { "request": "15s" } });
    let none = || json!({});
    let drain = |state: Value| json!({ "drain": { "state": state } });
    let page = || json!({ "errors": { "content_type": "text/plain", "body": "{reason}" } });
    vec![
        row("no routes", json!({ "version": 1 }), [1, 0, 0, 0]),
        row("`timeouts.request`", routed(timeout(), none()), [2, 0, 0, 0]),
        row(
            "… and `retry` with 2 attempts",
            routed(
                json!({ "timeouts": { "request": "15s" },
                        "retry": { "on": ["connect-failure"], "attempts": 2 } }),
                none(),
            ),
            [4, 0, 0, 0],
        ),
        row(
            "… and `\"buffering\": \"auto\"`",
            routed(json!({ "timeouts": { "request": "15s" }, "buffering": "auto" }), none()),
            [2, 1, 0, 0],
        ),
        row(
            "… and `\"buffering\": \"off\"`",
            routed(json!({ "timeouts": { "request": "15s" }, "buffering": "off" }), none()),
            [2, 1, 0, 0],
        ),
        row(
            "… and `timeouts.read`",
            routed(json!({ "timeouts": { "request": "15s", "read": "10s" } }), none()),
            [2, 1, 0, 0],
        ),
        row(
            "… and `timeouts.first_event`, `timeouts.event_gap`",
            routed(
                json!({ "timeouts": { "request": "15s", "first_event": "10s", "event_gap": "10s" } }),
                none(),
            ),
            [2, 1, 0, 0],
        ),
        row("… and `drain`, idle", routed(timeout(), json!({ "drain": {} })), [3, 1, 0, 0]),
        row(
            "… and `drain`, idle, with `\"buffering\": \"auto\"`",
            routed(
                json!({ "timeouts": { "request": "15s" }, "buffering": "auto" }),
                json!({ "drain": {} }),
            ),
            [3, 1, 0, 0],
        ),
        row(
            "… and `drain`, in a drain that closes the connection",
            routed(timeout(), drain(json!({ "epoch": 1, "mode": "terminate", "window": "0s" }))),
            [3, 2, 0, 1],
        ),
        row("… and `errors`", routed(timeout(), page()), [2, 1, 0, 0]),
        row(
            "… and `report.access_log`",
            routed(timeout(), json!({ "report": { "access_log": true } })),
            [2, 1, 0, 1],
        ),
        row(
            "… and `report.header`",
            routed(timeout(), json!({ "report": { "header": true } })),
            [2, 2, 0, 0],
        ),
        row(
            "… and a condition on `route_name`",
            routed(
                json!({ "timeouts": { "request": "15s" }, "match": { "route_name": "r" } }),
                none(),
            ),
            [3, 0, 0, 0],
        ),
        row(
            "… and a condition on `policy`",
            routed(json!({ "timeouts": { "request": "15s" }, "match": { "policy": "p" } }), none()),
            [3, 0, 0, 0],
        ),
    ]
}

/// One VM with a configuration.
struct Worker {
    vm: Vm,
    plugin: sluice_sim::PluginId,
}

impl Worker {
    fn new(configuration: &Value) -> Self {
        let process = Process::new(Profile::Envoy, 1);
        let mut vm = Vm::new(module(), &process, VmOptions::default()).expect("a VM");
        let node = Properties::new().with(&["xds", "node", "user_agent_name"], "envoy");
        let options = PluginOptions::default()
            .with_configuration(configuration.to_string())
            .with_properties(node);
        let plugin = vm.start_plugin(options).expect("a valid configuration");
        Self { vm, plugin }
    }

    fn open(&mut self) -> StreamId {
        let connection = ConnectionInfo::default()
            .with_id(7)
            .with_protocol("HTTP/1.1")
            .with_source("10.0.0.1:1");
        let route = Properties::new()
            .with(&["xds", "route_name"], "r")
            .with(&["xds", "route_metadata", "filter_metadata", "sluice", "policy"], "p");
        let info = StreamInfo::default()
            .with_connection(connection)
            .with_properties(std::sync::Arc::new(route));
        self.vm.open_http(self.plugin, info)
    }

    /// The cost of an event.
    fn cost(&mut self, event: impl FnOnce(&mut Vm)) -> Cost {
        let before = self.vm.cost();
        event(&mut self.vm);
        self.vm.drain_effects(&mut Vec::new());
        self.vm.cost() - before
    }

    /// A GET with a streamed response.
    fn exchange(&mut self) -> (Calls, u64) {
        let request: HeaderMap = [
            (":method", "GET"),
            (":path", "/api/items?page=2"),
            (":authority", "www.example.com"),
            ("accept", "text/html"),
        ]
        .into_iter()
        .collect();
        let response: HeaderMap =
            [(":status", "200"), ("content-type", "text/plain")].into_iter().collect();
        let before = self.vm.cost();
        let stream = self.open();
        let request = self.cost(|vm| vm.request_headers(stream, request, true));
        let response = self.cost(|vm| vm.response_headers(stream, response, false));
        let mut each_chunk = 0;
        for chunk in 1..=CHUNKS {
            let end = chunk == CHUNKS;
            let cost = self.cost(|vm| vm.response_body(stream, b"data", end));
            each_chunk = each_chunk.max(cost.host_calls);
        }
        let end = self.cost(|vm| vm.close_http(stream));
        let calls = Calls {
            request: request.host_calls,
            response: response.host_calls,
            each_chunk,
            end: end.host_calls,
        };
        (calls, (self.vm.cost() - before).callbacks)
    }
}

#[test]
fn each_feature_keeps_its_budget_of_host_calls() {
    let mut table = String::from(
        "| a GET with | request headers | response headers | each chunk | end |\n|---|--:|--:|--:|--:|\n",
    );
    let mut over = String::new();
    for Row { feature, configuration, budget } in budgets() {
        let mut worker = Worker::new(&configuration);
        // The first exchange on a connection publishes its id.
        worker.exchange();
        let (calls, callbacks) = worker.exchange();
        if calls != budget || callbacks != CALLBACKS {
            let _ = writeln!(over, "{feature}: {callbacks} callbacks, {calls:?}, not {budget:?}");
        }
        let Calls { request, response, each_chunk, end } = budget;
        let _ = writeln!(table, "| {feature} | {request} | {response} | {each_chunk} | {end} |");
    }
    assert!(over.is_empty(), "{over}");
    let page = std::fs::read_to_string(root().join("docs/benchmarks.md")).expect("the page");
    assert!(page.contains(&table), "docs/benchmarks.md: expected this table:\n{table}");
}
