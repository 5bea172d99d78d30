//! `timeouts.first_event` and `timeouts.event_gap`: a stream that sends comments but no data ends,
//! with a cut or, if the filter holds the headers, with a 504.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::upstream::{Reply, Request, Upstream};
use sluice_tests::{http1, http2};

const TIMEOUT: Duration = Duration::from_secs(1);
/// A timeout never fires early; on a loaded machine it may be late by more than a refresh.
const LATE: Duration = Duration::from_secs(3);

const COMMENT: &str = ": wait\n\n";
const PING: &str = "event: ping\ndata: {}\n\n";
const EVENT: &str = "event: answer\ndata: {}\n\n";
const LINE: &str = "{\"answer\":1}\n";

fn configuration(hold_headers: bool) -> Value {
    json!({
        "version": 1,
        "defaults": {
            "buffering": { "response": "auto", "hold_headers": hold_headers },
            "timeouts": { "first_event": "1s", "event_gap": "1s", "ignore_events": ["ping"] },
        },
        "drain": { "refresh": "100ms" },
        "errors": { "content_type": "application/json", "body": "{\"error\":\"{reason}\"}" },
    })
}

/// Sends each text, and a pause before it in milliseconds.
fn send(reply: &mut Reply, content_type: &str, texts: &[(u64, &str)]) {
    reply.send_headers(200, &[("content-type", content_type), ("transfer-encoding", "chunked")]);
    for (pause, text) in texts {
        reply.pause(*pause);
        if !text.is_empty() {
            reply.send_chunk(text.as_bytes());
        }
    }
}

/// The text, again and again, for longer than any timeout.
fn repeat(text: &str) -> Vec<(u64, &str)> {
    vec![(100, text); 60]
}

const SSE: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";

fn serve(request: &Request, reply: &mut Reply) {
    let after = |first: &[(u64, &'static str)], then| [first, &repeat(then)[..]].concat();
    match request.path() {
        "/never" => reply.pause(6_000),
        "/headers" => send(reply, SSE, &[(20_000, "")]),
        "/comments" => send(reply, SSE, &repeat(COMMENT)),
        "/pings" => send(reply, SSE, &repeat(PING)),
        "/blank-lines" => send(reply, NDJSON, &repeat("\n")),
        "/bytes" => send(reply, "text/html", &[(6_000, "")]),
        "/stalled-events" => send(reply, SSE, &after(&[(0, EVENT), (700, EVENT)], COMMENT)),
        "/stalled-lines" => send(reply, NDJSON, &after(&[(0, LINE), (700, LINE)], "\n")),
        "/stalled-bytes" => send(reply, "text/html", &[(0, "a"), (700, "b"), (6_000, "")]),
        "/slow" => {
            let texts =
                [(0, COMMENT), (700, COMMENT), (0, EVENT), (700, PING), (0, EVENT), (700, EVENT)];
            send(reply, SSE, &texts);
            return reply.send_chunk(b"");
        }
        "/without-events" => {
            send(reply, SSE, &[(0, COMMENT)]);
            return reply.send_chunk(b"");
        }
        "/empty" => return reply.respond(200, &[], b""),
        _ => return reply.respond(200, &[], b"ok"),
    }
    reply.close();
}

/// What a client received, and after how long the response ended.
struct Received {
    status: u16,
    body: String,
    complete: bool,
    after: Duration,
}

fn over_http_1(port: u16, path: &str) -> Received {
    let mut client = http1::Client::connect(port).with_timeout(Duration::from_secs(60));
    let response = client.get(path);
    let body = String::from_utf8_lossy(&response.body.bytes).into_owned();
    let (status, complete) = (response.status, response.body.complete);
    Received { status, body, complete, after: response.end_after }
}

fn over_http_2(port: u16, path: &str) -> Received {
    let mut client = http2::Client::connect(port).with_timeout(Duration::from_secs(60));
    let response = client.get(path);
    let body = String::from_utf8_lossy(&response.body).into_owned();
    let (status, complete) = (response.status, response.reset.is_none());
    Received { status, body, complete, after: response.end_after }
}

const FIRST: &str = r#"{"error":"first_event_timeout"}"#;

/// The rows that end without an event, and those that end in a gap, with what came before.
const WITHOUT_EVENT: [&str; 6] =
    ["/never", "/headers", "/comments", "/pings", "/blank-lines", "/bytes"];
const GAPS: [(&str, &str, &str); 3] = [
    ("/stalled-events", EVENT, COMMENT),
    ("/stalled-lines", LINE, "\n"),
    ("/stalled-bytes", "", "ab"),
];

fn check(path: &str, holds_headers: bool, received: &Received) {
    let Received { status, body, complete, after } = received;
    let place = format!("{path}: {status} after {after:?} with {body:?}");
    let in_time = |from: Duration| (from + TIMEOUT..from + TIMEOUT + LATE).contains(after);
    if WITHOUT_EVENT.contains(&path) {
        assert!(in_time(Duration::ZERO), "{place}");
        if holds_headers || path == "/never" {
            assert_eq!((*status, *complete, &**body), (504, true, FIRST), "{place}");
        } else {
            assert_eq!((*status, *complete), (200, false), "{place}");
            let silence = body.replace(COMMENT, "").replace(PING, "").replace('\n', "");
            assert_eq!(silence, "", "{place}");
        }
    } else if let Some((_, event, silence)) = GAPS.iter().find(|(row, ..)| *row == path) {
        assert!(in_time(Duration::from_millis(700)), "{place}");
        assert_eq!((*status, *complete), (200, false), "{place}");
        let rest = body.strip_prefix(&event.repeat(2)).unwrap_or_else(|| panic!("{place}"));
        assert_eq!(rest.replace(silence, ""), "", "{place}");
    } else {
        assert_eq!((*status, *complete), (200, true), "{place}");
    }
}

const COMPLETE: [&str; 4] = ["/slow", "/without-events", "/empty", "/ok"];

/// Lets the filter receive bodies while it holds their headers.
fn allowing(bootstrap: Bootstrap) -> Bootstrap {
    bootstrap.changed("config", |config| {
        if config.get("vm_config").is_some() {
            config["allow_on_headers_stop_iteration"] = json!(true);
        }
    })
}

fn streams_end(holds_headers: bool, receive: fn(u16, &str) -> Received) {
    let upstream = Upstream::start(serve);
    let bootstrap = Bootstrap::example("static", upstream.port);
    let bootstrap = allowing(bootstrap.configured(&configuration(holds_headers)));
    let envoy = Envoy::start(bootstrap);
    let port = envoy.port;
    // The worker learns from an upload that it can hold headers.
    assert_eq!(http1::Client::connect(port).post("/ok", b"{}").status, 200);
    let rows = WITHOUT_EVENT.into_iter().chain(GAPS.map(|(path, ..)| path)).chain(COMPLETE);
    let clients: Vec<_> =
        rows.map(|path| (path, thread::spawn(move || receive(port, path)))).collect();
    for (path, client) in clients {
        check(path, holds_headers, &client.join().expect("a response"));
    }
    let ended = |reason: &str| format!("wasmcustom.sluice.route.default.ended.{reason}");
    envoy.wait_for_stat(&ended("first_event_timeout"), WITHOUT_EVENT.len() as u64);
    envoy.wait_for_stat(&ended("event_gap_timeout"), GAPS.len() as u64);
    assert!(!envoy.log().contains("hold_headers"), "{}", envoy.log());
}

#[test]
fn streams_without_events_are_cut_over_http_1() {
    streams_end(false, over_http_1);
}

#[test]
fn streams_without_events_are_cut_over_http_2() {
    streams_end(false, over_http_2);
}

#[test]
fn held_headers_become_a_504_over_http_1() {
    streams_end(true, over_http_1);
}

#[test]
fn held_headers_become_a_504_over_http_2() {
    streams_end(true, over_http_2);
}

/// An interval that a test can distinguish from an ordinary delay.
const REFRESH: Duration = Duration::from_millis(2_400);
const NOT_HELD: Duration = Duration::from_millis(1_200);

/// An Envoy that knows nothing yet, with or without the plugin option.
fn unknowing(upstream: &Upstream, is_allowed: bool) -> Envoy {
    let mut document = configuration(true);
    document["drain"]["refresh"] = json!("2400ms");
    document["defaults"]["timeouts"] = json!({ "first_event": "4s" });
    let bootstrap = Bootstrap::example("static", upstream.port).configured(&document);
    Envoy::start(if is_allowed { allowing(bootstrap) } else { bootstrap })
}

/// How long the response to this request takes, from the request to its end.
fn time_of(envoy: &Envoy, method: &str, is_http_2: bool) -> Duration {
    let (status, after) = if is_http_2 {
        let client = http2::Client::connect(envoy.port);
        let body: &[u8] = if method == "POST" { b"{}" } else { b"" };
        let response = client.finish(client.start(method, "/ok", &[], Some(body)));
        (response.status, response.end_after)
    } else {
        let mut client = http1::Client::connect(envoy.port);
        let response = if method == "POST" { client.post("/ok", b"{}") } else { client.get("/ok") };
        (response.status, response.end_after)
    };
    assert_eq!(status, 200);
    after
}

const MISSING: &str = "set allow_on_headers_stop_iteration: true";

#[test]
fn a_missing_option_costs_one_message_at_most_a_refresh() {
    for (method, is_http_2) in [("POST", false), ("POST", true), ("GET", false), ("GET", true)] {
        let upstream = Upstream::start(serve);
        let envoy = unknowing(&upstream, false);
        let first = time_of(&envoy, method, is_http_2);
        assert!((NOT_HELD..REFRESH + NOT_HELD).contains(&first), "{method}: {first:?}");
        for method in ["POST", "GET"] {
            for is_http_2 in [false, true] {
                let next = time_of(&envoy, method, is_http_2);
                assert!(next < NOT_HELD, "{method}: {next:?}");
            }
        }
        let log = envoy.log();
        assert_eq!(log.matches(MISSING).count(), 1, "{log}");
    }
}

#[test]
fn without_the_option_late_events_are_cut() {
    let upstream = Upstream::start(serve);
    let envoy = unknowing(&upstream, false);
    time_of(&envoy, "POST", false);
    let cut = over_http_1(envoy.port, "/headers");
    assert_eq!((cut.status, cut.complete), (200, false));
}

#[test]
fn an_option_that_is_set_costs_nothing() {
    for method in ["POST", "GET"] {
        let upstream = Upstream::start(serve);
        let envoy = unknowing(&upstream, true);
        for is_http_2 in [false, true] {
            let after = time_of(&envoy, method, is_http_2);
            assert!(after < NOT_HELD, "{method}: {after:?}");
        }
        assert!(!envoy.log().contains(MISSING));
        let held = over_http_1(envoy.port, "/headers");
        assert_eq!((held.status, held.complete), (504, true), "{method}: {:?}", held.after);
    }
}

/// The whole sequence of a model server: it sends headers at once, and the first token late.
#[test]
fn a_silent_first_response_shows_nothing_and_a_later_one_is_held() {
    let upstream = Upstream::start(serve);
    let envoy = unknowing(&upstream, true);
    let silent = over_http_1(envoy.port, "/headers");
    assert_eq!((silent.status, silent.complete), (200, false), "held for a refresh only");
    assert!(time_of(&envoy, "GET", false) < NOT_HELD);
    let held = over_http_1(envoy.port, "/headers");
    assert_eq!((held.status, held.complete), (504, true));
}
