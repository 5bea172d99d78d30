//! Without the filter, or without its configuration, each scenario fails for the reason that it
//! reproduces.

use serde_json::Value;

use crate::program::{Run, replay, run};
use crate::{SCENARIOS, configuration, trace};

/// Expectations of each scenario that only the filter fulfills: exchange and field.
const REASONS: [(&str, &[(&str, &str)]); 8] = [
    (
        "tour",
        &[
            ("follow logs", "end"),
            ("small page", "first_byte"),
            ("too large upload", "status"),
            ("old rules still apply", "status"),
            ("log in: no response", "last_byte"),
            ("report: torn header twice", "status"),
            ("old connection", "closed"),
            ("import in flight", "status"),
            ("health: out", "status"),
        ],
    ),
    (
        "kapacitor-logs",
        &[
            ("follow cpu", "end"),
            ("follow cpu", "headers.x-accel-buffering"),
            ("follow all", "body_bytes"),
            ("tasks", "first_byte"),
            ("ping stalls", "last_byte"),
            ("query within its timeout", "status"),
            ("query too long", "last_byte"),
        ],
    ),
    (
        "blue-green",
        &[("c05g", "closed"), ("c50g", "closed"), ("metrics", "sluice.route.app.drain_closed")],
    ),
    (
        "stalled-backend",
        &[("ada 1", "last_byte"), ("login 1", "last_byte"), ("body stops", "last_byte")],
    ),
    (
        "slow-pages",
        &[
            ("year report", "status"),
            ("torn header twice", "upstream.attempts"),
            ("first attempt too slow", "status"),
            ("application restarts: report", "status"),
        ],
    ),
    (
        "autoscaling-termination",
        &[
            ("30 s in flight", "status"),
            ("health stuck", "last_byte"),
            ("health draining", "status"),
            ("health draining", "headers.content-type"),
            ("new connection", "closed"),
            ("10 s on h2", "closed"),
        ],
    ),
    (
        "endings",
        &[
            ("silent", "first_byte"),
            ("falls silent", "last_byte"),
            ("upload that stops", "status"),
            ("too large", "status"),
            ("chat", "ended_by"),
            ("refused", "body_bytes"),
            ("impatient", "reason"),
            ("feed", "body_bytes"),
            ("lines", "ended_by"),
            ("metrics", "sluice.route.events.ended.drain_cut"),
        ],
    ),
    (
        "silent-model",
        &[
            ("waits in the queue", "end"),
            ("only comments", "status"),
            ("only pings", "status"),
            ("no response", "reason"),
            ("stalls behind comments", "last_byte"),
            ("blank lines", "reason"),
            ("metrics", "sluice.route.completions.ended.first_event_timeout"),
        ],
    ),
];

#[test]
fn without_configuration_each_scenario_fails_for_its_reasons() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.json");
    std::fs::write(&empty, r#"{"version":1}"#).expect("a file");
    let empty = empty.to_str().expect("UTF-8");
    check_each(|trace| replay(["--config", empty, "--format", "json", trace]));
}

#[test]
fn without_the_filter_each_scenario_fails_for_its_reasons() {
    check_each(|trace| run(["replay", "--without-filter", "--format", "json", trace]));
}

fn check_each(replay: impl Fn(&str) -> Run) {
    assert!(SCENARIOS.iter().all(|name| REASONS.iter().any(|(other, _)| other == name)));
    for (name, reasons) in REASONS {
        let run = replay(&trace(name));
        assert_eq!(run.status, 1, "{name}: {}", run.stderr);
        let result: Value = serde_json::from_str(&run.stdout).expect("JSON");
        let report = &result["replays"][0];
        for (id, field) in reasons {
            assert!(fails(report, id, field), "{name}: {id}: {field} is as expected");
        }
        assert_eq!(result["expected"], expected(name), "{name}: the number of expectations");
    }
}

/// Whether the report contains this failure.
fn fails(report: &Value, id: &str, field: &str) -> bool {
    let list = |name: &str| report[name].as_array().expect("a list").clone();
    let all = match id {
        "metrics" => list("metric_checks"),
        id => list("exchanges").into_iter().filter(|exchange| exchange["id"] == id).collect(),
    };
    assert!(!all.is_empty(), "{id} is not in the trace");
    all.iter()
        .flat_map(|one| one["failures"].as_array().expect("a list"))
        .any(|failure| failure["field"] == field)
}

fn expected(name: &str) -> Value {
    let run = replay(["--config", &configuration(name), "--format", "json", &trace(name)]);
    let result: Value = serde_json::from_str(&run.stdout).expect("JSON");
    result["expected"].clone()
}

#[test]
fn failure_names_field_expected_and_actual_value() {
    let run = run(["replay", "--without-filter", &trace("kapacitor-logs")]);
    assert_eq!(run.status, 1);
    for line in [
        "expected end complete, got cut",
        "expected route logs, got none",
        "expected first_byte 230ms..231ms, got 80ms",
        "expected last_byte 3s..3.001s, got 15s",
        "expected headers.x-accel-buffering no, got nothing",
    ] {
        assert!(run.stdout.contains(line), "no {line:?} in\n{}", run.stdout);
    }
    let total = run.stdout.lines().nth(1).expect("a second line");
    assert!(total.ends_with("expectations failed"), "{total}");
}
