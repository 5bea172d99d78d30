//! `sluice import`: recordings become traces, and a mistake becomes one sentence.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use sluice_test_kit::program::{Run, replay, run, sluice};

const PAGE: &str = "tests/recordings/shop.har";

/// A line in the format of envoy-examples/access-log.
fn line(status: u16) -> String {
    json!({
        "start_time": "2026-11-21T13:23:18.058536Z", "duration": 2, "connection_id": 7, "protocol": "HTTP/1.1",
        "method": "GET", "authority": "shop.example.com", "path": "/items", "response_code": status,
        "response_flags": "-", "response_code_details": "via_upstream", "upstream_request_attempt_count": 1,
        "timing": { "request_end": 10, "upstream_start": 200, "response_start": 900, "response_end": 950 },
    })
    .to_string()
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, text).expect("a file");
    file.to_str().expect("UTF-8").to_owned()
}

#[test]
fn the_trace_of_a_log_meets_its_expectations() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = written(folder.path(), "access.log", &format!("{}\n\n{}\n", line(200), line(404)));
    let trace = folder.path().join("day.jsonl");
    let trace = trace.to_str().expect("UTF-8");
    assert_eq!(run(["import", "envoy-log", "-o", trace, &log]), silent());
    let replayed = replay(["--config", "tests/traces/tour.config.json", trace]);
    assert_eq!(replayed.status, 0, "{}", replayed.stdout);
    let total = "\n2 exchanges, 1 connection, 0 closed by the proxy: all 8 expectations met\n";
    assert!(replayed.stdout.contains(total), "{}", replayed.stdout);

    let printed = run(["import", "envoy-log", &log]);
    assert_eq!(printed.stdout, fs::read_to_string(trace).expect("the trace"));
    let mut piped = sluice(["import", "envoy-log", "-"]);
    let output =
        piped.stdin(File::open(&log).expect("the log")).output().expect("the program runs");
    let named = printed.stdout.replace("access.log:", "standard input:");
    assert_eq!(String::from_utf8_lossy(&output.stdout), named);
}

fn silent() -> Run {
    Run { status: 0, stdout: String::new(), stderr: String::new() }
}

#[test]
fn a_recording_without_a_request_is_not_imported() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out.jsonl");
    let output = output.to_str().expect("UTF-8");
    for (kind, recording, expected) in [
        ("envoy-log", "", "has no entries, so there is nothing to import; is it the right file?"),
        (
            "envoy-log",
            "[info] starting\nready\n",
            "found no request to import; left out: 2 not a line of the log",
        ),
        ("har", r#"{"log":{"entries":[]}}"#, "has no entries"),
    ] {
        let file = written(folder.path(), "recording", recording);
        let run = run(["import", kind, "-o", output, &file]);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{kind}");
        assert!(run.stderr.starts_with(&format!("sluice: {file}: {expected}")), "{}", run.stderr);
        assert!(!Path::new(output).exists(), "nothing is written");
    }
}

#[test]
fn lines_of_other_kinds_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("[2026-11-28][1][info] starting\n{}\n", line(200));
    let log = written(folder.path(), "access.log", &text);
    let run = run(["import", "envoy-log", &log]);
    assert_eq!(run.status, 0);
    let expected = format!("{log}: 1 request imported; left out: 1 not a line of the log\n");
    assert_eq!(run.stderr, expected);
}

#[test]
fn compressed_logs_and_traces_read_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = written(folder.path(), "access.log", &line(200));
    let plain = run(["import", "envoy-log", &log]).stdout;
    let gzip = |file: &str| {
        let status = Command::new("gzip").arg(file).status().expect("gzip is installed");
        assert!(status.success());
        format!("{file}.gz")
    };
    let trace = written(folder.path(), "day.jsonl", &plain);
    let compressed = gzip(&log);
    let imported = run(["import", "envoy-log", &compressed]).stdout;
    assert_eq!(imported, plain.replace("access.log", "access.log.gz"));

    let options = ["--config", "tests/traces/tour.config.json"];
    let whole = replay(options.into_iter().chain([trace.as_str()]));
    let compressed = gzip(&trace);
    let from_gzip = replay(options.into_iter().chain([compressed.as_str()]));
    assert_eq!((whole.status, from_gzip.status), (0, 0), "{}", from_gzip.stderr);
    assert_eq!(from_gzip.stdout, whole.stdout.replace("day.jsonl", "day.jsonl.gz"));

    let bytes = fs::read(&compressed).expect("the file");
    fs::write(&compressed, &bytes[..bytes.len() / 2]).expect("a file");
    let cut = replay(options.into_iter().chain([compressed.as_str()]));
    assert_eq!(cut.status, 2);
    assert!(cut.stderr.contains("the gzip data ends too early"), "{}", cut.stderr);
}

#[test]
fn secrets_do_not_reach_the_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = line(200).replace("/items", "/?access_token=hunter2&tenant=hunter2&page=7");
    let log = written(folder.path(), "access.log", &log);
    let first = run(["import", "envoy-log", "--redact", "tenant", &log]).stdout;
    assert!(!first.contains("hunter2"), "{first}");
    assert!(first.contains("?access_token=redacted&tenant=redacted&page=7"), "{first}");
    let har = run(["import", "har", PAGE]).stdout;
    assert!(!har.contains("4711") && !har.contains("Bearer secret"), "{har}");
    assert!(har.contains("session=redacted") && har.contains("Bearer redacted"), "{har}");
}

#[test]
fn logs_of_other_formats_become_traces_that_replay() {
    let folder = tempfile::tempdir().expect("a folder");
    let istio = "[2026-11-21T13:23:18.058Z] \"GET /items HTTP/1.1\" 200 - via_upstream - \"-\" 0 153 12 9 \"-\" \"curl\" \
                 \"id\" \"shop\" \"10.0.0.2:80\" outbound|80||shop - 10.0.0.3:80 10.0.0.4:5 - default\n";
    let envoy = "[2026-11-21T13:23:18.058Z] \"GET /items HTTP/2\" 200 - 0 153 12 9 \"-\" \"curl\" \"id\" \"shop\" \
                 \"10.0.0.2:80\"\n";
    let nginx = "10.0.0.1 - - [21/Nov/2026:13:23:18 +0000] \"GET /items HTTP/1.1\" 200 153 \"-\" \"curl\"\n";
    for (kind, text, preset) in [
        ("envoy-log", istio, Some("istio-sidecar")),
        ("envoy-log", envoy, None),
        ("nginx-log", nginx, None),
    ] {
        let log = written(folder.path(), "access.log", &format!("{text}another line\n"));
        let trace = folder.path().join("day.jsonl");
        let trace = trace.to_str().expect("UTF-8");
        let imported = run(["import", kind, "-o", trace, &log]);
        assert_eq!(imported.status, 0, "{}", imported.stderr);
        assert!(imported.stderr.contains("1 request imported; left out: 1"), "{}", imported.stderr);
        let named = imported.stderr.contains("the trace has the proxy preset istio-sidecar");
        assert_eq!(named, preset.is_some(), "{}", imported.stderr);
        let written = fs::read_to_string(trace).expect("the trace");
        assert_eq!(written.contains("\"preset\":\"istio-sidecar\""), preset.is_some(), "{written}");
        let replayed = replay(["--config", "tests/traces/tour.config.json", trace]);
        assert_eq!(replayed.status, 0, "{}{}", replayed.stdout, replayed.stderr);
    }
}

#[test]
fn no_expect_writes_no_expectations() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = written(folder.path(), "access.log", &line(200));
    assert!(run(["import", "envoy-log", &log]).stdout.contains("\"expect\":"));
    assert!(!run(["import", "envoy-log", "--no-expect", &log]).stdout.contains("\"expect\":"));
    assert!(!run(["import", "har", "--no-expect", PAGE]).stdout.contains("\"expect\":"));
}

#[test]
fn the_trace_of_a_page_meets_its_expectations() {
    let folder = tempfile::tempdir().expect("a folder");
    let imported = run(["import", "har", PAGE]);
    assert_eq!(imported.status, 0);
    assert_eq!(
        imported.stderr,
        "tests/recordings/shop.har: 8 requests imported; left out: 2 not HTTP, 1 blocked or without a response, \
         1 served by the browser\n"
    );
    let trace = written(folder.path(), "page.jsonl", &imported.stdout);
    let configuration = written(folder.path(), "config.json", r#"{"version":1}"#);
    let replayed = replay(["--config", &configuration, &trace]);
    assert_eq!(replayed.status, 0, "{}", replayed.stdout);
    assert!(replayed.stdout.contains("all 16 expectations met"), "{}", replayed.stdout);
}

/// The mistake is on line 3, after two valid lines.
#[test]
fn a_mistake_is_an_error_of_one_sentence_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("day.jsonl");
    let output = trace.to_str().expect("UTF-8");
    let file = |text: &str| written(folder.path(), "recording", text);
    for (kind, text, mistake) in [
        (
            "envoy-log",
            format!("{}\n{}\n{{\n", line(200), line(200)),
            ":3: not valid JSON: EOF while parsing an object",
        ),
        (
            "envoy-log",
            line(200).replace("duration", "took"),
            ":1: duration: missing; add the entry",
        ),
        ("envoy-log", line(200).replace("13:23", "25:23"), ":1: start_time: found "),
        ("har", line(200), ":1: file: not HAR 1.2: missing field `log`"),
    ] {
        let recording = file(&text);
        let run = run(["import", kind, "-o", output, &recording]);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{text}");
        assert!(run.stderr.starts_with(&format!("sluice: {recording}{mistake}")), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(!trace.exists());
    }
    for kind in ["envoy-log", "har"] {
        for missing in ["no/such/file", "tests"] {
            let run = run(["import", kind, missing]);
            assert_eq!((run.status, run.stdout.as_str()), (2, ""));
            assert!(
                run.stderr.starts_with(&format!("sluice: {missing}: cannot be read: ")),
                "{}",
                run.stderr
            );
        }
    }
}
