//! The access log of a real Envoy becomes a trace, and the simulator takes the same decisions on
//! it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult, yaml};
use sluice_tests::http1::Client;
use sluice_tests::upstream::{Reply, Request, Upstream};
use sluice_tests::{eventually, http2, root};
use tempfile::TempDir;

use crate::program::{replay, run};

fn calm() -> Value {
    let route = |name: &str, fields: Value| {
        let mut route =
            json!({ "name": name, "match": { "path": { "prefix": format!("/{name}") } } });
        for (field, value) in fields.as_object().expect("fields of a route") {
            route[field] = value.clone();
        }
        route
    };
    json!({
        "version": 1,
        "report": { "access_log": true },
        "defaults": { "buffering": "auto" },
        "routes": [
            route("events", json!({ "buffering": "off" })),
            route("api", json!({ "buffering": { "request": "on", "response": "on", "max_bytes": 4096 },
                                 "timeouts": { "request": "5s" } })),
            route("slow", json!({ "timeouts": { "request": "300ms" } })),
            route("torn", json!({ "timeouts": { "request": "5s", "per_try": "2s" },
                                  "retry": { "on": ["reset"], "attempts": 3 } })),
            route("refused", json!({ "retry": { "on": ["connect-failure"], "attempts": 2 } })),
            { "name": "special", "match": { "policy": "special" }, "timeouts": { "request": "7s" } },
            { "name": "json", "match": { "headers": [{ "name": "accept", "contains": "json" }] },
              "timeouts": { "request": "8s" } },
        ],
        "drain": { "refresh": "50ms" }
    })
}

fn draining() -> Value {
    let mut configuration = calm();
    configuration["drain"]["state"] = json!({ "epoch": 1, "mode": "reload", "window": "1ms" });
    configuration
}

/// A service that produces every outcome that an access log distinguishes.
fn serve(request: &Request, reply: &mut Reply) {
    let chunks = |reply: &mut Reply, count: usize, pause: u64| {
        reply.send_headers(
            200,
            &[("content-type", "text/event-stream"), ("transfer-encoding", "chunked")],
        );
        for _ in 0..count {
            reply.send_chunk(b"data: x\n\n");
            reply.pause(pause);
        }
        reply.send_chunk(b"");
    };
    match request.path() {
        "/events" => chunks(reply, 5, 30),
        "/events/endless" => chunks(reply, 100, 50),
        "/slow/drip" => chunks(reply, 20, 50),
        "/slow" => {
            reply.pause(900);
            reply.close();
        }
        "/torn" if reply.earlier_requests < 2 => reply.close(),
        "/torn/always" | "/closed" => reply.close(),
        "/garbled" => {
            reply.write(b"HTTP/1.1 200 OK\r\ncontent-le");
            reply.close();
        }
        "/cut" => {
            reply.send_headers(200, &[("content-length", "100")]);
            reply.write(b"half");
            reply.pause(50);
            reply.close();
        }
        "/missing" => reply.respond(404, &[("content-type", "text/plain")], b"no"),
        _ if request.headers.start_line.starts_with("HEAD") => {
            reply.send_headers(200, &[("content-length", "9000")])
        }
        path => reply.respond(200, &[("content-type", "text/plain")], path.as_bytes()),
    }
}

/// The example's access log, written to this file, and a second cluster without a server.
fn bootstrap(upstream: &Upstream, log: &Path) -> Bootstrap {
    let mut manager = yaml(&root().join("envoy-examples/access-log/access_log.yaml"));
    manager["access_log"][0]["typed_config"]["path"] = json!(log);
    let bootstrap = Bootstrap::discovered(upstream.port, &calm()).with_connection_manager(&manager);
    let refused = sluice_tests::unused_port();
    let with_dead = bootstrap.changed("clusters", |clusters| {
        let mut cluster = clusters[0].clone();
        cluster["name"] = json!("refused");
        let text =
            cluster.to_string().replace(&format!(":{}", upstream.port), &format!(":{refused}"));
        let cluster: Value = serde_json::from_str(&text).expect("JSON");
        let cluster = renamed(cluster);
        clusters.as_array_mut().expect("a list of clusters").push(cluster);
    });
    with_dead.changed("routes", |routes| {
        let special = json!({ "filter_metadata": { "sluice": { "policy": "special" } } });
        let own = [
            json!({ "match": { "prefix": "/refused" }, "route": { "cluster": "refused" } }),
            json!({ "match": { "prefix": "/special" }, "name": "special", "route": { "cluster": "service" },
                    "metadata": special }),
            json!({ "match": { "prefix": "/direct" },
                    "direct_response": { "status": 418, "body": { "inline_string": "tea" } } }),
        ];
        routes.as_array_mut().expect("a list of routes").splice(0..0, own);
    })
}

/// A copy of the cluster with another name, also in its load assignment.
fn renamed(mut cluster: Value) -> Value {
    cluster["load_assignment"]["cluster_name"] = cluster["name"].clone();
    cluster
}

/// Runs ordinary requests, then a drain; returns each path and its status in request order.
fn traffic(envoy: &mut Envoy) -> Vec<(&'static str, u16)> {
    let mut seen = Vec::new();
    let port = envoy.port;
    let mut old = Client::connect(port);
    for path in
        ["/", "/api/items", "/missing", "/special", "/events", "/torn", "/direct", "/api/again"]
    {
        seen.push((path, old.get(path).status));
    }
    seen.push(("/api/items", old.post("/api/items", &[b'x'; 1000]).status));
    old.send("HEAD", "/head", &[]);
    seen.push(("/head", old.receive().status));
    old.send("GET", "/asks", &[("accept", "application/json")]);
    seen.push(("/asks", old.receive().status));
    for path in ["/slow", "/torn/always", "/refused", "/closed", "/garbled", "/cut", "/slow/drip"] {
        seen.push((path, Client::get_once(port, path).status));
    }
    let mut large = Client::connect(port);
    large.send("POST", "/api/large", &[("content-length", "5000")]);
    seen.push(("/api/large", large.receive().status));
    let mut leaving = Client::connect(port);
    leaving.send("GET", "/events/endless", &[]);
    assert!(!leaving.read_some(10).is_empty());
    seen.push(("/events/endless", 200));
    drop(leaving);

    let mut multiplexed = http2::Client::connect(port);
    let paths = ["/events", "/api/items", "/slow", "/", "/refused", "/special"];
    let pending = paths.map(|path| (path, multiplexed.start("GET", path, &[], Some(b""))));
    seen.extend(pending.map(|(path, pending)| (path, multiplexed.finish(pending).status)));
    let pending = multiplexed.start("POST", "/api/items", &[("content-length", "3")], Some(b"abc"));
    seen.push(("/api/items", multiplexed.finish(pending).status));

    assert_eq!(envoy.push(&draining()), PushResult::Accepted);
    eventually("a response that closes its connection", || {
        let response = old.get("/after");
        seen.push(("/after", response.status));
        response.closes().then_some(())
    });
    seen.push(("/after", multiplexed.get("/after").status));
    let mut new = Client::connect(port);
    for _ in 0..3 {
        let response = new.get("/api/new");
        assert!(!response.closes());
        seen.push(("/api/new", response.status));
    }
    seen
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The access log of one run and the trace that `sluice import` makes from it.
struct Recording {
    folder: TempDir,
    /// The responses of the clients.
    seen: Vec<(&'static str, u16)>,
    trace: Vec<Value>,
}

impl Recording {
    fn record() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("access.log");
        let upstream = Upstream::start(serve);
        let mut envoy = Envoy::start(bootstrap(&upstream, &log));
        let seen = traffic(&mut envoy);
        eventually("a line for each request", || {
            let lines = fs::read_to_string(&log).ok()?.lines().count();
            (lines >= seen.len()).then_some(())
        });
        let log = log.to_str().expect("UTF-8");
        let imported = run(["import", "envoy-log", log]);
        assert_eq!((imported.status, imported.stderr.as_str()), (0, ""));
        Self { folder, seen, trace: lines(&imported.stdout) }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// The trace with the drain record inserted where the first connection closed; an access log
    /// does not contain the time of a push.
    fn with_drain(&self) -> String {
        let mut trace = self.trace.clone();
        let first = trace.iter().position(|line| line["expect"]["decision"]["close"] == true);
        let first = first.expect("a connection that was closed");
        let push = json!({ "at": trace[first]["at"], "configure": draining() });
        trace.insert(first, push);
        trace.iter().map(|line| format!("{line}\n")).collect()
    }
}

#[test]
fn the_replay_of_an_access_log_takes_the_same_decisions() {
    let day = Recording::record();
    let requests: Vec<&Value> =
        day.trace.iter().filter(|line| line.get("request").is_some()).collect();
    let mut logged: Vec<(&str, u64)> = requests
        .iter()
        .map(|line| (&line["request"]["path"], &line["expect"]["status"]))
        .map(|(path, status)| (path.as_str().expect("a path"), status.as_u64().expect("a status")))
        .collect();
    let mut seen: Vec<_> =
        day.seen.iter().map(|(path, status)| (*path, u64::from(*status))).collect();
    logged.sort_unstable();
    seen.sort_unstable();
    assert_eq!(logged, seen, "the log has the statuses of the clients");

    let decided = |field: &str, value: Value| {
        let holds = |line: &&&Value| line["expect"]["decision"][field] == value;
        requests.iter().filter(holds).count()
    };
    assert_eq!(
        requests.iter().filter(|line| line["expect"]["decision"].is_object()).count(),
        seen.len()
    );
    assert_eq!(decided("close", json!(true)), 2, "HTTP/1.1 and HTTP/2");
    assert_eq!(decided("hold", json!(true)), 2, "two uploads");
    assert!(decided("body", json!("hold")) >= 8, "{requests:?}");
    assert_eq!(decided("accel", json!("no")), 3, "event streams");
    let routes =
        |name: &str| requests.iter().filter(|line| line["expect"]["route"] == name).count();
    assert_eq!(["torn", "refused", "special", "json"].map(routes), [2, 2, 2, 1]);

    let trace = day.file("day.jsonl", &day.with_drain());
    let configuration = day.file("calm.json", &calm().to_string());
    let replayed = replay(["--config", configuration.as_str(), "--format", "json", trace.as_str()]);
    let report: Value = serde_json::from_str(&replayed.stdout).expect("JSON");
    let table = replay(["--config", configuration.as_str(), trace.as_str()]);
    assert_eq!((replayed.status, &report["failed"]), (0, &json!(0)), "{}", table.stdout);
    assert_eq!(report["replays"][0]["exchanges"].as_array().map(Vec::len), Some(seen.len()));
    assert!(report["expected"].as_u64() > Some(300), "{}", report["expected"]);
}

#[test]
fn another_configuration_takes_other_decisions() {
    let day = Recording::record();
    let mut changed = calm();
    changed["routes"][2]["timeouts"]["request"] = json!("6s");
    changed["routes"][0]["buffering"] = json!("auto");
    let configuration = day.file("changed.json", &changed.to_string());
    let trace = day.file("day.jsonl", &day.with_drain());
    let replayed = replay(["--config", configuration.as_str(), trace.as_str()]);
    assert_eq!(replayed.status, 1);
    for line in
        ["expected decision.timeout_ms 300, got 6000", "expected decision.accel no, got nothing"]
    {
        assert!(replayed.stdout.contains(line), "{}", replayed.stdout);
    }

    let log = day.folder.path().join("access.log");
    let log = log.to_str().expect("UTF-8");
    let imported = run(["import", "envoy-log", "--no-expect", log]);
    let trace = day.file("traffic.jsonl", &imported.stdout);
    let replayed = replay(["--config", configuration.as_str(), "--report-only", trace.as_str()]);
    assert_eq!(replayed.status, 0, "{}", replayed.stdout);
    assert!(replayed.stdout.ends_with(": the trace has no expectations\n"), "{}", replayed.stdout);
}

/// Without `report` the filter sets no property, and the field of the log line is null.
#[test]
fn without_report_the_access_log_has_no_decision() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("access.log");
    let upstream = Upstream::start(serve);
    let mut without = calm();
    without.as_object_mut().expect("an object").remove("report");
    let envoy = Envoy::start(bootstrap(&upstream, &log).configured(&without));
    assert_eq!(Client::get_once(envoy.port, "/api/items").status, 200);
    let line = eventually("a line", || {
        let text = fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n'))?;
        lines(&text).pop()
    });
    assert_eq!((&line["response_code"], &line["decision"]), (&json!(200), &Value::Null));
}
