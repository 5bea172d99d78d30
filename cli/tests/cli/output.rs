//! The output of `sluice`, its destination, and the exit status.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use sluice_test_kit::program::{replay, root, run, sluice};

const CONFIGURATION: &str = "tests/traces/tour.config.json";
const TRACE: &str = "tests/traces/tour.jsonl";

#[test]
fn help_names_every_command_and_option() {
    let text = run(["--help"]);
    assert_eq!((text.status, text.stderr.as_str()), (0, ""));
    for command in ["replay", "diff", "check", "explain", "import", "schema"] {
        assert!(text.stdout.contains(&format!("\n  {command} ")), "{}", text.stdout);
    }
    let text = run(["replay", "--help"]).stdout;
    for option in [
        "--config",
        "--wasm",
        "--profile",
        "--workers",
        "--seed",
        "--format",
        "-o",
        "--without-filter",
    ] {
        assert!(text.contains(option), "no {option} in\n{text}");
    }
}

#[test]
fn help_states_the_exit_status_of_every_command() {
    for command in [
        &["replay"][..],
        &["diff"],
        &["check"],
        &["explain"],
        &["import", "envoy-log"],
        &["import", "nginx-log"],
        &["import", "har"],
        &["schema"],
        &["completions"],
        &["drain", "start"],
        &["drain", "status"],
        &["drain", "end"],
    ] {
        let help = run(command.iter().copied().chain(["--help"]));
        assert_eq!(help.status, 0, "{command:?}");
        assert!(help.stdout.contains("Exit status: 0"), "{command:?}: {}", help.stdout);
    }
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(["completions", shell]);
        assert_eq!((script.status, script.stderr.as_str()), (0, ""), "{shell}");
        assert!(script.stdout.contains("without-filter"), "{shell}: {}", script.stdout);
    }
    // bash itself accepts the script.
    let script = run(["completions", "bash"]).stdout;
    let status = Command::new("bash").args(["-n", "-c", &script]).status();
    assert!(status.expect("bash is installed").success());
}

#[test]
fn invalid_arguments_are_bad_input() {
    for arguments in [
        &[][..],
        &["replay"],
        &["replay", "--quiet", "--all", TRACE],
        &["replay", "--workers", "0", TRACE],
        &["replay", "--seed", "-1", TRACE],
        &["replay", "--profile", "nginx", TRACE],
        &["replay", "--format", "yaml", TRACE],
        &["replay", "--without-filter", "--wasm", "x.wasm", TRACE],
        &["replya"],
        &["check"],
        &["import"],
        &["import", "envoy-log"],
        &["import", "pcap", TRACE],
        &["explain", "--config", CONFIGURATION],
    ] {
        let run = run(arguments);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(run.stderr.contains("--help"), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn standard_input_is_read_once() {
    let run = run(["replay", "--without-filter", "-", "-"]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert_eq!(run.stderr, "sluice: -: not a file that can be read twice; name it once\n");
}

#[test]
fn a_file_has_the_same_output_as_a_pipe() {
    let folder = tempfile::tempdir().expect("a folder");
    for format in ["json", "table"] {
        let file = folder.path().join(format);
        let output = file.to_str().expect("UTF-8");
        let printed = replay(["--format", format, "--config", CONFIGURATION, TRACE]);
        let written = replay(["--format", format, "--config", CONFIGURATION, "-o", output, TRACE]);
        assert_eq!((written.status, written.stdout.as_str(), written.stderr.as_str()), (0, "", ""));
        assert_eq!(fs::read_to_string(&file).expect("the file"), printed.stdout);
    }
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let run = replay(["--config", CONFIGURATION, "-o", "no/such/folder/result", TRACE]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("no/such/folder/result: cannot be written: "), "{}", run.stderr);
}

/// An input can be a recording that cannot be repeated. It can have several names.
#[test]
fn a_command_never_overwrites_its_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (trace, configuration, alias) = (place("trace"), place("configuration"), place("alias"));
    fs::copy(root().join(TRACE), &trace).expect("a trace");
    fs::copy(root().join(CONFIGURATION), &configuration).expect("a configuration");
    fs::hard_link(&trace, &alias).expect("a second name");
    let before = [&trace, &configuration].map(|file| fs::read(file).expect("a file"));
    for output in [&trace, &configuration, &alias] {
        let expected = (
            2,
            format!(
                "sluice: {output}: this command reads the file; expected another file for -o\n"
            ),
        );
        let replayed = replay(["--config", &configuration, "-o", output, &trace]);
        assert_eq!((replayed.status, replayed.stderr), expected);
        if output != &configuration {
            let imported = run(["import", "envoy-log", "-o", output, &trace]);
            assert_eq!((imported.status, imported.stderr), expected);
            let stdin = fs::File::open(&trace).expect("the trace");
            let piped = sluice(["import", "har", "-o", output, "-"]).stdin(stdin).output();
            let piped = piped.expect("the program runs");
            let stderr = String::from_utf8(piped.stderr).expect("UTF-8");
            assert_eq!((piped.status.code().unwrap_or(0), stderr), expected);
        }
    }
    assert_eq!([&trace, &configuration].map(|file| fs::read(file).expect("a file")), before);
}

/// As in `sluice … | head -1`.
#[test]
fn a_closed_pipe_is_not_an_error() {
    let module = sluice_test_kit::program::module().to_str().expect("UTF-8");
    let arguments = [
        "--config",
        "tests/traces/blue-green.config.json",
        "--format",
        "json",
        "tests/traces/blue-green.jsonl",
    ];
    let mut child = sluice(["replay", "--wasm", module].into_iter().chain(arguments))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut first = String::new();
    let mut reader = BufReader::with_capacity(64, child.stdout.take().expect("a pipe"));
    reader.read_line(&mut first).expect("a line");
    drop(reader);
    let output = child.wait_with_output().expect("the program ends");
    assert!(!first.is_empty());
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
        (Some(0), "")
    );
}

#[test]
fn colors_are_only_for_terminals() {
    assert!(
        !replay(["--config", CONFIGURATION, TRACE]).stdout.contains('\x1b'),
        "a pipe has no colors"
    );
    assert!(on_terminal(&[]).contains("\x1b[32m"), "a terminal has colors");
    assert!(!on_terminal(&[("NO_COLOR", "1")]).contains('\x1b'), "NO_COLOR disables them");
    assert!(on_terminal(&[("NO_COLOR", "")]).contains("\x1b[32m"), "an empty NO_COLOR does not");
    let always = run(["--color", "always", "check", CONFIGURATION]).stdout;
    assert!(always.contains("\x1b[32m"), "--color takes precedence: {always}");
}

/// The output of `sluice check` on a terminal, which `script` of util-linux emulates.
fn on_terminal(environment: &[(&str, &str)]) -> String {
    let program = sluice([""; 0]).get_program().to_str().expect("UTF-8").to_owned();
    let output = Command::new("script")
        .current_dir(root())
        .env_remove("NO_COLOR")
        .envs(environment.iter().copied())
        .args(["-qec", &format!("'{program}' check --config {CONFIGURATION}"), "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("`script` is installed (Debian: bsdutils)");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn several_traces_end_with_one_verdict() {
    let run = replay(["--config", CONFIGURATION, TRACE, "tests/traces/slow-pages.jsonl", TRACE]);
    assert_eq!(run.status, 1, "one of the three traces fails with this configuration");
    let last = run.stdout.lines().last().expect("a last line");
    assert!(last.starts_with("3 traces: ") && last.ends_with(" expectations failed"), "{last}");
}

#[test]
fn json_is_one_document_for_all_traces() {
    let run = replay(["--format", "json", "--config", CONFIGURATION, TRACE, TRACE]);
    let result: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(run.status, 0);
    assert_eq!(result["failed"], 0);
    assert_eq!(result["replays"].as_array().map(Vec::len), Some(2));
    assert!(result["expected"].as_u64() > Some(100), "{}", result["expected"]);
    assert!(run.stdout.ends_with('\n'));
}

/// 100 requests, each with two expectations that fail, and long texts everywhere.
fn failing_trace(folder: &std::path::Path) -> String {
    let line = |number: usize| {
        format!(
            "{{\"at\":\"{}s\",\"id\":\"r{number}\",\"connection\":\"a-connection-with-a-long-name\",\
             \"request\":{{\"path\":\"/{}\"}},\"upstream\":{{\"body\":[{{\"bytes\":7}}]}},\
             \"expect\":{{\"status\":404,\"headers.x\":\"{}\",\"body_bytes\":7}}}}\n",
            number * 10,
            "a".repeat(100),
            "word ".repeat(40)
        )
        .replace("\"headers.x\":", "\"headers\":{\"x\":")
        .replace(",\"body_bytes\"", "},\"body_bytes\"")
    };
    let text: String = (0..100).map(line).collect();
    let file = folder.join("day.jsonl");
    fs::write(&file, text).expect("a file");
    file.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_report_begins_with_a_summary_and_fits_80_columns() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = failing_trace(folder.path());
    let report = run(["replay", "--without-filter", &trace]);
    assert_eq!(report.status, 1, "{}", report.stderr);
    let lines: Vec<&str> = report.stdout.lines().collect();
    assert_eq!(
        lines[1],
        "100 exchanges, 1 connection, 0 closed by the proxy: 200 of 300 expectations failed"
    );
    assert_eq!(lines[2..4], ["    100  -  headers.x", "    100  -  status"]);
    // The names of files are as long as they are, and stand on a line of their own.
    assert!(lines[2..].iter().all(|line| line.chars().count() <= 80), "{}", report.stdout);
    let failed = lines.iter().filter(|line| line.ends_with("✗ 2 of 3 failed")).count();
    assert_eq!(failed, 20, "{}", report.stdout);
    assert_eq!(lines.last(), Some(&"… 80 more failed events; --all prints them"));

    let all = run(["replay", "--without-filter", "--all", &trace]).stdout;
    assert_eq!(all.matches("✗ 2 of 3 failed").count(), 100, "{all}");

    let quiet = run(["replay", "--without-filter", "-q", &trace]);
    assert_eq!(quiet.status, 1);
    assert_eq!(quiet.stdout, format!("{trace}: {}\n", lines[1]));
}

#[test]
fn events_without_a_failure_are_only_printed_with_all() {
    let report = replay(["--config", CONFIGURATION, TRACE]);
    assert_eq!((report.status, report.stdout.lines().count()), (0, 2), "{}", report.stdout);
    let all = replay(["--config", CONFIGURATION, "--all", TRACE]).stdout;
    assert!(all.contains("configuration rejected") && all.contains("shared data"), "{all}");
    assert!(all.lines().all(|line| line.chars().count() <= 80), "{all}");
}

#[test]
fn a_filter_without_a_configuration_is_pointed_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("day.jsonl");
    fs::write(&trace, r#"{"at":"0s","request":{},"expect":{"status":200}}"#).expect("a file");
    let trace = trace.to_str().expect("UTF-8");
    let refused = run(["replay", trace]);
    assert_eq!(refused.status, 2, "{}", refused.stdout);
    assert!(refused.stderr.ends_with("; pass one with --config FILE\n"), "{}", refused.stderr);

    // The only configuration of this trace is one that the filter rejects.
    let hint = "the filter ran without a configuration; --config FILE passes it one\n";
    let report = run(["replay", TRACE]);
    assert!(report.status == 1 && report.stdout.ends_with(hint), "{}", report.stdout);
    for arguments in [
        &["replay", "--config", CONFIGURATION, trace][..],
        &["replay", "--without-filter", trace],
        &["replay", "docs/first-trace.jsonl"],
    ] {
        let report = run(arguments);
        assert_eq!(report.status, 0, "{arguments:?}: {}", report.stderr);
        assert!(!report.stdout.contains(hint), "{arguments:?}: {}", report.stdout);
    }
}

#[test]
fn the_module_of_the_environment_is_used() {
    let mut command = sluice(["replay", TRACE]);
    command.env("SLUICE_WASM", "no/such/module.wasm");
    let run = sluice_test_kit::program::finish(command);
    assert_eq!(run.status, 2);
    assert!(
        run.stderr.starts_with("sluice: no/such/module.wasm: cannot be read"),
        "{}",
        run.stderr
    );
}

/// Outside of a clone, far from any `target` folder.
#[test]
fn the_program_contains_the_filter() {
    sluice_test_kit::program::module();
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("sluice");
    fs::copy(sluice([""; 0]).get_program(), &program).expect("a copy of the program");
    let trace = failing_trace(folder.path());
    fs::write(folder.path().join("config.json"), r#"{"version":1}"#).expect("a file");
    let output = Command::new(&program)
        .current_dir(folder.path())
        .args(["replay", "--no-module-cache", "--config", "config.json", &trace])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}
