//! Filters and traces that would use too much: each run ends, with one sentence.

use std::fs;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use sluice_test_kit::program::{Run, run, sluice};

const BASE: &str = r#"
    (import "env" "proxy_set_tick_period_milliseconds"
      (func $set_tick_period (param i32) (result i32)))
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (memory (export "memory") 16)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024)"#;

fn replayed(parts: &str, trace: &str, arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let wasm = wat::parse_str(format!("(module {BASE} {parts})")).expect("valid WebAssembly text");
    let (module, file) = (folder.path().join("guest.wasm"), folder.path().join("day.jsonl"));
    fs::write(&module, wasm).expect("a file");
    fs::write(&file, trace).expect("a file");
    let [module, file] = [&module, &file].map(|path| path.to_str().expect("UTF-8"));
    run(["replay", "--wasm", module].into_iter().chain(arguments.iter().copied()).chain([file]))
}

/// A guest that ticks each millisecond and executes some instructions in each tick.
fn ticks(iterations: u32) -> String {
    format!(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick_period (i32.const 1))) i32.const 1)
           (func (export "proxy_on_tick") (param i32) (local $n i32)
             (loop $more
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if $more (i32.lt_u (local.get $n) (i32.const {iterations})))))"#
    )
}

/// Two requests that are 31 years apart.
const YEARS: &str = concat!(
    r#"{"at":"0s","request":{},"expect":{"status":200}}"#,
    "\n",
    r#"{"at":"1000000000s","request":{},"expect":{"status":200}}"#
);

#[test]
fn endless_ticks_end_with_the_total_budget() {
    for (iterations, instructions) in [(1, "1000000"), (1_000_000, "20000000")] {
        let run = replayed(&ticks(iterations), YEARS, &["--max-instructions", instructions]);
        assert_eq!((run.status, run.stderr.as_str()), (1, ""), "{}", run.stdout);
        let line = run.words();
        assert!(line.contains("day.jsonl:2: the replay stopped before this event"), "{line}");
        assert!(line.contains("(--max-instructions)"), "{line}");
    }
    // There is such a budget by default.
    let hour = YEARS.replace("1000000000s", "1h");
    let run = replayed(&ticks(10), &hour, &["--workers", "1"]);
    assert_eq!(run.status, 0, "3.6 million ticks: {}{}", run.stdout, run.stderr);
}

#[test]
fn the_time_of_a_command_is_limited() {
    let run = replayed(&ticks(1000), YEARS, &["--max-time", "300ms"]);
    assert_eq!((run.status, run.stderr.as_str()), (1, ""), "{}", run.stdout);
    assert!(
        run.words().contains("the command has run for 300ms; raise --max-time"),
        "{}",
        run.stdout
    );
    let run = replayed("", YEARS, &["--max-time", "1h"]);
    assert_eq!(run.status, 0, "{}", run.stdout);
}

/// Replays a pipe that stays open after `text`.
fn replayed_from_open_pipe(text: &str) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.json");
    fs::write(&file, "{}").expect("a file");
    let config = file.to_str().expect("UTF-8");
    let arguments = ["replay", "--without-filter", "--config", config, "--max-time", "1s", "-"];
    let mut command = sluice(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(text.as_bytes()).expect("the program reads");
    let output = child.wait_with_output().expect("the program ends");
    drop(pipe);
    let [stdout, stderr] = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8(bytes).expect("sluice prints UTF-8"));
    Run { status: output.status.code().expect("a status"), stdout, stderr }
}

#[test]
fn a_pipe_that_stalls_does_not_exceed_the_time() {
    let event = "{\"at\":\"0s\",\"request\":{},\"expect\":{\"status\":200}}\n";
    for rest in ["", "{\"at\":\"1s\",\"requ"] {
        let run = replayed_from_open_pipe(&[event, rest].concat());
        assert_eq!((run.status, run.stderr.as_str()), (1, ""), "{}", run.stdout);
        assert!(
            run.words().contains("the command has run for 1s; raise --max-time"),
            "{}",
            run.stdout
        );
    }
    let nothing =
        "sluice: standard input: cannot be read: the command has run for 1s; raise --max-time";
    let run = replayed_from_open_pipe("");
    assert_eq!((run.status, run.stderr.trim_end()), (2, nothing), "{}", run.stdout);
}

#[test]
fn a_named_pipe_without_a_writer_does_not_exceed_the_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo exists");
    assert!(made.success());
    let pipe = pipe.to_str().expect("UTF-8");
    let run = run(["replay", "--without-filter", "--max-time", "300ms", pipe]);
    assert_eq!(run.status, 2, "{}", run.stdout);
    assert!(run.stderr.contains("the command has run for 300ms"), "{}", run.stderr);
}

#[test]
fn the_report_keeps_a_limited_log() {
    let logs = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $log (i32.const 4) (i32.const 0) (i32.const 1000000))) i32.const 0)"#;
    let line = |second: u32| {
        format!("{{\"at\":\"{second}s\",\"request\":{{}},\"expect\":{{\"status\":200}}}}\n")
    };
    let trace: String = (0..40).map(line).collect();
    let run = replayed(logs, &trace, &["--format", "json"]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let report = &report["replays"][0];
    assert_eq!(report["log"].as_array().expect("a list").len(), 16);
    assert_eq!(report["omitted_log_lines"], 24);
    let run = replayed(logs, &trace, &[]);
    assert!(run.stdout.contains("24 more lines of the log were dropped"));
}

#[test]
fn large_headers_of_many_exchanges_are_not_kept() {
    let adds = r#"(import "env" "proxy_add_header_map_value"
          (func $add (param i32 i32 i32 i32 i32) (result i32)))"#;
    let parts = r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (drop (call $add (i32.const 2) (i32.const 2048) (i32.const 3) (i32.const 8192)
          (i32.const 900000))) i32.const 0)
        (data (i32.const 2048) "x-a")"#;
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("(module {adds} {BASE} {parts})");
    let module = folder.path().join("guest.wasm");
    fs::write(&module, wat::parse_str(text).expect("valid WebAssembly text")).expect("a file");
    let file = folder.path().join("day.jsonl");
    let line = |second: u32| {
        format!(
            "{{\"at\":\"{second}s\",\"request\":{{}},\"expect\":{{\"headers\":{{\"x-b\":\"1\"}}}}}}\n"
        )
    };
    fs::write(&file, (0..90).map(line).collect::<String>()).expect("a file");
    let [module, file] = [&module, &file].map(|path| path.to_str().expect("UTF-8"));
    let run = run(["replay", "--wasm", module, "--format", "json", file]);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let exchanges = report["replays"][0]["exchanges"].as_array().expect("a list");
    let truncated = exchanges.iter().filter(|exchange| exchange["truncated"] == true).count();
    assert_eq!(truncated, 90 - (64 << 20) / 896_000, "{}", exchanges.len());
    assert_eq!(report["failed"], 90, "the headers are compared before they are dropped");
}

#[test]
fn a_function_that_is_costly_to_compile_is_rejected() {
    let large = format!("(func {})", "(drop (i32.const 1))".repeat(400_000));
    let run = replayed(&large, YEARS, &[]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    let sentence = "guest.wasm: function 4 has 1200002 bytes, expected at most 1048576; raise";
    assert!(run.stderr.contains(sentence), "{}", run.stderr);
    assert!(run.stderr.contains("(--max-function-bytes)"), "{}", run.stderr);
    let run = replayed(&large, YEARS, &["--max-function-bytes", "2000000"]);
    assert_eq!(run.status, 0, "{}", run.stderr);
}
