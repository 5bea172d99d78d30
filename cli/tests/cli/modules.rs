//! Modules that are not filters, and filters that crash.

use std::fs;
use std::path::Path;

use serde_json::Value;

use sluice_test_kit::program::{Run, run};

const TRACE: &str = r#"{"at":"0s","id":"r","connection":"c","request":{},"expect":{"status":503}}"#;

/// A module with the exports that every filter needs, and `more`.
fn guest(more: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {more}
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024))"#
    );
    wat::parse_str(text).expect("valid WebAssembly text")
}

fn replayed(folder: &Path, module: &[u8], arguments: &[&str]) -> Run {
    let (wasm, trace) = (folder.join("guest.wasm"), folder.join("day.jsonl"));
    fs::write(&wasm, module).expect("a file");
    fs::write(&trace, TRACE).expect("a file");
    let [wasm, trace] = [&wasm, &trace].map(|path| path.to_str().expect("UTF-8"));
    run(["replay", "--wasm", wasm].into_iter().chain(arguments.iter().copied()).chain([trace]))
}

#[test]
fn a_module_that_is_not_a_filter_is_rejected_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let parse = |text: &str| wat::parse_str(text).expect("valid WebAssembly text");
    let mut cut = guest("");
    cut.truncate(cut.len() / 2);
    for (module, reason) in [
        (b"not wasm".to_vec(), "guest.wasm: "),
        (Vec::new(), "guest.wasm: "),
        (cut, "guest.wasm: "),
        (parse("(module)"), "proxy_abi_version_"),
        (
            parse(
                r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_1_0")))"#,
            ),
            "proxy_abi_version_0_1_0",
        ),
        (parse(r#"(module (func (export "proxy_abi_version_0_2_1")))"#), "does not export memory"),
        (
            guest(r#"(import "env" "proxy_read_my_mail" (func (param i32) (result i32)))"#),
            "proxy_read_my_mail",
        ),
        (guest(r#"(import "env" "proxy_log" (func (param i32) (result i32)))"#), "proxy_log"),
        (
            guest(
                r#"(func (export "proxy_on_configure") (param i64 i32) (result i32) i32.const 1)"#,
            ),
            "proxy_on_configure",
        ),
    ] {
        let run = replayed(folder.path(), &module, &[]);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{reason}: {}", run.stderr);
        assert!(run.stderr.starts_with("sluice: "), "{}", run.stderr);
        assert!(run.stderr.contains("guest.wasm: "), "the file is named: {}", run.stderr);
        assert!(run.stderr.contains(reason), "expected {reason}, got {}", run.stderr);
        assert!(run.stderr.len() < 1_000, "a short sentence: {}", run.stderr);
    }
}

#[test]
fn a_missing_module_is_named() {
    let run = run(["replay", "--wasm", "no/such.wasm", "tests/traces/tour.jsonl"]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("no/such.wasm: cannot be read: "), "{}", run.stderr);
}

#[test]
fn a_guest_that_fails_to_configure_is_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let configure = |body: &str| {
        guest(&format!(
            r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) {body})"#
        ))
    };
    for (what, body) in [
        ("refuses", "i32.const 0"),
        ("traps", "unreachable"),
        ("loops forever", "(loop (br 0)) i32.const 1"),
        ("grows forever", "(loop (drop (memory.grow (i32.const 16))) (br 0)) i32.const 1"),
        ("recurses forever", "(call 0 (local.get 0) (local.get 1))"),
        ("reads beyond its memory", "(i32.load (i32.const 0x7ffffff0))"),
    ] {
        let run = replayed(folder.path(), &configure(body), &[]);
        assert_eq!(
            (run.status, run.stdout.as_str()),
            (2, ""),
            "a guest that {what}: {}",
            run.stderr
        );
        let begin = "sluice: the plugin rejected its configuration: ";
        assert!(run.stderr.contains(begin), "a guest that {what}: {}", run.stderr);
    }
}

#[test]
fn a_crash_in_a_request_is_reported_as_a_503() {
    let folder = tempfile::tempdir().expect("a folder");
    for body in ["unreachable", "(loop (br 0)) i32.const 0"] {
        let module = guest(&format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {body})"#
        ));
        let run = replayed(folder.path(), &module, &["--format", "json"]);
        let result: Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert_eq!(run.status, 1, "{body}: {}", run.stdout);
        let traps = result["replays"][0]["traps"].as_array().expect("a list").len();
        assert_eq!(traps, 1, "{body}");
        let log = result["replays"][0]["log"].to_string();
        assert!(log.contains("proxy_on_request_headers"), "{body}: the callback is named in {log}");
    }
}

#[test]
fn a_guest_without_callbacks_forwards_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = replayed(folder.path(), &guest(""), &[]);
    assert_eq!(run.status, 1, "{}", run.stderr);
    assert!(run.stdout.contains("expected status 503, got 200"), "{}", run.stdout);
}
