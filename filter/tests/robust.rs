//! No document makes the reader panic, and an accepted document survives serialization.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_filter::config::Document;
use sluice_filter::{Headers, RequestView, explain, load};

fn example() -> Value {
    json!({
        "version": 1,
        "defaults": { "buffering": "auto", "timeouts": { "request": "15s" } },
        "routes": [
            { "name": "logs",
              "match": { "hosts": ["*.example.com", "a"], "path": { "prefix": "/logs" }, "methods": ["GET"],
                         "headers": [{ "name": "accept", "contains": "json" }, { "name": "x", "present": false }],
                         "route_name": "r", "policy": "p" },
              "buffering": "off" },
            { "name": "api", "match": { "path": { "regex": "/api/[a-z]+(/.*)?" } },
              "buffering": { "response": "on", "request": "on", "max_bytes": 262144 },
              "timeouts": { "request": "1m30s", "per_try": "10s" },
              "retry": { "on": ["connect-failure", "reset"], "attempts": 2 } },
        ],
        "drain": { "state": { "epoch": 7, "mode": "rebalance", "percent": 5, "window": "30s", "routes": ["api"] },
                   "refresh": "250ms", "signal": "auto" },
        "health": { "path": "/health", "drain_status": 503 },
    })
}

/// Values of any kind, some of which are valid in a configuration.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..200_u64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9/*.$()\\[\\]{}|+?\\\\-]{0,12}".prop_map(Value::from),
        "[0-9]{1,3}(ms|s|m|h|)".prop_map(Value::from),
        prop::sample::select(vec![
            "on",
            "off",
            "auto",
            "reload",
            "terminate",
            "marker",
            "api",
            "GET"
        ])
        .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("(name|prefix|exact|regex|[a-z]{1,3})", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The number of values in `value`, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// The value at position `at` in depth-first order.
fn nth(value: &mut Value, at: usize) -> Option<&mut Value> {
    if at == 0 {
        return Some(value);
    }
    let below: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => return None,
    };
    let mut before = 1;
    for inner in below {
        let inside = count(inner);
        if at < before + inside {
            return nth(inner, at - before);
        }
        before += inside;
    }
    None
}

/// Loads a document and uses its rules; `None` if it is refused, with a place in the error.
fn exercise(document: &[u8]) -> Option<Document> {
    let loaded = match load(document) {
        Ok(loaded) => loaded,
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(": ") && message.len() < 1_000, "{message}");
            return None;
        }
    };
    let headers: Headers =
        [(":path", &b"/api/x"[..]), ("x-sluice-x", &[255])].into_iter().collect();
    let request = RequestView::new(&headers);
    let explanation = explain::explain(&loaded.rules, &request);
    let name = loaded.rules.match_route(&request).and_then(|index| loaded.rules.route_name(index));
    assert_eq!(explanation.route.as_deref(), name);
    assert!(explanation.tried.iter().all(|tried| !tried.failed.is_empty()));
    assert_eq!(explain::summarize(&loaded.rules).routes.len(), loaded.rules.routes.len() + 1);
    Document::parse(document).ok()
}

#[test]
fn the_example_survives_serialization() {
    let spec = exercise(example().to_string().as_bytes()).expect("the example is valid");
    let written = serde_json::to_value(&spec).expect("it can be written");
    let mut expected = example();
    expected["defaults"]["buffering"] = json!({ "response": "auto" });
    expected["routes"][0]["buffering"] = json!({ "response": "off" });
    assert_eq!(written, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        exercise(&bytes);
    }

    #[test]
    fn damaged_documents_do_not_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut bytes = example().to_string().into_bytes();
        for (index, byte, kind) in damage {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        exercise(&bytes);
    }

    #[test]
    fn accepted_documents_survive_serialization(
        changes in prop::collection::vec((any::<prop::sample::Index>(), values()), 1..4),
    ) {
        let mut document = example();
        for (index, value) in changes {
            let places = count(&document);
            if let Some(place) = nth(&mut document, index.index(places)) {
                *place = value;
            }
        }
        if let Some(spec) = exercise(document.to_string().as_bytes()) {
            let written = serde_json::to_vec(&spec).expect("it can be written");
            prop_assert_eq!(exercise(&written), Some(spec));
        }
    }
}
