//! The configurations of random traces: the same routes, with what holds for all of them.

use proptest::prelude::*;
use serde_json::{Value, json};

/// The limit of a try, of the whole request and of a silence, where there is one, in milliseconds.
pub(super) const LIMIT: u64 = 400;

/// How late a tick can find that a limit of the filter's own is over.
pub(super) const TICK: u64 = 250;

/// The largest body that a route holds which says so, in bytes.
pub(super) const HELD: u64 = 65_536;

/// A pause that is too long for any limit.
pub(super) const GAP: u64 = 1200;

/// The configuration before the first event of a generated trace.
pub fn start() -> Value {
    json!({ "version": 1, "drain": {} })
}

/// The configurations that traces run under which bring none.
pub fn configurations() -> Vec<Value> {
    let draining =
        with("auto", Some(json!({ "epoch": 1, "mode": "terminate" })), Some(pages()), true);
    vec![with("auto", None, None, false), draining]
}

/// Any configuration that is accepted.
pub(super) fn accepted() -> impl Strategy<Value = Value> {
    let buffering = prop::sample::select(vec!["auto", "on", "off"]);
    let errors = prop::sample::select(vec![None, Some(json!({})), Some(pages()), Some(pages())]);
    (buffering, drain(), errors, any::<bool>())
        .prop_map(|(buffering, drain, errors, header)| with(buffering, drain, errors, header))
}

/// A drain that the configuration asks for: epochs are few, so that they also repeat and fall.
fn drain() -> impl Strategy<Value = Option<Value>> {
    let mode = prop::sample::select(vec!["reload", "reload", "terminate", "off"]);
    let routes = prop::sample::select(vec![None, None, Some("off"), Some("cut")]);
    let state = (1u8..6, mode, routes).prop_map(|(epoch, mode, route)| {
        let mut state = json!({ "epoch": epoch, "mode": mode });
        if mode == "reload" {
            state["window"] = json!("1ms");
        }
        if let (Some(route), "reload" | "terminate") = (route, mode) {
            state["routes"] = json!([route]);
        }
        state
    });
    prop::option::of(state)
}

/// Pages in three forms. None of them is of the type of the health answer, which tells the time.
fn pages() -> Value {
    json!({
        "content_type": "application/problem+json",
        "body": "{\"error\":\"{reason}\",\"route\":\"{route}\",\"id\":\"{request_id}\",\"status\":{status}}",
        "alternatives": [
            { "content_type": "text/html", "body": "<h1>{reason}</h1>\n" },
            { "content_type": "text/plain; charset=utf-8", "body": "{status} {reason}\n" }
        ]
    })
}

fn with(buffering: &str, drain: Option<Value>, errors: Option<Value>, header: bool) -> Value {
    let mut configuration = json!({
        "version": 1,
        "defaults": { "buffering": buffering },
        "routes": [
            { "name": "off", "match": { "path": { "prefix": "/off" } }, "buffering": "off" },
            { "name": "on", "match": { "path": { "prefix": "/on" } },
              "buffering": { "response": "on", "request": "on", "max_bytes": HELD } },
            { "name": "short", "match": { "path": { "prefix": "/short" } }, "timeouts": { "request": "400ms" } },
            { "name": "again", "match": { "path": { "prefix": "/again" } },
              "timeouts": { "request": "5s", "per_try": "400ms" },
              "retry": { "on": ["reset", "gateway-error"], "attempts": 3 } },
            { "name": "refused", "match": { "path": { "prefix": "/refused" } },
              "retry": { "on": ["connect-failure", "refused-stream"], "attempts": 2 } },
            { "name": "idle", "match": { "path": { "prefix": "/idle" } }, "buffering": "off",
              "timeouts": { "read": "400ms", "send": "400ms" } },
            { "name": "chat", "match": { "path": { "exact": "/chat" } },
              "timeouts": { "read": "400ms", "send": "400ms" } },
            { "name": "held", "match": { "path": { "prefix": "/held" } },
              "buffering": { "response": "on", "request": "on", "max_bytes": HELD },
              "timeouts": { "read": "400ms", "send": "400ms" } },
            { "name": "cut", "match": { "path": { "prefix": "/cut" } }, "buffering": "off",
              "timeouts": { "read": "10s" }, "drain": "cut" }
        ],
        "drain": { "refresh": format!("{TICK}ms") },
        "health": { "path": "/health" }
    });
    if let Some(state) = drain {
        configuration["drain"]["state"] = state;
    }
    if let Some(errors) = errors {
        configuration["errors"] = errors;
    }
    if header {
        configuration["report"] = json!({ "header": true });
    }
    configuration
}
