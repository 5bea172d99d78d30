//! The example `streaming-ai`, which `docs/streaming-ai.md` explains, in front of a scripted model
//! server: late and stalled answers, MCP, and a drain.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, yaml};
use sluice_tests::upstream::{Reply, Request, Upstream};
use sluice_tests::{http1, http2, root};

const COMMENT: &str = ": processing\n\n";
const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"t\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const PROGRESS: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n";
const RESULT: &str =
    "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"resultType\":\"complete\"}}\n\n";
const ACKNOWLEDGED: &str =
    "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\"}\n\n";
const JSON: &str = "{\"choices\":[{\"message\":{\"content\":\"t\"}}]}";
/// The last event of a completion that a drain ends.
const RESTART: &str =
    "data: {\"error\":{\"message\":\"the proxy restarts\",\"type\":\"drain\"}}\n\n";

/// The filter's configuration in the example.
fn example() -> Value {
    let file = yaml(&root().join("envoy-examples/streaming-ai/envoy.yaml"));
    let chain = &file["static_resources"]["listeners"][0]["filter_chains"][0];
    let filters = &chain["filters"][0]["typed_config"]["http_filters"];
    let filters = filters.as_array().expect("a list of filters");
    let filter = filters.iter().find(|filter| filter["name"] == "sluice").expect("the filter");
    let text = &filter["typed_config"]["config"]["configuration"]["value"];
    serde_json::from_str(text.as_str().expect("a text")).expect("JSON")
}

/// The example with times that a test can wait for.
fn shortened() -> Value {
    let mut short = example();
    for route in short["routes"].as_array_mut().expect("a list of routes") {
        for name in ["first_event", "event_gap"] {
            if let Some(timeout) = route["timeouts"].get_mut(name) {
                *timeout = json!("1s");
            }
        }
        if let Some(within) = route["drain"].get_mut("within") {
            *within = json!("3s");
        }
    }
    short["drain"]["refresh"] = json!("50ms");
    short
}

/// Sends these events, with a pause before each in milliseconds, then one of them for a long time.
fn send(reply: &mut Reply, events: &[(u64, &str)], forever: Option<&str>) {
    let headers = [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("transfer-encoding", "chunked"),
        ("x-accel-buffering", "no"),
    ];
    reply.send_headers(200, &headers);
    let forever = forever.iter().flat_map(|event| std::iter::repeat_n((100, *event), 300));
    for (pause, event) in events.iter().copied().chain(forever) {
        reply.pause(pause);
        if !reply.is_open() {
            return;
        }
        reply.send_chunk(event.as_bytes());
    }
}

/// A model server that does what the request asks for.
fn serve(request: &Request, reply: &mut Reply) {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    match body["scenario"].as_str().expect("a scenario") {
        "answer" => {
            let queue = [(0, COMMENT), (300, PING), (300, COMMENT), (300, TOKEN)];
            let rest = [(700, COMMENT), (0, TOKEN), (700, PING), (200, TOKEN), (0, DONE)];
            send(reply, &[queue.to_vec(), rest.to_vec()].concat(), None);
            reply.send_chunk(b"");
        }
        "json" => reply.respond(200, &[("content-type", "application/json")], JSON.as_bytes()),
        "no response" => reply.pause(20_000),
        "comments" => send(reply, &[], Some(COMMENT)),
        "pings" => send(reply, &[], Some(PING)),
        "stalls" => send(reply, &[(0, TOKEN), (300, TOKEN)], Some(COMMENT)),
        "long" => send(reply, &[], Some(TOKEN)),
        "short" => {
            send(reply, &[(100, TOKEN); 12], None);
            reply.send_chunk(DONE.as_bytes());
            reply.send_chunk(b"");
        }
        "tool" => {
            send(reply, &[(200, PROGRESS), (700, PROGRESS), (700, RESULT)], None);
            reply.send_chunk(b"");
        }
        "listen" => send(reply, &[(0, ACKNOWLEDGED)], Some(COMMENT)),
        other => panic!("no scenario {other}"),
    }
    if !reply.is_open() {
        reply.close();
    }
}

/// The request of a scenario: its path, and its header `mcp-method` if it has one.
fn request(scenario: &str) -> (&'static str, Option<&'static str>) {
    match scenario {
        "tool" => ("/mcp", Some("tools/call")),
        "listen" => ("/mcp", Some("subscriptions/listen")),
        _ => ("/v1/chat/completions", None),
    }
}

#[derive(Debug)]
struct Received {
    status: u16,
    body: String,
    complete: bool,
}

fn ask(port: u16, scenario: &str, is_http_2: bool) -> Received {
    let (path, method) = request(scenario);
    let body = json!({ "scenario": scenario }).to_string();
    let length = body.len().to_string();
    let mut headers = vec![("content-type", "application/json"), ("content-length", &*length)];
    headers.extend(method.map(|method| ("mcp-method", method)));
    let (status, body, complete) = if is_http_2 {
        let client = http2::Client::connect(port).with_timeout(Duration::from_secs(60));
        let pending = client.start("POST", path, &headers, Some(body.as_bytes()));
        let response = client.finish(pending);
        (response.status, response.body, response.reset.is_none())
    } else {
        let mut client = http1::Client::connect(port).with_timeout(Duration::from_secs(60));
        client.send("POST", path, &headers);
        client.write(body.as_bytes());
        let response = client.receive();
        (response.status, response.body.bytes, response.body.complete)
    };
    let body = String::from_utf8(body).expect("text");
    Received { status, body, complete }
}

fn start(upstream: &Upstream) -> Envoy {
    Envoy::start(Bootstrap::example("streaming-ai", upstream.port).configured(&shortened()))
}

fn error(kind: &str) -> String {
    format!(r#"{{"error":{{"message":"the model server failed","type":"{kind}"}}}}"#)
}

fn check(scenario: &str, received: &Received) {
    let Received { status, body, complete } = received;
    let place = format!("{scenario}: {received:?}");
    match scenario {
        "answer" => {
            assert_eq!((*status, *complete), (200, true), "{place}");
            assert_eq!(body.matches(TOKEN).count(), 3, "{place}");
            assert!(body.ends_with(DONE), "{place}");
        }
        "json" => assert_eq!((*status, *complete, &**body), (200, true, JSON), "{place}"),
        "tool" => {
            let expected = [PROGRESS, PROGRESS, RESULT].concat();
            assert_eq!((*status, *complete, body), (200, true, &expected), "{place}");
        }
        "stalls" => {
            assert_eq!((*status, *complete), (200, false), "{place}");
            let comments = body.strip_prefix(&TOKEN.repeat(2)).unwrap_or_else(|| panic!("{place}"));
            assert_eq!(comments.replace(COMMENT, ""), "", "{place}");
        }
        _ => {
            let expected = (504, true, error("first_event_timeout"));
            assert_eq!((*status, *complete, body.clone()), expected, "{place}");
        }
    }
}

#[test]
fn late_and_stalled_answers_end_and_the_others_are_complete() {
    let upstream = Upstream::start(serve);
    let envoy = start(&upstream);
    let port = envoy.port;
    // The worker learns from the first upload that it can hold headers.
    assert_eq!(ask(port, "json", false).status, 200);
    let scenarios = ["answer", "json", "no response", "comments", "pings", "stalls", "tool"];
    let rows = scenarios.iter().flat_map(|scenario| [(*scenario, false), (*scenario, true)]);
    let clients: Vec<_> = rows
        .map(|(scenario, is_http_2)| {
            (scenario, thread::spawn(move || ask(port, scenario, is_http_2)))
        })
        .collect();
    for (scenario, client) in clients {
        check(scenario, &client.join().expect("a response"));
    }
    let ended = |reason: &str| format!("wasmcustom.sluice.route.completions.ended.{reason}");
    envoy.wait_for_stat(&ended("first_event_timeout"), 6);
    envoy.wait_for_stat(&ended("event_gap_timeout"), 2);
}

#[test]
fn in_a_drain_answers_finish_or_end_with_an_error_event() {
    let upstream = Upstream::start(serve);
    let envoy = start(&upstream);
    let port = envoy.port;
    assert_eq!(ask(port, "json", false).status, 200);
    let scenarios = ["short", "long", "listen"];
    let rows = scenarios.iter().flat_map(|scenario| [(*scenario, false), (*scenario, true)]);
    let clients: Vec<_> = rows
        .map(|(scenario, is_http_2)| {
            (scenario, thread::spawn(move || ask(port, scenario, is_http_2)))
        })
        .collect();
    // The subscriptions stay open without an event for longer than the other routes allow.
    envoy.wait_for_stat("wasmcustom.sluice.route.mcp-subscriptions.requests", 2);
    envoy.wait_for_stat("wasmcustom.sluice.route.completions.requests", 5);
    let mut operator = http1::Client::connect(port);
    let token = [("authorization", "Bearer open sesame"), ("content-length", "0")];
    operator.send("POST", "/.sluice/drain?mode=terminate&window=0s", &token);
    assert_eq!(operator.receive().status, 200);
    for (scenario, client) in clients {
        let Received { status, body, complete } = client.join().expect("a response");
        let place = format!("{scenario}: {status} with {body:?}");
        assert_eq!(status, 200, "{place}");
        assert_eq!(complete, scenario == "short", "{place}");
        match scenario {
            "short" => assert_eq!(body, TOKEN.repeat(12) + DONE),
            "long" => {
                let tokens = body.strip_suffix(RESTART).unwrap_or_else(|| panic!("{place}"));
                assert_eq!(tokens.replace(TOKEN, ""), "", "{place}");
                assert!(tokens.len() > 20 * TOKEN.len(), "{place}");
            }
            _ => {
                let comments = body.strip_prefix(ACKNOWLEDGED);
                let comments = comments.unwrap_or_else(|| panic!("{place}"));
                assert_eq!(comments.replace(COMMENT, ""), "", "{place}");
            }
        }
    }
    envoy.wait_for_stat("wasmcustom.sluice.route.completions.ended.drain_cut", 2);
}

/// A subscription has no timeout between two events.
#[test]
fn a_subscription_with_comments_only_stays_open() {
    let upstream = Upstream::start(serve);
    let envoy = start(&upstream);
    let port = envoy.port;
    let client = thread::spawn(move || ask(port, "listen", false));
    envoy.wait_for_stat("wasmcustom.sluice.route.mcp-subscriptions.requests", 1);
    // The other routes would have cut it by now.
    let stalls = ask(port, "stalls", false);
    assert!(!stalls.complete);
    let stalls = ask(port, "stalls", false);
    assert!(!stalls.complete);
    assert!(!client.is_finished(), "{:?}", client.join());
    drop(envoy);
}

/// The page shows the configuration that the tests run.
#[test]
fn the_page_has_the_configuration_of_the_example() {
    let page = fs::read_to_string(root().join("docs/streaming-ai.md")).expect("the page");
    let (_, block) = page.split_once("\n```json\n").expect("a configuration");
    let (text, _) = block.split_once("\n```\n").expect("a block has an end");
    let shown: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(shown, example());
}
