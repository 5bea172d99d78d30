//! `sluice diff`: which differences it lists for whom, what it leaves out, and its exit status.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use sluice_test_kit::program::{Run, module, run, sluice};

const OLD: &str = "tests/traces/tour.config.json";
const NEXT: &str = "tests/traces/tour.next.json";
const TRACE: &str = "tests/traces/tour.jsonl";

fn diff<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Run {
    let module = module().to_str().expect("UTF-8");
    run(["diff", "--wasm", module].into_iter().chain(arguments))
}

/// The differences between two configurations for a trace, as a JSON document.
fn found(old: &Value, new: &Value, trace: &str) -> (i32, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let [old, new] = [("old", old.to_string()), ("new", new.to_string())]
        .map(|(name, text)| written(folder.path(), name, text.as_bytes()));
    let trace = written(folder.path(), "day.jsonl", trace.as_bytes());
    let run = diff(["--format", "json", &old, &new, &trace]);
    (run.status, serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr)))
}

fn written(folder: &Path, name: &str, content: &[u8]) -> String {
    let file = folder.join(name);
    fs::write(&file, content).expect("a file");
    file.to_str().expect("UTF-8").to_owned()
}

/// The groups of a section as `count field change`.
fn groups(found: &Value, section: &str) -> Vec<String> {
    let groups = found[section]["groups"].as_array().expect("a list");
    let group = |group: &Value| {
        let text = |name: &str| group[name].as_str().expect("text").to_owned();
        format!("{} {} {}", group["exchanges"], text("field"), text("change"))
    };
    groups.iter().map(group).collect()
}

fn with_timeouts(timeouts: &Value) -> Value {
    json!({ "version": 1, "defaults": { "timeouts": timeouts } })
}

/// Requests whose upstreams respond after 1 s, 3 s and never.
const SLOW: &str = r#"{"at":"0s","id":"quick","request":{"path":"/1"},"upstream":{"after":"1s"}}
{"at":"0s","id":"slow","request":{"path":"/2"},"upstream":{"after":"3s"}}
{"at":"1ms","id":"stuck","request":{"path":"/3"},"upstream":{"end":"never"}}
"#;

#[test]
fn equal_configurations_have_no_difference() {
    let run = diff([OLD, OLD, TRACE]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let last = run.stdout.lines().last();
    assert_eq!(last, Some("clients see no difference"), "{}", run.stdout);
}

#[test]
fn differences_are_counted_for_clients_then_for_upstreams() {
    let (status, found) = found(
        &with_timeouts(&json!({ "request": "10s" })),
        &with_timeouts(&json!({ "request": "2s" })),
        SLOW,
    );
    assert_eq!((status, &found["exchanges"]), (1, &json!(3)));
    assert_eq!(found["client"]["exchanges"], 2, "the quick response is the same: {found}");
    assert_eq!(
        groups(&found, "client"),
        [
            "2 first_byte earlier by 1s or more",
            "2 last_byte earlier by 1s or more",
            "1 status 200 → 504",
        ]
    );
    let example = &found["client"]["groups"][2]["example"];
    assert_eq!(
        (&example["line"], &example["id"], &example["from"], &example["to"]),
        (&json!(2), &json!("slow"), &json!("200"), &json!("504"))
    );
    assert_eq!(
        groups(&found, "upstream"),
        ["3 headers.x-envoy-expected-rq-timeout-ms 10000 → 2000"]
    );
    assert_eq!(groups(&found, "decision"), [""; 0], "clients or upstreams see every difference");
}

#[test]
fn decisions_are_listed_if_nobody_else_sees_a_difference() {
    let (status, found) = found(
        &with_timeouts(&json!({ "request": "10s" })),
        &with_timeouts(&json!({ "request": "10s", "read": "4s" })),
        SLOW,
    );
    assert_eq!(groups(&found, "decision"), ["2 read_ms none → 4000"], "{found}");
    // The third request waits for its response longer than 4 s.
    assert_eq!((status, &found["client"]["exchanges"]), (1, &json!(1)));
}

#[test]
fn times_below_the_threshold_are_equal() {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = |name: &str, timeout: &str| {
        let text = with_timeouts(&json!({ "request": timeout })).to_string();
        written(folder.path(), name, text.as_bytes())
    };
    let [old, new] = [configuration("old", "2s"), configuration("new", "2005ms")];
    let trace = written(folder.path(), "day.jsonl", SLOW.as_bytes());
    assert_eq!(diff([&old, &new, &trace].map(String::as_str)).status, 0);
    let run = diff(["--threshold", "5ms", &old, &new, &trace]);
    assert_eq!(run.status, 1, "{}", run.stdout);
    assert!(run.stdout.contains("later by 1ms or more"), "{}", run.stdout);
}

#[test]
fn a_summary_fits_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let routes: Vec<Value> = (0..30)
        .map(|route| {
            let name = format!("a-route-with-a-very-long-name-{route}");
            json!({ "name": name, "match": { "path": { "prefix": format!("/{route}/") } },
                    "timeouts": { "request": "1s" } })
        })
        .collect();
    let new = json!({ "version": 1, "routes": routes }).to_string();
    let new = written(folder.path(), "new", new.as_bytes());
    let old = written(folder.path(), "old", br#"{"version":1}"#);
    let line = |number: usize| {
        format!(
            "{{\"at\":\"{number}ms\",\"request\":{{\"path\":\"/{}/{}\"}},\
             \"upstream\":{{\"after\":\"{number}ms\"}}}}\n",
            number % 30,
            "a".repeat(100)
        )
    };
    let trace: String = (0..3000).map(line).collect();
    let trace = written(folder.path(), "day.jsonl", trace.as_bytes());
    let run = diff([&old, &new, &trace].map(String::as_str));
    assert_eq!(run.status, 1);
    // The first line has the names of the files, which are as long as they are.
    let lines: Vec<&str> = run.stdout.lines().skip(1).collect();
    assert!(lines.len() < 24, "{}", run.stdout);
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{}", run.stdout);
    assert!(run.stdout.contains("more groups; --all prints them"), "{}", run.stdout);
    let all = diff(["--all", &old, &new, &trace]);
    assert!(all.stdout.lines().count() > 60 && !all.stdout.contains("--all"), "{}", all.stdout);
}

#[test]
fn text_of_a_trace_is_neither_markup_nor_an_escape_sequence() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = r#"{"at":"0s","request":{"path":"/<b>|`x`&\"","headers":[["x","y"]]},
        "upstream":{"after":"3s"}}"#
        .replace('\n', "");
    let trace = written(folder.path(), "a<i>.jsonl", trace.as_bytes());
    let [old, new] = [json!({}), json!({ "request": "1s" })].map(|timeouts| {
        let text = with_timeouts(&timeouts).to_string();
        written(folder.path(), &text.len().to_string(), text.as_bytes())
    });
    let of = |format| diff(["--format", format, &old, &new, &trace]).stdout;
    let html = of("html");
    assert!(html.contains("/&lt;b&gt;|`x`&amp;&quot;") && !html.contains("<b>"), "{html}");
    let markdown = of("markdown");
    assert!(markdown.contains("/<b>¦'x'&"), "{markdown}");
    assert!(!markdown.contains("`x`"), "{markdown}");
}

/// A module that responds to every request, and crashes if `crashes`.
fn guest(crashes: bool) -> Vec<u8> {
    let body = if crashes { "unreachable" } else { "nop" };
    let text = format!(
        r#"(module
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024)
            (func (export "proxy_on_log") (param i32) {body}))"#
    );
    wat::parse_str(text).expect("valid WebAssembly text")
}

#[test]
fn two_modules_can_be_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = written(folder.path(), "good.wasm", &guest(false));
    let bad = written(folder.path(), "bad.wasm", &guest(true));
    let trace = written(folder.path(), "day.jsonl", br#"{"at":"0s","request":{}}"#);
    assert_eq!(run(["diff", &good, &good, &trace]).status, 0);
    // The crash comes after the response, so that clients see nothing of it.
    let worse = run(["diff", &good, &bad, &trace]);
    assert_eq!(worse.status, 1, "{}", worse.stdout);
    let last = worse.stdout.lines().last().expect("a line");
    assert_eq!(last, "clients see no difference, but problems: 0 → 1");
    assert!(worse.stdout.contains(&format!("problem: {bad}: ")), "{}", worse.stdout);
}

#[test]
fn what_a_client_cannot_see_is_a_decision() {
    let config = |extra: &str| {
        let text =
            format!(r#"{{"version":1,"defaults":{{"timeouts":{{"request":"2s"}}}}{extra}}}"#);
        serde_json::from_str(&text).expect("JSON")
    };
    let (status, found) = found(&config(""), &config(r#","report":{"access_log":true}"#), SLOW);
    assert_eq!((status, &found["client"]["exchanges"]), (0, &json!(0)), "{found}");
    assert!(
        groups(&found, "decision").contains(&"2 reason none → request_timeout".to_owned()),
        "{found}"
    );
}

#[test]
fn a_comparison_of_nothing_is_not_a_success() {
    let folder = tempfile::tempdir().expect("a folder");
    let push = r#"{"at":"0s","configure":{"version":1}}"#;
    let empty = written(folder.path(), "push.jsonl", push.as_bytes());
    let run = diff([OLD, NEXT, &empty]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("found no request in the traces"), "{}", run.stderr);

    let pushed = written(
        folder.path(),
        "pushed.jsonl",
        format!("{push}\n{}", r#"{"at":"1s","request":{}}"#).as_bytes(),
    );
    let run = diff([OLD, NEXT, &pushed]);
    assert!(
        run.stdout.contains("pushed.jsonl:1 pushes a configuration, which replaces both"),
        "{}",
        run.stdout
    );

    let stopped = diff(["--max-instructions", "20000000", OLD, OLD, TRACE]);
    assert_eq!(stopped.status, 1, "a replay that a limit stops has failed: {}", stopped.stdout);
}

#[test]
fn configurations_can_be_yaml() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = written(folder.path(), "a.yaml", b"version: 1 # a comment");
    let json = written(folder.path(), "a.json", br#"{"version":1}"#);
    let run = diff([yaml.as_str(), json.as_str(), TRACE]);
    assert_eq!(run.status, 0, "{}{}", run.stdout, run.stderr);
}

#[test]
fn inputs_that_cannot_be_compared_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let module = written(folder.path(), "good.wasm", &guest(false));
    let bad = written(folder.path(), "bad.json", br#"{"version":1,"routes":7}"#);
    let missing = folder.path().join("missing").to_str().expect("UTF-8").to_owned();
    for (arguments, expected) in [
        (
            vec![OLD, &module, TRACE],
            format!(
                "{module} is a module and {OLD} is not; expected two configurations or two modules"
            ),
        ),
        (vec!["--config", OLD, OLD, NEXT, TRACE], format!("{OLD}: a second configuration: ")),
        (
            vec![OLD, &bad, "tests/traces/slow-pages.jsonl"],
            format!("{bad}: the plugin rejected its configuration: "),
        ),
        (vec![OLD, &missing, TRACE], format!("{missing}: cannot be read: ")),
        (vec![OLD, NEXT, &missing], format!("{missing}: cannot be read: ")),
        (
            vec![OLD, NEXT, "-"],
            "-: not a file that can be read twice; write it to a file first".to_owned(),
        ),
        (vec!["-o", NEXT, OLD, NEXT, TRACE], format!("{NEXT}: this command reads the file; ")),
    ] {
        let run = diff(arguments.iter().copied());
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(run.stderr.starts_with(&format!("sluice: {expected}")), "{}", run.stderr);
    }
}

#[test]
fn a_mistake_in_a_later_line_ends_the_comparison_with_what_came_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = written(folder.path(), "day.jsonl", format!("{SLOW}{{\"at\":7}}\n").as_bytes());
    let run = diff([OLD, NEXT, &trace]);
    assert_eq!(run.status, 2);
    assert!(run.stdout.contains("3 exchanges compared"), "{}", run.stdout);
    assert!(run.stderr.contains("day.jsonl:4") && run.stderr.contains("before"), "{}", run.stderr);
}

/// A report of one side must not wait for the other side, which runs ahead of it.
#[test]
fn an_exchange_that_takes_longer_on_one_side_does_not_stop_the_comparison() {
    let line = |number: usize| {
        format!("{{\"at\":\"{number}ms\",\"request\":{{\"path\":\"/{number}\"}}}}\n")
    };
    let endless = r#"{"at":"0s","request":{"path":"/slow"},"upstream":{"after":"20s"}}"#;
    let trace: String = [format!("{endless}\n")].into_iter().chain((0..10_000).map(line)).collect();
    let (status, found) = found(
        &with_timeouts(&json!({ "request": "1s" })),
        &with_timeouts(&json!({ "request": "30s" })),
        &trace,
    );
    assert_eq!((status, &found["exchanges"]), (1, &json!(10_001)));
    assert_eq!(found["client"]["exchanges"], 1);
    assert_eq!(found["client"]["groups"][0]["change"], "504 → 200");
}

#[test]
fn standard_input_is_not_waited_for() {
    let mut command = sluice(["diff", OLD, NEXT, "-"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let status = child.expect("the program starts").wait().expect("the program ends");
    assert_eq!(status.code(), Some(2));
}
