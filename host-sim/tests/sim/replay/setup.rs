//! The setup at the start of a trace: plugin, clusters and start time, and the same from the
//! options.

use sluice_sim::proxy::{Preset, ProxySettings, RetryCondition, Setup};
use sluice_sim::replay::{Options, replay};
use sluice_sim::trace::Trace;
use sluice_sim::{Limits, LogLevel, Module, Profile};

use crate::guest::{on, text};

/// The log lines of a trace with a guest, without those of the main thread.
fn logged(guest: &str, trace: &str, options: &Options) -> Vec<String> {
    let wasm = wat::parse_str(text(guest)).expect("a valid module");
    let module = Module::new(&wasm, &Limits::default()).expect("a valid module");
    let trace = Trace::parse("test", trace).expect("a valid trace");
    let report = replay(Some(&module), &trace, options, &mut |_| {}).expect("a replay");
    let lines = report.log.iter().filter(|line| line.worker.is_some());
    lines.map(|line| line.text.clone()).collect()
}

fn options() -> Options {
    Options::new(Profile::Envoy).with_configuration("{}").with_log_level(LogLevel::Info)
}

fn setup(text: &str) -> Setup {
    Setup::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A property, logged.
fn log_property(path: &str) -> String {
    format!(r#"(drop (call $get_property @"{path}" @p @n)) (call $log_bytes)"#)
}

#[test]
fn plugin_section_reaches_the_plugin() {
    let guest = on(
        "vm_start",
        "(drop (call $get_buffer_bytes (i32.const 6) (i32.const 0) (i32.const 99) @p @n))
         (call $log_bytes)",
    ) + &on(
        "request_headers",
        &["plugin_name", "plugin_root_id", "plugin_vm_id", r"xds\0node\0id"]
            .map(log_property)
            .concat(),
    );
    let trace = concat!(
        r#"{"at":"0s","plugin":{"name":"n","root_id":"r","vm_id":"v","vm_config":{"a":1},"properties":{"xds.node.id":"p"}}}"#,
        "\n",
        r#"{"at":"1s","request":{}}"#
    );
    assert_eq!(logged(&guest, trace, &options()), [r#"{"a":1}"#, "n", "r", "v", "p"]);
    let other = setup(r#"{"plugin":{"name":"m","vm_config":"text"}}"#);
    let options = options().with_setup(other);
    assert_eq!(logged(&guest, trace, &options), ["text", "m", "r", "v", "p"]);
}

#[test]
fn cluster_that_is_not_declared_does_not_exist() {
    let call = |cluster: &str| {
        format!(
            r#"(call $log_number (call $http_call @"{cluster}"
                 @{{:method: GET, :path: /, :authority: a}} @"" @"" (i32.const 500) @p))"#
        )
    };
    let guest = on("request_headers", &(call("etcd") + &call("auth")));
    let request = r#"{"at":"1s","request":{}}"#;
    let trace = |setup: &str| format!("{setup}\n{request}");
    assert_eq!(logged(&guest, request, &options()), ["2", "2"]);
    let one = trace(r#"{"at":"0s","clusters":["etcd"]}"#);
    assert_eq!(logged(&guest, &one, &options()), ["0", "2"]);
    let options = options().with_setup(setup(r#"{"clusters":["auth"]}"#));
    assert_eq!(logged(&guest, &one, &options), ["0", "0"], "the clusters are added");
}

#[test]
fn response_of_an_undeclared_cluster_is_rejected() {
    let respond = r#"{"at":"1s","cluster":"etcd","respond":{}}"#;
    let error = |text: &str| {
        let trace = Trace::parse("t.jsonl", text).expect("a valid trace");
        let error = replay(None, &trace, &options(), &mut |_| {}).map(|_| ());
        error.expect_err("an undeclared cluster").to_string()
    };
    assert_eq!(
        error(respond),
        r#"t.jsonl:1: cluster: "etcd" is not declared; write {"at":"0s","clusters":["etcd"]} before the first event"#
    );
    assert_eq!(
        error(&format!("{}\n{respond}", r#"{"at":"0s","clusters":["auth"]}"#)),
        r#"t.jsonl:2: cluster: "etcd" is not declared; write {"at":"0s","clusters":["auth","etcd"]} before the first event"#
    );
}

#[test]
fn start_time_sets_the_clock() {
    let guest = on(
        "request_headers",
        "(drop (call $get_current_time_nanoseconds (i32.const 16)))
         (call $log_number (i32.wrap_i64 (i64.div_u (i64.load (i32.const 16)) (i64.const 1000000000))))",
    );
    let trace = concat!(
        r#"{"at":"0s","start_time":"2001-09-09T01:46:40Z"}"#,
        "\n",
        r#"{"at":"1s","request":{}}"#
    );
    assert_eq!(logged(&guest, trace, &options()), ["1000000001"]);
    let later = setup(r#"{"start_time":"2001-09-09T01:46:50Z"}"#);
    assert_eq!(logged(&guest, trace, &options().with_setup(later)), ["1000000011"]);
}

#[test]
fn mistakes_of_a_setup_name_the_fix() {
    let mistakes = [
        (
            r#"{"at":"0s","proxy":{"preset":"nginx"}}"#,
            r#"t:1: proxy.preset: unknown preset "nginx"; known presets: envoy, istio-sidecar, istio-gateway, envoy-gateway"#,
        ),
        (
            r#"{"at":"0s","proxy":{"version":"1.38"}}"#,
            r#"t:1: proxy.version: unknown version "1.38"; known versions: 1.37, 1.39, 1.40"#,
        ),
        (
            r#"{"at":"0s","proxy":{"idle":"1s"}}"#,
            "t:1: proxy.idle: unknown field `idle`; expected one of `preset`, `version`, `route_timeout`",
        ),
        (
            r#"{"at":"0s","proxy":{"retry_policy":{"retry_on":"5xx,never"}}}"#,
            r#"t:1: proxy.retry_policy.retry_on: unknown retry condition "never"; known retry conditions: 5xx, gateway-error"#,
        ),
        (
            r#"{"at":"0s","proxy":{"failure_policy":"open"}}"#,
            r#"t:1: proxy.failure_policy: unknown failure policy "open"; known failure policies: FAIL_CLOSED, FAIL_RELOAD, FAIL_OPEN"#,
        ),
        (
            r#"{"at":"0s","proxy":{"route_timeout":15}}"#,
            r#"t:1: proxy.route_timeout: found 15; expected a duration with a unit"#,
        ),
        (
            r#"{"at":"1s","clusters":[]}"#,
            r#"t:1: at: 1s is not the start; write "0s" with clusters"#,
        ),
        (
            r#"{"at":"0s","clusters":[],"request":{}}"#,
            "t:1: request: is an event on a line with clusters; write it on a line of its own",
        ),
        (
            r#"{"at":"0s","clusters":[],"id":"a"}"#,
            "t:1: id: has no meaning with clusters; expected it with request",
        ),
        (
            "{\"at\":\"0s\",\"request\":{}}\n{\"at\":\"0s\",\"proxy\":{}}",
            "t:2: proxy: follows the event on line 1; move it to the start of the trace",
        ),
        (
            "{\"at\":\"0s\",\"proxy\":{}}\n{\"at\":\"0s\",\"proxy\":{}}",
            "t:2: proxy: is already on line 1; merge the two",
        ),
    ];
    for (text, expected) in mistakes {
        let error = Trace::parse("t", text).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text}\n  expected {expected}\n       got {error}");
    }
}

#[test]
fn fields_of_the_options_replace_those_of_the_trace() {
    let trace = setup(r#"{"at":"0s","proxy":{"preset":"istio-sidecar","buffer_limit":1024}}"#);
    let file = setup(r#"{"buffer_limit":2048}"#);
    let settings = ProxySettings::of(&trace.merged(&file).proxy.expect("a section"));
    assert_eq!((settings.preset, settings.buffer_limit), (Preset::IstioSidecar, 2048));
    assert_eq!(settings.route_timeout, None);
    assert!(settings.retry_policy.retry_on.contains(&RetryCondition::Cancelled));
    assert_eq!(setup(r#"{"plugin":{}}"#).proxy, None);
}

/// Measured on Envoy 1.40 with `envoy.bootstrap.wasm`: one VM ticks, and requests pass without it.
#[test]
fn singleton_has_one_vm_and_handles_no_requests() {
    let guest = on("vm_start", r#"(drop (call $log (i32.const 2) @"start"))"#)
        + &on("configure", "(drop (call $set_tick_period_milliseconds (i32.const 1000)))")
        + &on("tick", r#"(drop (call $log (i32.const 2) @"tick"))"#)
        + &on("request_headers", "unreachable");
    let requests = (1..=8).map(|at| {
        format!(r#"{{"at":"{at}s","connection":"c{at}","request":{{}},"expect":{{"status":200}}}}"#)
    });
    let trace: Vec<String> =
        std::iter::once(r#"{"at":"0s","plugin":{"singleton":true}}"#.to_owned())
            .chain(requests)
            .collect();
    let options = options().with_workers(std::num::NonZeroU32::new(4).expect("not zero"));
    let lines = logged(&guest, &trace.join("\n"), &options);
    assert_eq!(lines.iter().filter(|line| *line == "start").count(), 1);
    let ticks = lines.iter().filter(|line| *line == "tick").count();
    assert!((7..=9).contains(&ticks), "{ticks} ticks");
}
