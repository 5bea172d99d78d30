//! `sluice explain`: the route of a request, the conditions that failed before it, and the effects.

use sluice_test_kit::program::run;

const CONFIGURATION: &str = "tests/traces/kapacitor-logs.config.json";

fn explain(arguments: &[&str]) -> String {
    let run = run(["explain", "--config", CONFIGURATION].iter().chain(arguments));
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    run.stdout
}

#[test]
fn a_route_is_shown_with_its_effects() {
    let text = explain(&["http://kapacitor.example.com:9092/kapacitor/v1preview/logs?task=cpu"]);
    assert!(text.starts_with("✓ logs\n"), "{text}");
    assert!(text.contains("x-accel-buffering: no"), "{text}");
    assert!(text.contains("no timeout for the whole request"), "{text}");
}

#[test]
fn earlier_routes_are_shown_with_their_failed_conditions() {
    let text = explain(&["-X", "POST", "/kapacitor/v1preview/logs"]);
    let lines: Vec<&str> = text.lines().collect();
    let at = |line: &str| lines.iter().position(|other| *other == line);
    assert_eq!(at("✗ logs"), Some(0), "{text}");
    assert!(
        lines[1].contains("method") && lines[1].contains("GET") && lines[1].contains("POST"),
        "{text}"
    );
    assert!(at("✗ ping") < at("✗ api"), "{text}");
    assert!(at("✗ api") < at("✓ no route matches: defaults"), "{text}");
}

#[test]
fn headers_route_name_and_policy_are_matched() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.json");
    let document = r#"{"version":1,"routes":[
        {"name":"json","match":{"headers":[{"name":"accept","contains":"json"}]}},
        {"name":"named","match":{"route_name":"backend"}},
        {"name":"policed","match":{"policy":"slow"}}]}"#;
    std::fs::write(&file, document).expect("a file");
    let file = file.to_str().expect("UTF-8");
    for (arguments, route) in [
        (&["-H", "Accept: application/json", "/"][..], "✓ json"),
        (&["--route-name", "backend", "/"], "✓ named"),
        (&["--policy", "slow", "/"], "✓ policed"),
        (&["-H", "accept: text/html", "/"], "✓ no route matches: defaults"),
    ] {
        let run = run(["explain", "--config", file].iter().chain(arguments));
        assert!(run.stdout.lines().any(|line| line == route), "{arguments:?}: {}", run.stdout);
    }
}

#[test]
fn an_invalid_request_is_an_error_of_one_sentence() {
    for (arguments, sentence) in [
        (&["example.com/x"][..], r#"sluice: "example.com/x" is not a URL; expected one such as"#),
        (&["-H", "accept", "/"], r#"sluice: -H "accept" has no colon"#),
        (&["-H", ": x", "/"], r#"sluice: -H ": x" has no name"#),
    ] {
        let run = run(["explain", "--config", CONFIGURATION].iter().chain(arguments));
        assert_eq!((run.status, run.stdout.as_str()), (2, ""));
        assert!(run.stderr.starts_with(sentence), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}
