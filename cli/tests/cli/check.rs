//! `sluice check` and invalid configurations: the command names the mistake, and a proxy keeps the
//! configuration that it has.

use std::fmt::Write;
use std::fs;

use serde_json::{Value, json};

use super::invalid_configurations;
use sluice_test_kit::program::{replay, run};

#[test]
fn check_names_the_place_and_the_mistake() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("invalid.json");
    let name = file.to_str().expect("UTF-8");
    let all = invalid_configurations::all();
    assert!(all.len() >= 25, "{} are not enough", all.len());
    let mut differences = String::new();
    for invalid in all {
        fs::write(&file, &invalid.document).expect("a file");
        let run = run(["check", "--config", name]);
        let begin = format!("sluice: {name}: {}", invalid.error);
        if run.status != 2 || !run.stdout.is_empty() || !run.stderr.starts_with(&begin) {
            let document: String = invalid.document.chars().take(120).collect();
            writeln!(differences, "{document}\n  expected {begin}\n  got {run:?}").expect("memory");
        }
        assert_eq!(run.stderr.lines().count(), 1, "one sentence: {}", run.stderr);
        assert!(run.stderr.len() < 2_000, "a short sentence: {}", run.stderr);
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn a_document_that_is_not_utf8_is_rejected() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("invalid.json");
    fs::write(&file, b"{\"version\":1,\"routes\":[{\"name\":\"\xff\"}]}").expect("a file");
    let run = run(["check", "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(run.status, 2);
    assert!(
        run.stderr.ends_with("found invalid UTF-8 at byte 32, expected JSON text\n"),
        "{}",
        run.stderr
    );
}

/// The filter rejects each document with the same error, and its first timeout stays in force.
#[test]
fn a_proxy_keeps_its_configuration_when_the_filter_rejects_another() {
    let all = invalid_configurations::all();
    let mut trace = String::from(
        r#"{"at":"0s","configure":{"version":1,"defaults":{"timeouts":{"request":"2s"}}}}"#,
    );
    for (index, invalid) in all.iter().enumerate() {
        let at = format!("{}s", 10 * index + 10);
        let push =
            json!({ "at": at, "configure": invalid.document, "expect": { "accepted": false } });
        let request = json!({
            "at": at, "id": format!("after {index}"), "connection": "c",
            "request": {}, "upstream": { "end": "never" },
            "expect": { "status": 504, "last_byte": "2s..2.001s", "closed": false }
        });
        write!(trace, "\n{push}\n{request}").expect("memory");
    }
    let at = format!("{}s", 10 * all.len() + 20);
    let count = json!({ "at": at, "metrics": { "sluice.config.rejected": all.len() } });
    write!(trace, "\n{count}").expect("memory");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pushes.jsonl");
    fs::write(&file, trace).expect("a file");
    let run = replay(["--format", "json", file.to_str().expect("UTF-8")]);
    let result: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let report = &result["replays"][0];
    let failed: Vec<&Value> = ["exchanges", "configurations", "metric_checks"]
        .iter()
        .flat_map(|list| report[list].as_array().expect("a list"))
        .filter(|one| one["failures"] != json!([]))
        .collect();
    assert_eq!((run.status, failed), (0, vec![]));
    let pushes = report["configurations"].as_array().expect("a list");
    assert_eq!(pushes.len(), all.len() + 1);
    for (push, invalid) in pushes[1..].iter().zip(&all) {
        let message = push["message"].as_str().expect("the filter's message");
        assert!(message.contains(invalid.error), "expected {}, got {message}", invalid.error);
    }
}

#[test]
fn an_invalid_configuration_at_the_start_is_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("invalid.json");
    fs::write(&file, r#"{"version":1,"defaults":{"timeouts":{"request":"10"}}}"#).expect("a file");
    let run = replay(["--config", file.to_str().expect("UTF-8"), "tests/traces/tour.jsonl"]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(
        run.stderr.contains(
            r#"defaults.timeouts.request: found "10", expected a duration with a unit; write "10s""#
        ),
        "{}",
        run.stderr
    );
}

#[test]
fn check_warns_of_probable_mistakes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("odd.json");
    let document = r#"{"version":1,"routes":[
        {"name":"all"},
        {"name":"never","match":{"path":{"prefix":"/x"}}},
        {"name":"hasty","timeouts":{"request":"1s","per_try":"2s"}}]}"#;
    fs::write(&file, document).expect("a file");
    let run = run(["check", "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    for part in [
        "warning: routes[1] \"never\": never reached, because routes[0] \"all\" matches",
        "warning: routes[2] \"hasty\": timeouts.per_try: 2s never takes effect",
        "accepted, 3 routes, 3 warnings",
    ] {
        assert!(run.stdout.contains(part), "no {part:?} in\n{}", run.stdout);
    }
}
