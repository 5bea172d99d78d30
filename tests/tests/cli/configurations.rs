//! Wrong configurations: `check` says why, and a proxy that is handed one goes on with the one before.

use std::fmt::Write;
use std::fs;

use serde_json::{Value, json};

use super::wrong;
use crate::program::{replay, run};

#[test]
fn check_names_the_place_and_the_mistake() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.json");
    let name = file.to_str().expect("UTF-8");
    let all = wrong::all();
    assert!(all.len() >= 25, "{} are not enough", all.len());
    let mut surprises = String::new();
    for wrong in all {
        fs::write(&file, &wrong.document).expect("a file");
        let run = run(["check", "--config", name]);
        let begin = format!("sluice: {name}: {}", wrong.refusal);
        if run.status != 2 || !run.stdout.is_empty() || !run.stderr.starts_with(&begin) {
            let document: String = wrong.document.chars().take(120).collect();
            writeln!(surprises, "{document}\n  expected {begin}\n  got {run:?}").expect("memory");
        }
        assert_eq!(run.stderr.lines().count(), 1, "one sentence: {}", run.stderr);
        assert!(run.stderr.len() < 2_000, "a short one: {}", run.stderr);
    }
    assert!(surprises.is_empty(), "{surprises}");
}

#[test]
fn a_document_that_is_not_text_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.json");
    fs::write(&file, b"{\"version\":1,\"routes\":[{\"name\":\"\xff\"}]}").expect("a file");
    let run = run(["check", "--config", file.to_str().expect("UTF-8")]);
    assert_eq!(run.status, 2);
    assert!(
        run.stderr.ends_with("not valid UTF-8 at byte 32; expected JSON text\n"),
        "{}",
        run.stderr
    );
}

/// The filter in its proxy says the same, and the limit of the first configuration still holds after each refusal.
#[test]
fn a_proxy_goes_on_with_the_configuration_before() {
    let all = wrong::all();
    let mut trace = String::from(
        r#"{"at":"0s","configure":{"version":1,"defaults":{"timeouts":{"request":"2s"}}}}"#,
    );
    for (index, wrong) in all.iter().enumerate() {
        let at = format!("{}s", 10 * index + 10);
        let push =
            json!({ "at": at, "configure": wrong.document, "expect": { "accepted": false } });
        let ask = json!({
            "at": at, "id": format!("after {index}"), "connection": "c",
            "request": {}, "upstream": { "end": "never" },
            "expect": { "status": 504, "last_byte": "2s..2.001s", "closed": false }
        });
        write!(trace, "\n{push}\n{ask}").expect("memory");
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
    for (push, wrong) in pushes[1..].iter().zip(&all) {
        let message = push["message"].as_str().expect("the filter's words");
        assert!(message.contains(wrong.refusal), "expected {}, got {message}", wrong.refusal);
    }
}

/// A wrong configuration at the start is bad input: nothing is run.
#[test]
fn a_wrong_configuration_at_the_start_is_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.json");
    fs::write(&file, r#"{"version":1,"defaults":{"timeouts":{"request":"10"}}}"#).expect("a file");
    let run = replay(["--config", file.to_str().expect("UTF-8"), "tests/traces/tour.jsonl"]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(
        run.stderr.contains(r#"defaults.timeouts.request: "10" has no unit"#),
        "{}",
        run.stderr
    );
}

#[test]
fn what_is_odd_is_a_warning() {
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
        "warning: routes[1]: \"never\" is never reached: routes[0] (\"all\")",
        "warning: routes[2].timeouts: per_try 2s is not below request 1s",
        "accepted, 3 routes, 3 warnings",
    ] {
        assert!(run.stdout.contains(part), "no {part:?} in\n{}", run.stdout);
    }
}
