//! The configurations of random traces: always the same routes, with random global settings.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Each timeout of an attempt, a request or an idle period, in milliseconds.
pub(super) const TIMEOUT: u64 = 400;

/// The longest delay of a timeout that a tick detects, in milliseconds.
pub(super) const TICK: u64 = 250;

/// `max_bytes` of the routes that set it.
pub(super) const BUFFER_LIMIT: u64 = 65_536;

/// A pause that exceeds each timeout, in milliseconds.
pub(super) const LONG_PAUSE: u64 = 1200;

/// The configuration before the first event of a random trace.
pub fn start() -> Value {
    json!({ "version": 1, "drain": {} })
}

/// The configurations for traces that contain none.
pub fn configurations() -> Vec<Value> {
    let draining =
        with("auto", Some(json!({ "epoch": 1, "mode": "terminate" })), Some(pages()), true);
    vec![with("auto", None, None, false), draining]
}

/// Any valid configuration.
pub(super) fn valid() -> impl Strategy<Value = Value> {
    let buffering = prop::sample::select(vec!["auto", "on", "off"]);
    let errors = prop::sample::select(vec![None, Some(json!({})), Some(pages()), Some(pages())]);
    (buffering, drain(), errors, any::<bool>())
        .prop_map(|(buffering, drain, errors, header)| with(buffering, drain, errors, header))
}

/// A drain in the configuration. The range of epochs is small, so that epochs also repeat and
/// decrease.
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

/// Error pages in three formats, none of which has the content type of the health reply.
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
              "buffering": { "response": "on", "request": "on", "max_bytes": BUFFER_LIMIT } },
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
            { "name": "events", "match": { "path": { "exact": "/events" } }, "buffering": "off",
              "timeouts": { "first_event": "400ms", "event_gap": "400ms", "ignore_events": ["ping"] } },
            { "name": "held", "match": { "path": { "prefix": "/held" } },
              "buffering": { "response": "on", "request": "on", "max_bytes": BUFFER_LIMIT },
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
