//! `sluice check` on files of Envoy, Istio and Envoy Gateway, on YAML, and on several files.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use sluice_test_kit::program::{Run, root, run, sluice};

/// An Envoy with Sluice in the chain. The configuration of the filter replaces `CONFIGURATION`.
const ENVOY: &str = r#"static_resources:
  listeners:
    - name: ingress
      filter_chains:
        - filters:
            - name: http
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                normalize_path: true
                route_config:
                  virtual_hosts:
                    - routes:
                        - match: { prefix: / }
                          route: { cluster: service }
                http_filters:
                  - name: bridge
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher
                      xds_matcher: { matcher_tree: { input: { typed_config: { header_name: x-sluice-drain } } } }
                  - name: sluice
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                      config:
                        failure_policy: FAIL_RELOAD
                        vm_config: { vm_id: sluice }
                        configuration:
                          "@type": type.googleapis.com/google.protobuf.StringValue
                          value: 'CONFIGURATION'
                  - name: authorization
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz }
                  - name: router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters: [{ name: service }, { name: etcd }]
"#;

const DRAIN: &str = r#"{"version":1,"drain":{"control":{"cluster":"etcd","format":"etcd-v3","key":"k"}},"routes":[{"name":"a","match":{"path":{"prefix":"/a"}}}]}"#;

/// Checks `text` as a file with this name.
fn checked(name: &str, text: &str, options: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    fs::write(&file, text).expect("a file");
    let mut command = sluice(["check"]);
    command.args(options).arg(name).current_dir(folder.path());
    sluice_test_kit::program::finish(command)
}

fn envoy(configuration: &str) -> String {
    ENVOY.replace("CONFIGURATION", configuration)
}

fn warnings(run: &Run) -> Vec<&str> {
    run.stdout.lines().filter_map(|line| line.strip_prefix("warning: ")).collect()
}

#[test]
fn the_examples_have_no_warnings() {
    for file in [
        "static/envoy.yaml",
        "fleet/envoy.yaml",
        "grpc-health/envoy.yaml",
        "streaming-ai/envoy.yaml",
        "istio/sluice.yaml",
        "envoy-gateway/sluice.yaml",
        "drain-bridge/filter.yaml",
        "kubernetes/filter.yaml",
    ] {
        let run = run(["check", "--strict", &format!("envoy-examples/{file}")]);
        assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{file}: {}", run.stdout);
        assert!(run.stdout.ends_with(", 0 warnings\n"), "{file}: {}", run.stdout);
    }
}

#[test]
fn a_sound_chain_has_no_warning_and_each_fault_has_one() {
    let sound = envoy(DRAIN);
    let run = checked("envoy.yaml", &sound, &["--strict"]);
    assert_eq!((run.status, warnings(&run)), (0, vec![]), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.ends_with("envoy.yaml:24: accepted, 1 route, 0 warnings\n"),
        "{}",
        run.stdout
    );

    let moved = {
        let at = sound.find("                  - name: authorization").expect("the filter");
        let end = sound.find("                  - name: router").expect("the router");
        let filter = &sound[at..end];
        let rest = sound.replace(filter, "");
        rest.replacen(
            "                  - name: sluice",
            &format!("{filter}                  - name: sluice"),
            1,
        )
    };
    let bridge = {
        let at = sound.find("                  - name: bridge").expect("the bridge");
        let end = sound.find("                  - name: sluice").expect("the filter");
        (sound[at..end].to_owned(), sound[..at].to_owned() + &sound[end..])
    };
    let late = bridge.1.replace(
        "                  - name: authorization",
        &format!("{}                  - name: authorization", bridge.0),
    );
    for (text, expected) in [
        (moved, "envoy.yaml:20: \"authorization\" can reply before Sluice sees the request"),
        (bridge.1.clone(), "envoy.yaml:20: there is no drain bridge"),
        (late, "the drain bridge stands behind Sluice"),
        (
            sound.replace("failure_policy: FAIL_RELOAD", "fail_open: false"),
            "envoy.yaml:24: after a crash of the filter, a worker replies 503 to every request; write \
             failure_policy: FAIL_RELOAD",
        ),
        (
            sound.replace("FAIL_RELOAD", "FAIL_OPEN"),
            "envoy.yaml:24: after a crash of the filter, a worker passes requests without the filter",
        ),
        (
            sound.replace("failure_policy: FAIL_RELOAD", "failure_policy: 3"),
            "envoy.yaml:24: after a crash of the filter, a worker passes requests without the filter",
        ),
        (
            moved_into_matcher(&sound),
            "envoy.yaml:20: \"authorization\" can reply before Sluice sees the request",
        ),
        (
            sound.replace("normalize_path: true", "stat_prefix: x"),
            "envoy.yaml:8: paths are not normalized",
        ),
        (
            sound.replace("{ name: etcd }", "{ name: consul }"),
            "drain.control.cluster: found \"etcd\", but the file has no such cluster",
        ),
    ] {
        let run = checked("envoy.yaml", &text, &["--strict"]);
        let found = warnings(&run);
        assert_eq!((run.status, found.len()), (1, 1), "{expected}\n{}{}", run.stdout, run.stderr);
        assert!(
            found[0].starts_with(expected) || found[0].contains(&format!(": {expected}")),
            "{found:?}"
        );
    }
}

/// An authorization before Sluice, inside of a filter that matches requests.
fn moved_into_matcher(sound: &str) -> String {
    let wrapped = "                  - name: authorization\n                    typed_config: { \"@type\": \
                   type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher, extension_config: { \
                   typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz } } }\n";
    let sluice = "                  - name: sluice";
    sound.replacen(sluice, &format!("{wrapped}{sluice}"), 1)
}

#[test]
fn settings_that_are_sound_in_another_form_have_no_warning() {
    let read = r#"{"version":1,"defaults":{"timeouts":{"read":"400s","request":"0s"}}}"#;
    let sound = envoy(DRAIN);
    for text in [
        moved_into_matcher(&sound).replace("- name: authorization", "- disabled: true\n                    name: authorization"),
        envoy(read).replace("cluster: service }", "cluster: service, idle_timeout: 3600s }"),
        envoy(r#"{"version":1,"defaults":{"timeouts":{"read":"20s"}}}"#).replace("route_config:", "rds: { route_config_name: x }\n                unused:"),
        envoy(r#"{"version":1,"defaults":{"buffering":{"request":"on","max_bytes":4194304}}}"#)
            .replace("- name: ingress", "- per_connection_buffer_limit_bytes: \"4194304\""),
        // Another filter, whose configuration also has a version.
        sound.replace(
            "                  - name: router",
            "                  - name: other\n                    typed_config: { config: { vm_config: { vm_id: other }, \
             configuration: { value: '{\"version\":\"2\"}' } } }\n                  - name: router",
        ),
    ] {
        let run = checked("envoy.yaml", &text, &["--strict"]);
        assert_eq!((run.status, warnings(&run)), (0, vec![]), "{text}\n{}", run.stderr);
    }
}

#[test]
fn a_low_buffer_limit_is_compared_with_what_is_buffered() {
    let text =
        envoy(r#"{"version":1,"defaults":{"buffering":{"request":"on","max_bytes":262144}}}"#)
            .replace("- name: ingress", "- per_connection_buffer_limit_bytes: 32768");
    let run = checked("envoy.yaml", &text, &[]);
    assert!(
        run.stdout.contains("262144 exceeds the proxy's buffer limit of 32768 bytes, at which"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_mistake_in_one_plugin_does_not_hide_the_next_one() {
    let text =
        format!("{}---\n{}", envoy("{\"routes\":[]}"), envoy("{\"version\":1,\"routes\":7}"));
    let run = checked("envoy.yaml", &text, &[]);
    assert_eq!(run.status, 2);
    let mistakes: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(
        mistakes[0].contains("version: missing") && mistakes[1].contains("routes: found 7"),
        "{mistakes:?}"
    );
}

#[test]
fn kubernetes_reads_words_as_booleans() {
    let plugin = |buffering: &str| {
        format!(
            "kind: WasmPlugin\nmetadata: {{ name: sluice }}\nspec:\n  failStrategy: FAIL_RELOAD\n  pluginConfig:\n    \
             version: 1\n    defaults: {{ buffering: {buffering} }}\n"
        )
    };
    let quoted = checked("plugin.yaml", &plugin("\"off\""), &["--strict"]);
    assert_eq!((quoted.status, warnings(&quoted)), (0, vec![]), "{}", quoted.stderr);
    let bare = checked("plugin.yaml", &plugin("off"), &[]);
    assert_eq!(bare.status, 2, "{}", bare.stdout);
    assert!(bare.stderr.contains("buffering: found false"), "{}", bare.stderr);
}

#[test]
fn timeouts_are_compared_with_those_of_the_file() {
    let read = r#"{"version":1,"defaults":{"timeouts":{"read":"20s"}}}"#;
    let count = |text: &str| warnings(&checked("envoy.yaml", text, &[])).len();
    let default = envoy(read);
    assert_eq!(count(&default), 1, "the route has Envoy's 15 s");
    assert_eq!(count(&default.replace("cluster: service }", "cluster: service, timeout: 0s }")), 0);
    assert_eq!(
        count(&default.replace("cluster: service }", "cluster: service, timeout: 30s }")),
        0
    );
    // A short timeout of one route does not concern the requests of the other one.
    let two = default.replace(
        "                http_filters:",
        "                        - match: { prefix: /quick }\n                          route: { timeout: 1s }\n                http_filters:",
    );
    let two = two.replace("cluster: service }", "cluster: service, timeout: 30s }");
    assert_eq!(count(&two), 0, "{two}");
    let short = default.replace("cluster: service }", "cluster: service, timeout: 2.5s }");
    let found = checked("envoy.yaml", &short, &[]);
    assert!(found.stdout.contains("after 2s500ms (as this file sets it)"), "{}", found.stdout);
    let idle = default.replace("normalize_path: true", "streamIdleTimeout: 10s");
    let idle = idle.replace("cluster: service }", "cluster: service, timeout: 0s }");
    let found = checked("envoy.yaml", &idle, &[]);
    assert!(found.stdout.contains("silent for 10s (as this file sets it)"), "{}", found.stdout);
}

#[test]
fn large_buffers_need_the_limit_of_the_listener() {
    let large = r#"{"version":1,"defaults":{"buffering":{"request":"on","max_bytes":4194304}}}"#;
    let text = envoy(large);
    assert_eq!(warnings(&checked("envoy.yaml", &text, &[])).len(), 1);
    let raised = text.replace("- name: ingress", "- per_connection_buffer_limit_bytes: 4194304");
    assert_eq!(warnings(&checked("envoy.yaml", &raised, &[])), [""; 0]);
}

#[test]
fn held_headers_need_the_plugin_option() {
    let holds = r#"{"version":1,"defaults":{"timeouts":{"first_event":"2s"},"buffering":{"hold_headers":true}}}"#;
    let text = envoy(holds);
    let found = checked("envoy.yaml", &text, &[]);
    assert!(
        found.stdout.contains("write allow_on_headers_stop_iteration: true"),
        "{}",
        found.stdout
    );
    let set = text.replace(
        "failure_policy: FAIL_RELOAD",
        "allow_on_headers_stop_iteration: true\n                        failure_policy: FAIL_RELOAD",
    );
    assert_eq!(warnings(&checked("envoy.yaml", &set, &[])), [""; 0]);
    let lingers = r#"{"version":1,"defaults":{"buffering":{"request":"on"}},"lingering":{}}"#;
    let found = checked("envoy.yaml", &envoy(lingers), &[]);
    assert_eq!(warnings(&found).len(), 1, "{}", found.stdout);
    assert!(
        found.stdout.contains("lose the reply; write allow_on_headers_stop"),
        "{}",
        found.stdout
    );
}

#[test]
fn a_mistake_in_the_file_of_a_proxy_has_the_place_of_the_plugin() {
    let run = checked("envoy.yaml", &envoy(r#"{"version":1,"routes":7}"#), &[]);
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.starts_with("sluice: envoy.yaml:24: routes: "), "{}", run.stderr);
}

#[test]
fn yaml_is_converted_to_what_the_filter_reads() {
    let yaml = "# for people\nversion: 1\nroutes:\n  - name: a\n    timeouts: { request: 5s }\n";
    let run = checked("a.yaml", yaml, &[]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(
        run.stdout.contains("pass the proxy what `sluice check --to-json` prints"),
        "{}",
        run.stdout
    );
    let json = checked("a.yaml", yaml, &["--to-json"]).stdout;
    assert_eq!(
        json,
        "{\"routes\":[{\"name\":\"a\",\"timeouts\":{\"request\":\"5s\"}}],\"version\":1}\n"
    );
    assert_eq!(checked("a.json", &json, &["--strict"]).status, 0);
    // The proxy would pass on this text as it is, and the filter would reject it.
    let run = checked("a.json", "{\"version\":1,}", &[]);
    assert_eq!(run.status, 2, "{}", run.stdout);
}

#[test]
fn all_files_are_checked_and_standard_input_is_one() {
    let run =
        run(["check", "no-such-file", "tests/traces/tour.jsonl", "tests/traces/tour.next.json"]);
    assert_eq!(run.status, 2);
    assert!(run.stdout.contains("tests/traces/tour.next.json: accepted"), "{}", run.stdout);
    let mistakes: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].starts_with("sluice: no-such-file: cannot be read"), "{mistakes:?}");

    let mut command = sluice(["check", "-"]);
    let mut child = command
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(br#"{"version":1}"#).expect("the program reads");
    drop(pipe);
    let output = child.wait_with_output().expect("the program ends");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.ends_with("standard input: accepted, 0 routes, 0 warnings\n"), "{printed}");
}

#[test]
fn an_idle_timeout_alone_is_warned_about() {
    let config = r#"{"version":1,"routes":[{"name":"slow","timeouts":{"read":"600s"}}]}"#;
    let run = checked("a.json", config, &["--strict"]);
    assert_eq!(run.status, 1, "{}", run.stdout);
    assert_eq!(warnings(&run).len(), 2, "{}", run.stdout);
    assert!(
        run.stdout.contains("timeout of the proxy's own route applies (15s in Envoy by default)"),
        "{}",
        run.stdout
    );
}
