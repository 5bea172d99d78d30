//! Take the filter away, or its rules, and every scenario fails for the reason that it tells of.

use serde_json::Value;

use crate::program::{Run, replay, run};
use crate::{ALL, configuration, trace};

/// Some expectations of each scenario that nothing but the filter can meet: the exchange and the field.
const REASONS: [(&str, &[(&str, &str)]); 7] = [
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
            ("chat", "end"),
            ("refused", "body_bytes"),
            ("impatient", "reason"),
            ("feed", "body_bytes"),
            ("lines", "ended_by"),
            ("metrics", "sluice.route.events.ended.drain_cut"),
        ],
    ),
];

#[test]
fn without_rules_every_scenario_fails_for_its_reasons() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.json");
    std::fs::write(&empty, r#"{"version":1}"#).expect("a file");
    let empty = empty.to_str().expect("UTF-8");
    each(|trace| replay(["--config", empty, "--format", "json", trace]));
}

#[test]
fn without_the_filter_every_scenario_fails_for_its_reasons() {
    each(|trace| run(["replay", "--without-filter", "--format", "json", trace]));
}

fn each(replay: impl Fn(&str) -> Run) {
    assert!(ALL.iter().all(|name| REASONS.iter().any(|(other, _)| other == name)));
    for (name, reasons) in REASONS {
        let run = replay(&trace(name));
        assert_eq!(run.status, 1, "{name}: {}", run.stderr);
        let result: Value = serde_json::from_str(&run.stdout).expect("JSON");
        let report = &result["replays"][0];
        for (id, field) in reasons {
            assert!(fails(report, id, field), "{name}: {id}: {field} holds all the same");
        }
        assert_eq!(result["expected"], expected(name), "{name}: the same is expected");
    }
}

/// Whether the report has this failure.
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

/// Whoever reads the table sees which expectation failed, what was wanted and what came.
#[test]
fn a_failure_names_the_field_what_was_wanted_and_what_came() {
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
    let last = run.stdout.lines().last().expect("a last line");
    assert!(last.ends_with("expectations did not hold"), "{last}");
}
