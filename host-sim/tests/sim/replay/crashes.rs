//! Requests after a crash of the module, under each failure policy. The results were measured on
//! Envoy 1.40; `tests/tests/envoy/host_calls/crashes.rs` compares both hosts.

use std::time::Duration;

use sluice_sim::replay::{Options, replay};
use sluice_sim::trace::Trace;
use sluice_sim::{FailurePolicy, Profile};

use crate::guest::{compile, on};

/// A guest that crashes if a request has the header `x-crash`, adds `x-guest` to each request, and
/// ticks every 100 ms.
fn guest() -> String {
    on("configure", "(drop (call $set_tick_period_milliseconds (i32.const 100)))")
        + &on("tick", r#"(drop (call $log (i32.const 2) @"tick"))"#)
        + &on(
            "request_headers",
            r#"(drop (call $get_header_map_value (i32.const 0) @"x-crash" @p @n))
               (if (i32.load @n) (then unreachable))
               (drop (call $add_header_map_value (i32.const 0) @"x-guest" @"1"))"#,
        )
}

/// Replays requests with the paths `/crash` and `/`, at these milliseconds. Returns for each its
/// status and the number of crashes.
fn statuses(options: Options, requests: &[(u64, &str)], more: &[&str]) -> (Vec<u16>, usize) {
    let mut lines: Vec<(u64, String)> = requests
        .iter()
        .map(|(at, kind)| {
            let (headers, upstream) = match *kind {
                "crash" => (r#"[["x-crash","1"]]"#, "{}"),
                "slow" => ("[]", r#"{"after":"1s"}"#),
                _ => ("[]", "{}"),
            };
            let line = format!(
                r#"{{"at":"{at}ms","request":{{"headers":{headers}}},"upstream":{upstream}}}"#
            );
            (*at, line)
        })
        .collect();
    lines.extend(more.iter().map(|line| (u64::MAX, (*line).to_owned())));
    let text: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    let text = text.join("\n");
    let trace = Trace::parse("test", &text).expect("a valid trace");
    let module = compile(&guest());
    let report = replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay");
    let mut exchanges: Vec<_> = report.exchanges.iter().collect();
    exchanges.sort_by_key(|exchange| exchange.line);
    let statuses = exchanges.iter().map(|exchange| exchange.status.unwrap_or(0)).collect();
    (statuses, report.traps.len())
}

fn options(policy: FailurePolicy) -> Options {
    Options::new(Profile::Envoy).with_configuration("").with_failure_policy(policy)
}

#[test]
fn fail_closed_is_the_default_and_fails_all_later_requests() {
    let requests = [(0, ""), (1800, "slow"), (2000, "crash"), (2001, ""), (60_000, "")];
    let default = Options::new(Profile::Envoy).with_configuration("");
    assert_eq!(statuses(default, &requests, &[]), (vec![200, 503, 503, 503, 503], 1));
}

#[test]
fn fail_open_fails_open_requests_and_passes_later_ones() {
    let requests = [(0, ""), (1800, "slow"), (2000, "crash"), (2001, ""), (2002, "crash")];
    let (statuses, traps) = statuses(options(FailurePolicy::FailOpen), &requests, &[]);
    assert_eq!((statuses, traps), (vec![200, 503, 503, 200, 200], 1));
}

#[test]
fn fail_reload_starts_a_vm_with_the_next_request() {
    let requests = [(0, ""), (1800, "slow"), (2000, "crash"), (2001, ""), (2002, "")];
    let (statuses, traps) = statuses(options(FailurePolicy::FailReload), &requests, &[]);
    assert_eq!((statuses, traps), (vec![200, 503, 503, 200, 200], 1));
}

#[test]
fn fail_reload_waits_for_the_back_off_after_a_reload() {
    let requests = [(2000, "crash"), (2001, ""), (2002, "crash"), (2999, ""), (3502, "")];
    for seed in 0..8 {
        let options = options(FailurePolicy::FailReload).with_seed(seed);
        let (statuses, traps) = statuses(options, &requests, &[]);
        assert_eq!((statuses, traps), (vec![503, 200, 503, 503, 200], 2), "seed {seed}");
    }
    let short = options(FailurePolicy::FailReload).with_reload_backoff(Duration::from_millis(50));
    let requests = [(2000, "crash"), (2001, ""), (2002, "crash"), (2049, ""), (2077, "")];
    assert_eq!(statuses(short, &requests, &[]), (vec![503, 200, 503, 503, 200], 2));
}

#[test]
fn a_new_configuration_replaces_a_crashed_vm_under_every_policy() {
    let more = [r#"{"at":"3s","configure":""}"#, r#"{"at":"4s","request":{}}"#];
    for policy in [FailurePolicy::FailClosed, FailurePolicy::FailReload, FailurePolicy::FailOpen] {
        let (statuses, traps) = statuses(options(policy), &[(2000, "crash")], &more);
        assert_eq!((statuses, traps), (vec![503, 200], 1), "{policy:?}");
    }
}

#[test]
fn a_crashed_vm_does_not_tick() {
    let trace = r#"{"at":"0s","request":{"headers":[["x-crash","1"]]}}
{"at":"10s","request":{}}"#;
    let trace = Trace::parse("test", trace).expect("a valid trace");
    let module = compile(&guest());
    let options = options(FailurePolicy::FailClosed);
    let report = replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay");
    assert_eq!(report.log.iter().filter(|line| line.text == "tick").count(), 0);
}
