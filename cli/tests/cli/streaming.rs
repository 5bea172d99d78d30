//! Traces that are read while they are replayed: from a pipe, and with reports that do not fit into
//! memory or onto the disk.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use sluice_test_kit::program::{Run, finish, module, replay, root, run as program, sluice};

const CONFIGURATION: &str = "tests/traces/tour.config.json";
const TRACE: &str = "tests/traces/tour.jsonl";

/// A trace whose report takes more memory than the program keeps.
fn long_trace() -> String {
    let line = |number: u32| {
        format!(
            "{{\"at\":\"{number}ms\",\"id\":\"r{number}\",\"request\":{{\"path\":\"/{}\"}},\
             \"expect\":{{\"status\":200}}}}\n",
            "a".repeat(400)
        )
    };
    (0..30_000).map(line).collect()
}

#[test]
fn a_pipe_gives_the_same_report_as_a_file() {
    let text = fs::read(root().join(TRACE)).expect("the trace");
    for input in ["-", "/dev/stdin"] {
        let module = module().to_str().expect("UTF-8");
        let arguments = ["replay", "--wasm", module, "--config", CONFIGURATION, input];
        let mut child = sluice(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        for part in text.chunks(1000) {
            pipe.write_all(part).expect("the program reads");
        }
        drop(pipe);
        let output = child.wait_with_output().expect("the program ends");
        let name = if input == "-" { "standard input" } else { input };
        let file = replay(["--config", CONFIGURATION, TRACE]);
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(printed, file.stdout.replace(TRACE, name));
        assert_eq!(output.status.code(), Some(file.status));
    }
}

/// The reports of both formats, once in memory and once sorted on disk.
#[test]
fn a_long_report_is_in_the_order_of_the_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("long.jsonl");
    fs::write(&file, long_trace()).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let run = program(["replay", "--without-filter", "--format", "json", file]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(report["expected"], 30_000);
    for (list, field) in [("exchanges", "id"), ("connections", "name")] {
        let entries = report["replays"][0][list].as_array().expect("a list");
        assert_eq!(entries.len(), 30_000);
        for (number, entry) in entries.iter().enumerate() {
            assert_eq!(entry[field], format!("r{number}"));
        }
    }
    let run = program(["replay", "--without-filter", "--all", file]);
    let rows: Vec<&str> = run.stdout.lines().filter(|line| line.contains("GET /")).collect();
    assert_eq!(rows.len(), 30_000);
    for (number, row) in rows.iter().enumerate() {
        assert!(row.contains(&format!(" r{number} ")), "{row}");
    }
}

#[test]
fn a_full_disk_ends_the_command_and_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("long.jsonl");
    fs::write(&file, long_trace()).expect("a file");
    let output = folder.path().join("report.json");
    let limited = |limit: &str, trace: &str| -> Run {
        let program = sluice([""; 0]).get_program().to_owned();
        let mut shell = Command::new("sh");
        // Without the signal, a file that is too long is an error of the write, as a full disk is.
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\"");
        shell.args(["-c", &script, "sh"]).arg(program).current_dir(root());
        shell.args(["replay", "--without-filter", "--format", "json", "-o"]).arg(&output);
        shell.arg(trace);
        finish(shell)
    };
    let file = file.to_str().expect("UTF-8");
    for (limit, trace, place) in
        [("64", file, "a temporary file in "), ("4", TRACE, "report.json: cannot be written: ")]
    {
        let run = limited(limit, trace);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{}", run.stderr);
        assert!(run.stderr.contains(place), "{limit}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
        assert_eq!(left.len(), 1, "only the trace is left: {left:?}");
    }
    let full = replay(["--config", CONFIGURATION, "-o", "/dev/full", TRACE]);
    assert_eq!(full.status, 2);
    assert!(full.stderr.contains("/dev/full: cannot be written: "), "{}", full.stderr);
}

#[test]
fn an_output_keeps_its_permissions_and_its_links() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let (file, link) = (folder.path().join("report"), folder.path().join("link"));
    fs::write(&file, "old").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("permissions");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    let output = link.to_str().expect("UTF-8");
    let run = replay(["--config", CONFIGURATION, "-o", output, TRACE]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let metadata = fs::symlink_metadata(&file).expect("the file");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
    assert!(fs::read_to_string(&file).expect("the file").starts_with(TRACE));
}
