//! Each metric has a query in `envoy-examples/metrics` and a panel on the dashboard. A real
//! Prometheus evaluates all of them against the metrics of a real Envoy, by instance and by route.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use sluice_filter::metrics::{General, PerRoute};
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult, yaml};
use sluice_tests::http1::Client;
use sluice_tests::prometheus::Prometheus;
use sluice_tests::upstream::Upstream;
use sluice_tests::{eventually, root};

fn read(file: &str) -> String {
    let path = root().join("envoy-examples/metrics").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all metrics, as in the documentation.
fn names() -> Vec<String> {
    let general = General::ALL.iter().map(|metric| metric.name().0.to_owned());
    let routes = PerRoute::ALL.iter().map(|metric| metric.name("NAME"));
    general.chain(routes).chain(["sluice.route.NAME.ended.REASON".to_owned()]).collect()
}

/// The Prometheus name of a metric, after tag extraction.
fn in_prometheus(name: &str) -> String {
    name.replace(".NAME", "").replace(".REASON", "").replace('.', "_")
}

/// The rows of the README's table: metric and query.
fn queries() -> Vec<(String, String)> {
    let readme = read("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `sluice."));
    let row = |row: &str| {
        let (name, rest) = row.split_once("` | `").expect("a metric and a query");
        let (query, _) = rest.split_once("` | ").expect("a query and its meaning");
        (format!("sluice.{name}"), query.to_owned())
    };
    rows.map(row).collect()
}

/// The dashboard's queries with all variables set to "all", and the labels of their legends.
fn panels() -> Vec<(String, Vec<String>)> {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list of panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("a list of targets"));
    let target = |target: &Value| {
        let [expression, legend] = ["expr", "legendFormat"].map(|field| target[field].as_str());
        let legend = legend.expect("a legend").split("{{").skip(1);
        let labels = legend.map(|rest| rest.split("}}").next().unwrap_or(rest).to_owned());
        (with_all_values(expression.expect("a query")), labels.collect())
    };
    let variables = dashboard["templating"]["list"].as_array().expect("a list of variables");
    let variables = variables.iter().filter_map(|variable| variable["query"]["query"].as_str());
    let variable = |definition: &str| {
        let list = definition.strip_prefix("label_values(").and_then(|list| list.strip_suffix(')'));
        let (metric, label) =
            list.and_then(|list| list.rsplit_once(", ")).expect("a metric's label");
        (with_all_values(&format!("count by ({label}) ({metric})")), vec![label.to_owned()])
    };
    targets.map(target).chain(variables.map(variable)).collect()
}

/// A dashboard query with its variables replaced, as Grafana sends it.
fn with_all_values(expression: &str) -> String {
    let known =
        [("$__rate_interval", "1m"), ("$__range", "1h"), ("$instance", ".*"), ("$route", ".*")];
    let query =
        known.iter().fold(expression.to_owned(), |query, (name, value)| query.replace(name, value));
    assert!(!query.contains('$'), "{expression} has a variable that the dashboard does not");
    query
}

/// Whether a query selects this metric.
fn selects(query: &str, metric: &str) -> bool {
    query.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == metric)
}

fn configuration(epoch: u64) -> Value {
    json!({
        "version": 1,
        "routes": [{ "name": "api", "match": { "path": { "prefix": "/api" } },
            "buffering": { "request": "on", "response": "on", "max_bytes": 1000 } }],
        "drain": { "state": { "epoch": epoch, "mode": "terminate" } },
    })
}

/// Generates traffic that moves every metric.
fn traffic(envoy: &mut Envoy, epoch: u64) {
    assert_eq!(envoy.push(&configuration(epoch)), PushResult::Accepted);
    let mut client = Client::connect(envoy.port);
    eventually("the drain marker, which no bridge removes", || {
        (client.get("/api").header("x-sluice-drain") == Some("close")).then_some(())
    });
    assert_eq!(client.post("/api", &[b'x'; 10]).status, 200);
    assert_eq!(client.post("/api", &[b'x'; 1001]).status, 413);
    assert_eq!(
        envoy.push(&configuration(epoch - 1)),
        PushResult::Accepted,
        "a stale epoch is ignored"
    );
    // A different text each time: Envoy rejects a known bad configuration without calling the
    // filter.
    assert_eq!(envoy.push_text(&format!("{{ {epoch}")), PushResult::Rejected);
}

/// Asserts that a query returns rows with exactly these labels.
fn check(prometheus: &Prometheus, query: &str, labels: &[&str], instance: &str) {
    let rows = prometheus.query(query);
    assert!(!rows.is_empty(), "{query} returns no rows");
    for row in rows {
        let found = row.labels.as_object().expect("labels").keys().map(String::as_str);
        assert_eq!(found.collect::<BTreeSet<_>>(), labels.iter().copied().collect(), "{query}");
        assert!(
            labels.iter().all(|label| *label != "instance") || row.labels["instance"] == instance
        );
        let route = &row.labels["sluice_route"];
        assert!(route.is_null() || ["api", "default"].iter().any(|name| route == name), "{route}");
    }
}

fn sum(prometheus: &Prometheus, query: &str) -> f64 {
    prometheus.query(&format!("sum({query})")).first().map_or(0.0, |row| row.value)
}

#[test]
fn every_metric_has_a_query_and_a_panel() {
    let queries = queries();
    let documented: Vec<&String> = queries.iter().map(|(name, _)| name).collect();
    assert_eq!(documented, names().iter().collect::<Vec<_>>());
    let panels = panels();
    for (name, query) in &queries {
        let metric = in_prometheus(name);
        assert!(selects(query, &metric), "{query} does not select {metric}");
        assert!(panels.iter().any(|(query, _)| selects(query, &metric)), "no panel has {metric}");
    }
}

#[test]
fn prometheus_evaluates_every_query_and_every_panel() {
    let upstream = Upstream::start(|request, reply| {
        if request.path() == "/api/slow" {
            reply.pause(60_000);
        }
        reply.respond(200, &[], b"ok");
    });
    let fragment = yaml(&root().join("envoy-examples/metrics/stats.yaml"));
    let bootstrap = Bootstrap::discovered(upstream.port, &configuration(1)).with(&fragment);
    let mut envoy = Envoy::start(bootstrap.without("sluice-drain-bridge"));
    let prometheus = Prometheus::start(envoy.admin);
    let instance = format!("127.0.0.1:{}", envoy.admin);
    let mut slow = Client::connect(envoy.port);
    slow.send("GET", "/api/slow", &[]);
    // A rate needs two scrapes with traffic between them.
    for epoch in [10, 20] {
        let before = sum(&prometheus, "sluice_route_requests");
        traffic(&mut envoy, epoch);
        eventually("Prometheus to scrape the epoch", || {
            (sum(&prometheus, "sluice_drain_epoch") == epoch as f64).then_some(())
        });
        eventually("Prometheus to scrape the requests", || {
            (sum(&prometheus, "sluice_route_requests") > before).then_some(())
        });
    }
    for (name, query) in queries() {
        let tags = [("NAME", "sluice_route"), ("REASON", "sluice_reason")];
        let tags = tags.into_iter().filter(|(part, _)| name.contains(part)).map(|(_, tag)| tag);
        let labels: Vec<&str> = ["instance"].into_iter().chain(tags).collect();
        check(&prometheus, &query, &labels, &instance);
        let metric = in_prometheus(&name);
        let counted = sum(&prometheus, &metric);
        eventually(&format!("{query} to show the {counted} that {metric} has"), || {
            (counted == 0.0 || sum(&prometheus, &query) > 0.0).then_some(())
        });
    }
    for metric in
        names().iter().filter(|name| name.contains("NAME")).map(|name| in_prometheus(name))
    {
        assert!(sum(&prometheus, &metric) > 0.0, "{metric} did not move");
    }
    for (query, labels) in panels() {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        check(&prometheus, &query, &labels, &instance);
    }
}
