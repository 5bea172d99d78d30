//! A replay is a function of trace, module and options; and what the seed or the number of workers decides is not visible to a
//! client, but for what is listed here.

use serde_json::Value;

use crate::program::replay;
use crate::{ALL, configuration, trace};

fn report(name: &str, workers: &str, seed: &str) -> String {
    let arguments = ["--format", "json", "--workers", workers, "--seed", seed, "--config"];
    let (configuration, trace) = (configuration(name), trace(name));
    let run = replay(arguments.into_iter().chain([configuration.as_str(), trace.as_str()]));
    assert_eq!(run.status, 0, "{name}: {}", run.stderr);
    run.stdout
}

#[test]
fn the_same_replay_twice_is_the_same_byte_for_byte() {
    for name in ALL {
        assert!(report(name, "3", "41") == report(name, "3", "41"), "{name} differs");
    }
}

#[test]
fn another_seed_or_more_workers_change_only_what_may_differ() {
    for name in ALL {
        let first = visible(name, &report(name, "2", "0"));
        for (workers, seed) in [("1", "0"), ("2", "1"), ("4", "2")] {
            let other = visible(name, &report(name, workers, seed));
            for (field, value) in first.as_object().expect("an object") {
                assert_same(name, field, value, &other[field]);
            }
        }
    }
}

/// The seed does decide something: a test that compared two equal runs would show nothing.
#[test]
fn another_seed_decides_otherwise() {
    let decided = |name, seed, field: &str| -> Vec<Value> {
        let report: Value = serde_json::from_str(&report(name, "2", seed)).expect("JSON");
        let exchanges = report["replays"][0]["exchanges"].as_array().expect("a list");
        exchanges.iter().map(|exchange| exchange[field].clone()).collect()
    };
    for (name, field) in [("blue-green", "worker"), ("slow-pages", "last_byte")] {
        assert_ne!(decided(name, "0", field), decided(name, "1", field), "{name}: {field}");
    }
}

/// What of a report no seed may change. Left out is:
/// - which worker serves a connection, and with it the numbers of the connections;
/// - the times of an exchange that was tried again, because the pause before a retry is random;
/// - the times of an exchange that ended on a tick, which a worker has at moments of its own;
/// - the end of the replay, which is the last tick of the last worker;
/// - in `blue-green`, when within the window a busy connection closes, because that hangs on its number.
fn visible(name: &str, report: &str) -> Value {
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
    ["read_timeout", "send_timeout", "drain_cut"].iter().any(|reason| exchange["reason"] == *reason)
}

/// The requests between the switch-over and the end of its window, at 30 s and 60 s.
fn is_within_window(exchange: &Value) -> bool {
    (30_000_000_000..60_000_000_000).contains(&exchange["sent"].as_u64().expect("a time"))
}

fn drop_field(value: &mut Value, field: &str) {
    let removed = value.as_object_mut().expect("an object").remove(field);
    assert!(removed.is_some(), "there is no {field} to leave out");
}

/// Equal, or a message that shows the first difference instead of two reports.
fn assert_same(name: &str, field: &str, one: &Value, other: &Value) {
    if let (Value::Array(ones), Value::Array(others)) = (one, other) {
        assert_eq!(ones.len(), others.len(), "{name}: {field}");
        for (one, other) in ones.iter().zip(others) {
            assert_eq!(one, other, "{name}: {field}");
        }
    }
    assert_eq!(one, other, "{name}: {field}");
}
