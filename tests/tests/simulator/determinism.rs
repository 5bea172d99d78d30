//! A replay is determined by trace, module and options. Seed and number of workers change only what
//! is listed here.

use serde_json::Value;

use crate::program::replay;
use crate::{SCENARIOS, configuration, trace};

fn report(name: &str, workers: &str, seed: &str) -> String {
    let arguments = ["--format", "json", "--workers", workers, "--seed", seed, "--config"];
    let (configuration, trace) = (configuration(name), trace(name));
    let run = replay(arguments.into_iter().chain([configuration.as_str(), trace.as_str()]));
    assert_eq!(run.status, 0, "{name}: {}", run.stderr);
    run.stdout
}

#[test]
fn equal_replays_have_equal_output() {
    for name in SCENARIOS {
        assert!(report(name, "3", "41") == report(name, "3", "41"), "{name} differs");
    }
}

#[test]
fn seed_and_workers_change_only_the_listed_fields() {
    for name in SCENARIOS {
        let first = independent_of_seed(name, &report(name, "2", "0"));
        for (workers, seed) in [("1", "0"), ("2", "1"), ("4", "2")] {
            let other = independent_of_seed(name, &report(name, workers, seed));
            for (field, value) in first.as_object().expect("an object") {
                assert_same(name, field, value, &other[field]);
            }
        }
    }
}

/// Otherwise the test above would compare equal runs.
#[test]
fn seed_changes_something() {
    let values = |name, seed, field: &str| -> Vec<Value> {
        let report: Value = serde_json::from_str(&report(name, "2", seed)).expect("JSON");
        let exchanges = report["replays"][0]["exchanges"].as_array().expect("a list");
        exchanges.iter().map(|exchange| exchange[field].clone()).collect()
    };
    for (name, field) in [("blue-green", "worker"), ("slow-pages", "last_byte")] {
        assert_ne!(values(name, "0", field), values(name, "1", field), "{name}: {field}");
    }
}

/// The part of a report that no seed may change. Removed are:
/// - the worker of a connection, and with it the connection ids;
/// - the times of a retried exchange, because the pause before a retry is random;
/// - the times of an exchange that ended on a tick, because each worker has its own tick times;
/// - the end of the replay, which is the last tick of the last worker;
/// - in `blue-green`, the time at which a busy connection closes, because it depends on the
///   connection id.
fn independent_of_seed(name: &str, report: &str) -> Value {
    let mut result: Value = serde_json::from_str(report).expect("JSON");
    let mut report = result["replays"][0].take();
    for field in ["seed", "workers", "ended"] {
        drop_field(&mut report, field);
    }
    for exchange in report["exchanges"].as_array_mut().expect("a list") {
        drop_field(exchange, "worker");
        if exchange["upstream"]["attempts"].as_u64() > Some(1) || ended_on_a_tick(exchange) {
            drop_field(exchange, "first_byte");
            drop_field(exchange, "last_byte");
            // The time of the last attempt, counted from the end of the request.
            let headers = exchange["headers"].as_array_mut().expect("a list");
            headers.retain(|header| header[0] != "x-envoy-upstream-service-time");
        }
        if name == "blue-green" && is_within_window(exchange) {
            for field in ["opening", "closed", "headers", "decisions"] {
                drop_field(exchange, field);
            }
        }
    }
    for connection in report["connections"].as_array_mut().expect("a list") {
        drop_field(connection, "worker");
        drop_field(connection, "id");
        drop_field(connection, "opened");
        drop_field(connection, "closed");
    }
    report
}

fn ended_on_a_tick(exchange: &Value) -> bool {
    let ticked =
        ["read_timeout", "send_timeout", "first_event_timeout", "event_gap_timeout", "drain_cut"];
    ticked.iter().any(|reason| exchange["reason"] == *reason)
}

/// Whether the request is within the window of the drain, from 30 s to 60 s.
fn is_within_window(exchange: &Value) -> bool {
    (30_000_000_000..60_000_000_000).contains(&exchange["sent"].as_u64().expect("a time"))
}

fn drop_field(value: &mut Value, field: &str) {
    let removed = value.as_object_mut().expect("an object").remove(field);
    assert!(removed.is_some(), "the field {field} does not exist");
}

/// Compares two values; the message of a failure shows the first different element of two lists.
fn assert_same(name: &str, field: &str, one: &Value, other: &Value) {
    if let (Value::Array(ones), Value::Array(others)) = (one, other) {
        assert_eq!(ones.len(), others.len(), "{name}: {field}");
        for (one, other) in ones.iter().zip(others) {
            assert_eq!(one, other, "{name}: {field}");
        }
    }
    assert_eq!(one, other, "{name}: {field}");
}
