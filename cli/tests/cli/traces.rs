//! Invalid traces: `file:line: field: mistake`, exit status 2, and a report of what happened before.

use std::fs;
use std::path::Path;

use sluice_test_kit::program::{Run, replay, root};

const CONFIGURATION: &str = "tests/traces/tour.config.json";

const GOOD: &str = r#"{"at":"0s","request":{}}"#;

/// Ten lines; the seventh is `line`.
fn seventh(line: &str) -> String {
    let mut lines: Vec<String> = (0..10)
        .map(|second| {
            format!(r#"{{"at":"{second}s","id":"r{second}","connection":"c","request":{{}}}}"#)
        })
        .collect();
    line.clone_into(&mut lines[6]);
    lines.join("\n")
}

fn replayed(folder: &Path, options: &[&str], traces: &[(&str, &str)]) -> Run {
    let files = traces.iter().map(|(name, text)| {
        let file = folder.join(name);
        fs::write(&file, text).expect("a file");
        file.to_str().expect("UTF-8").to_owned()
    });
    let files: Vec<String> = files.collect();
    replay(options.iter().copied().chain(files.iter().map(String::as_str)))
}

/// As [`replayed`], with `--check-first` and a configuration.
fn checked(folder: &Path, name: &str, text: &str) -> Run {
    let file = folder.join(name);
    fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("UTF-8");
    replay(["--check-first", "--config", CONFIGURATION, file])
}

#[test]
fn an_invalid_line_is_named_and_the_lines_before_it_are_replayed() {
    let folder = tempfile::tempdir().expect("a folder");
    for (line, mistake) in [
        ("{", "line: is not valid JSON"),
        (r#"{"at":"6s","requets":{}}"#, "requets: unknown field `requets`"),
        (r#"{"at":"6","request":{}}"#, r#"at: "6" has no unit; write "6s" or "6ms""#),
        (r#"{"at":"-6s","request":{}}"#, r#"at: "-6s" is negative"#),
        (r#"{"at":"2s","request":{}}"#, "at: 2s is before the previous event"),
        (
            r#"{"at":"6s","connection":"other","close":"client"}"#,
            r#"connection: "other" is unknown"#,
        ),
        (r#"{"at":"6s","request":{},"upstream":{"status":99}}"#, "upstream.status: found 99"),
        (
            r#"{"at":"6s","request":{},"expect":{"status":"200"}}"#,
            "expect.status: found \"200\"; expected an integer",
        ),
        (
            r#"{"at":"6s","request":{},"expect":{"last_byte":"9s..1s"}}"#,
            r#"expect.last_byte: "9s..1s" is empty"#,
        ),
    ] {
        let run = checked(folder.path(), "day.jsonl", &seventh(line));
        let file = folder.path().join("day.jsonl");
        let begin = format!("sluice: {}:7: {mistake}", file.display());
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{line}");
        assert!(run.stderr.starts_with(&begin), "expected {begin}\ngot {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "one sentence: {}", run.stderr);

        let file = file.to_str().expect("UTF-8");
        let run = replay(["--config", CONFIGURATION, file]);
        assert_eq!(run.status, 2, "{line}");
        assert!(run.stderr.starts_with(&begin), "expected {begin}\ngot {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "one sentence: {}", run.stderr);
        let sentence = format!("the replay stopped at {file}:7: {mistake}");
        assert!(run.words().contains(&sentence), "{}", run.stdout);
        assert!(run.stdout.contains("\n6 exchanges, 1 connection"), "{}", run.stdout);
    }
}

#[test]
fn a_request_on_a_closed_connection_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = [
        r#"{"at":"0s","connection":"c","request":{}}"#,
        r#"{"at":"1s","connection":"c","close":"client"}"#,
        r#"{"at":"2s","connection":"c","request":{}}"#,
    ];
    let run = checked(folder.path(), "day.jsonl", &text.join("\n"));
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(
        run.stderr.contains(r#"day.jsonl:3: connection: "c" was closed on line 2"#),
        "{}",
        run.stderr
    );
}

#[test]
fn check_first_finds_a_mistake_in_the_last_trace_before_all_replays() {
    let folder = tempfile::tempdir().expect("a folder");
    let [good, bad] = [("good.jsonl", GOOD), ("bad.jsonl", &seventh("?"))].map(|(name, text)| {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("a file");
        file.to_str().expect("UTF-8").to_owned()
    });
    let arguments = ["--report-only", "--config", CONFIGURATION, &good, &bad];
    let run = replay(arguments.iter().copied().chain(["--check-first"]));
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("bad.jsonl:7: line: is not valid JSON"), "{}", run.stderr);

    let run = replay(arguments);
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("bad.jsonl:7: line: is not valid JSON"), "{}", run.stderr);
    assert!(run.stdout.contains("1 exchange, "), "the first trace: {}", run.stdout);
    assert!(run.stdout.contains("6 exchanges, "), "the second trace: {}", run.stdout);
}

#[test]
fn check_first_needs_a_file_that_can_be_read_twice() {
    let run = replay(["--check-first", "--config", CONFIGURATION, "-"]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("remove --check-first"), "{}", run.stderr);
}

/// The report says that it is not about the whole trace.
#[test]
fn a_report_until_a_mistake_is_a_complete_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (trace, result) = (folder.path().join("bad.jsonl"), folder.path().join("result.json"));
    fs::write(&trace, seventh("?")).expect("a file");
    let [trace, output] = [&trace, &result].map(|path| path.to_str().expect("UTF-8"));
    let run = replay(["--config", CONFIGURATION, "--format", "json", "-o", output, trace]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    let report = fs::read_to_string(&result).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let report = &report["replays"][0];
    assert_eq!(report["exchanges"].as_array().map(Vec::len), Some(6));
    let stopped = report["stopped"].as_str().unwrap_or_default();
    assert!(stopped.contains("bad.jsonl:7: line: is not valid JSON"), "{stopped}");
}

#[test]
fn a_mistake_in_the_first_event_creates_no_output_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (trace, result) = (folder.path().join("bad.jsonl"), folder.path().join("result.json"));
    fs::write(&trace, "?").expect("a file");
    let [trace, output] = [&trace, &result].map(|path| path.to_str().expect("UTF-8"));
    let run = replay(["--config", CONFIGURATION, "--format", "json", "-o", output, trace]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "only the trace is left: {left:?}");
}

#[test]
fn a_missing_file_or_a_binary_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing.jsonl");
    let run = replay([missing.to_str().expect("UTF-8")]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("missing.jsonl: cannot be read: "), "{}", run.stderr);

    let binary = folder.path().join("binary.jsonl");
    fs::write(&binary, b"{\"at\":\"0s\",\"id\":\"\xff\",\"request\":{}}").expect("a file");
    let run = replay([binary.to_str().expect("UTF-8")]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("binary.jsonl: not valid UTF-8 at byte 17"), "{}", run.stderr);
}

#[test]
fn an_unknown_worker_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = r#"{"at":"0s","connection":"c","open":{"worker":2}}"#;
    let file = folder.path().join("day.jsonl");
    fs::write(&file, open).expect("a file");
    let run = replay(["--config", CONFIGURATION, file.to_str().expect("UTF-8")]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(
        run.stderr.contains("day.jsonl:1: open.worker: found 2; expected at most 1 with 2 workers"),
        "{}",
        run.stderr
    );
}

/// serde lists all fields when it finds an unknown one.
#[test]
fn the_reference_names_every_field() {
    let folder = tempfile::tempdir().expect("a folder");
    let reference = fs::read_to_string(root().join("docs/traces.md")).expect("the reference");
    for object in [
        r#"{"at":"0s","unknown":0}"#,
        r#"{"at":"0s","proxy":{"unknown":0}}"#,
        r#"{"at":"0s","proxy":{"retry_policy":{"unknown":0}}}"#,
        r#"{"at":"0s","proxy":{"retry_policy":{"retry_back_off":{"unknown":0}}}}"#,
        r#"{"at":"0s","plugin":{"unknown":0}}"#,
        r#"{"at":"0s","request":{"unknown":0}}"#,
        r#"{"at":"0s","request":{"body":[{"unknown":0}]}}"#,
        r#"{"at":"0s","request":{},"upstream":{"unknown":0}}"#,
        r#"{"at":"0s","request":{},"upstream":{"end":"unknown"}}"#,
        r#"{"at":"0s","request":{},"expect":{"unknown":0}}"#,
        r#"{"at":"0s","request":{},"expect":{"upstream":{"unknown":0}}}"#,
        r#"{"at":"0s","request":{},"expect":{"end":"unknown"}}"#,
        r#"{"at":"0s","connection":"c","open":{"unknown":0}}"#,
        r#"{"at":"0s","connection":"c","open":{"protocol":"unknown"}}"#,
        r#"{"at":"0s","configure":{},"expect":{"unknown":0}}"#,
        r#"{"at":"0s","shared_data":{"unknown":0}}"#,
        r#"{"at":"0s","cluster":"c","respond":{"unknown":0}}"#,
    ] {
        let run = replayed(folder.path(), &[], &[("day.jsonl", object)]);
        let (_, known) = run.stderr.split_once("; expected ").expect("the known fields");
        let names: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{known}");
        for name in names {
            assert!(
                reference.contains(&format!("{name}`")),
                "docs/traces.md has no `{name}`, which belongs to {object}"
            );
        }
    }
}

#[test]
fn the_examples_of_the_reference_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    let reference = fs::read_to_string(root().join("docs/traces.md")).expect("the reference");
    let blocks: Vec<&str> =
        reference.split("```").filter_map(|block| block.strip_prefix("jsonl\n")).collect();
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        let file = folder.path().join("example.jsonl");
        fs::write(&file, block).expect("a file");
        let run = replay([
            "--config",
            "tests/traces/stalled-backend.config.json",
            file.to_str().expect("UTF-8"),
        ]);
        assert_eq!(run.status, 0, "{}{}", run.stdout, run.stderr);
    }
}

#[test]
fn a_decision_and_its_absence_can_be_expected() {
    let folder = tempfile::tempdir().expect("a folder");
    let replayed = |expect: &str| {
        let text = format!(
            r#"{{"at":"0s","request":{{"path":"/login"}},"expect":{{"decision":{expect}}}}}"#
        );
        let file = folder.path().join("day.jsonl");
        fs::write(&file, text).expect("a file");
        replay(["--config", "tests/traces/tour.config.json", file.to_str().expect("UTF-8")])
    };
    let passes = replayed(r#"{"timeout_ms":5000,"body":"stream","route":"login","close":null}"#);
    assert_eq!(passes.status, 0, "{}", passes.stdout);
    assert!(passes.stdout.contains("all 4 expectations met"), "{}", passes.stdout);
    let fails = replayed(r#"{"timeout_ms":6000,"body":null,"close":true,"route":"login"}"#);
    assert_eq!(fails.status, 1);
    for line in [
        "expected decision.timeout_ms 6000, got 5000",
        "expected decision.body nothing, got stream",
        "expected decision.close true, got nothing",
        "3 of 4 expectations failed",
    ] {
        assert!(fails.stdout.contains(line), "no {line} in {}", fails.stdout);
    }
}

/// A drain derives the time of a close from the connection id, so a trace can repeat the times of a
/// proxy.
#[test]
fn a_connection_with_an_id_closes_at_the_time_of_that_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let close_time = |others: usize, id: &str| {
        let mut text = "{\"at\":\"0s\",\"configure\":{\"version\":1,\"drain\":{}}}\n".to_owned();
        for other in 0..others {
            text +=
                &format!("{{\"at\":\"0s\",\"connection\":\"other{other}\",\"request\":{{}}}}\n");
        }
        text += &format!("{{\"at\":\"0s\",\"connection\":\"c\",\"open\":{{{id}}}}}\n");
        for fifth in 0..60 {
            if fifth == 5 {
                let record =
                    r#"{"epoch":1,"mode":"reload","started_ms":1767225601000,"window_ms":10000}"#;
                text += &format!(
                    "{{\"at\":\"1s\",\"shared_data\":{{\"key\":\"sluice.drain\",\"value\":{record}}}}}\n"
                );
            }
            text += &format!(
                "{{\"at\":\"{}ms\",\"id\":\"{fifth}\",\"connection\":\"c\",\"request\":{{}}}}\n",
                fifth * 200
            );
        }
        let run = replayed(folder.path(), &["--all"], &[("day.jsonl", &text)]);
        assert_eq!(run.stderr, "");
        let row = run.stdout.lines().find(|row| row.contains(" c ") && row.contains("close"));
        row.and_then(|row| row.split_whitespace().next()).map(str::to_owned)
    };
    let with_id: Vec<_> = (0..4).map(|others| close_time(others, "\"id\":4711")).collect();
    assert!(with_id[0].is_some() && with_id.iter().all(|at| *at == with_id[0]), "{with_id:?}");
    assert_ne!(
        close_time(0, ""),
        close_time(3, ""),
        "without an id, the time depends on the other connections"
    );
}

#[test]
fn the_clock_of_the_filter_starts_at_the_given_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = concat!(
        r#"{"at":"0s","configure":{"version":1,"drain":{}}}"#,
        "\n",
        r#"{"at":"1s","connection":"c","request":{}}"#,
        "\n",
        r#"{"at":"2s","shared_data":{"key":"sluice.drain","value":{"epoch":1,"mode":"terminate","started_ms":4102444805000}}}"#,
        "\n",
        r#"{"at":"4s","connection":"c","request":{},"expect":{"closed":false}}"#,
        "\n",
        r#"{"at":"6s","connection":"c","request":{},"expect":{"closed":true}}"#,
        "\n",
    );
    let trace = folder.path().join("day.jsonl");
    fs::write(&trace, text).expect("a trace");
    let trace = trace.to_str().expect("UTF-8");
    let from = |time: &str| replay(["--start-time", time, trace]);
    assert_eq!(from("2100-01-01T00:00:00Z").status, 0);
    assert_eq!(from("2099-12-31T00:00:00Z").status, 1, "the drain starts a day later");
    for wrong in ["1970-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "tomorrow", "1h"] {
        let refused = from(wrong);
        assert_eq!(refused.status, 2, "{refused:?}");
        assert!(refused.stderr.contains("expected a time between 1970 and 2522"), "{refused:?}");
    }
}
