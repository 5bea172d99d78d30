//! What changes between the phases of a trace.

use proptest::prelude::*;
use serde_json::{Value, json};

/// A change.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// None.
    Nothing,
    /// A configuration is pushed.
    Configure(Value),
    /// One is pushed that the filter refuses.
    Refused(Value),
    /// The client of a connection goes away.
    Leave(prop::sample::Index),
}

/// The configuration before the first event of a generated trace.
pub fn start() -> Value {
    json!({ "version": 1, "drain": {} })
}

/// The configurations that traces run under which bring none.
pub fn configurations() -> Vec<Value> {
    vec![with("auto", None), with("auto", Some(json!({ "epoch": 1, "mode": "terminate" })))]
}

/// A configuration that is accepted.
pub(super) fn configuration() -> impl Strategy<Value = Change> {
    let buffering = prop::sample::select(vec!["auto", "on", "off"]);
    (buffering, drain()).prop_map(|(buffering, drain)| Change::Configure(with(buffering, drain)))
}

/// Any change.
pub(super) fn changes() -> impl Strategy<Value = Change> {
    let refused = prop::sample::select(vec![
        json!("{"),
        json!({ "version": 2 }),
        json!({ "version": 1, "drain": { "state": { "epoch": 5, "mode": "sleep" } } }),
    ]);
    prop_oneof![
        1 => Just(Change::Nothing),
        4 => configuration(),
        1 => refused.prop_map(Change::Refused),
        2 => any::<prop::sample::Index>().prop_map(Change::Leave),
    ]
}

/// A drain that the configuration asks for: epochs are few, so that they also repeat and fall.
fn drain() -> impl Strategy<Value = Option<Value>> {
    let mode = prop::sample::select(vec!["reload", "reload", "terminate", "off"]);
    let routes = prop::sample::select(vec![None, None, Some("off")]);
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

fn with(buffering: &str, drain: Option<Value>) -> Value {
    let mut configuration = json!({
        "version": 1,
        "defaults": { "buffering": buffering },
        "routes": [
            { "name": "off", "match": { "path": { "prefix": "/off" } }, "buffering": "off" },
            { "name": "on", "match": { "path": { "prefix": "/on" } },
              "buffering": { "response": "on", "request": "on", "max_bytes": 65536 } },
            { "name": "short", "match": { "path": { "prefix": "/short" } }, "timeouts": { "request": "400ms" } },
            { "name": "again", "match": { "path": { "prefix": "/again" } },
              "timeouts": { "request": "5s", "per_try": "400ms" },
              "retry": { "on": ["reset", "gateway-error"], "attempts": 3 } },
            { "name": "refused", "match": { "path": { "prefix": "/refused" } },
              "retry": { "on": ["connect-failure", "refused-stream"], "attempts": 2 } }
        ],
        "drain": { "refresh": "250ms" },
        "health": { "path": "/health" }
    });
    if let Some(state) = drain {
        configuration["drain"]["state"] = state;
    }
    configuration
}
