//! Host calls on buffers.

use sluice_sim::{Effect, Part, Profile};

use crate::guest::{BOTH, Run, log_statuses, on, response};

const OK: &str = "0";
const NOT_FOUND: &str = "1";
const BAD_ARGUMENT: &str = "2";
const INVALID_MEMORY: &str = "6";
const INTERNAL_FAILURE: &str = "10";

/// Sends the response body `abcdef`, and returns the statuses of the guest's calls in the callback.
fn in_body(profile: Profile, calls: &[&str]) -> Vec<String> {
    let mut run = Run::new(profile, &on("response_body", &log_statuses(calls)));
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.vm.response_body(stream, b"abcdef", true);
    run.logged()
}

/// As [`in_body`], also returns the body that the client receives.
fn body_after(profile: Profile, call: &str) -> (String, String) {
    let mut run = Run::new(profile, &on("response_body", &log_statuses(&[call])));
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.vm.response_body(stream, b"abcdef", true);
    let logged = run.logged().remove(0);
    let sent = run.effects.iter().find_map(|effect| match effect {
        Effect::Response { part: Part::Body { bytes, .. }, .. } => Some(bytes.clone()),
        _ => None,
    });
    (logged, String::from_utf8(sent.unwrap_or_default()).unwrap())
}

#[test]
fn range_is_cut_at_the_end_of_the_buffer() {
    for profile in BOTH {
        for (range, expected) in [("0 6", "abcdef"), ("2 3", "cde"), ("4 100", "ef")] {
            let (start, max) = range.split_once(' ').unwrap();
            let body = format!(
                "(drop (call $get_buffer_bytes (i32.const 1) (i32.const {start})
                   (i32.const {max}) @p @n)) (call $log_bytes)"
            );
            let mut run = Run::new(profile, &on("response_body", &body));
            let stream = run.get(true);
            run.vm.response_headers(stream, response(), false);
            run.vm.response_body(stream, b"abcdef", true);
            assert_eq!(run.logged(), [expected], "{range}");
        }
    }
}

const AT_THE_END: [&str; 3] = [
    "get_buffer_bytes (i32.const 1) (i32.const 6) (i32.const 1) @p @n",
    "get_buffer_bytes (i32.const 1) (i32.const 7) (i32.const 1) @p @n",
    "get_buffer_bytes (i32.const 1) (i32.const -1) (i32.const 0) @p @n",
];

#[test]
fn start_at_the_end_reads_nothing_and_start_beyond_it_is_rejected() {
    assert_eq!(in_body(Profile::Generic, &AT_THE_END), [OK, BAD_ARGUMENT, BAD_ARGUMENT]);
}

/// Measured on Envoy 1.40, as `tests/tests/envoy/host_calls/buffers.rs` does.
#[test]
fn envoy_reads_nothing_beyond_the_end() {
    assert_eq!(in_body(Profile::Envoy, &AT_THE_END), [OK; 3]);
}

const PAST_32_BITS: [&str; 1] =
    ["get_buffer_bytes (i32.const 1) (i32.const 1) (i32.const -1) @p @n"];

#[test]
fn range_beyond_32_bits_is_rejected() {
    assert_eq!(in_body(Profile::Generic, &PAST_32_BITS), [BAD_ARGUMENT]);
}

#[test]
fn envoy_cuts_range_beyond_32_bits() {
    assert_eq!(in_body(Profile::Envoy, &PAST_32_BITS), [OK]);
}

#[test]
fn unknown_buffer_is_bad_argument() {
    for profile in BOTH {
        let calls = [
            "get_buffer_bytes (i32.const 9) (i32.const 0) (i32.const 1) @p @n",
            "set_buffer_bytes (i32.const 9) (i32.const 0) (i32.const 1) @\"x\"",
            "get_buffer_status (i32.const 9) @p @n",
        ];
        assert_eq!(in_body(profile, &calls), [BAD_ARGUMENT; 3]);
    }
}

#[test]
fn pointers_outside_memory_are_rejected() {
    for profile in BOTH {
        let calls = [
            "get_buffer_bytes (i32.const 1) (i32.const 0) (i32.const 1) (i32.const -1) @n",
            "get_buffer_bytes (i32.const 1) (i32.const 0) (i32.const 1) @p (i32.const -1)",
            "set_buffer_bytes (i32.const 1) (i32.const 0) (i32.const 1) (i32.const -1) (i32.const 1)",
            "get_buffer_status (i32.const 1) (i32.const -1) @n",
            "get_buffer_status (i32.const 1) @p (i32.const -1)",
        ];
        assert_eq!(in_body(profile, &calls), [INVALID_MEMORY; 5]);
    }
}

/// Calls on all buffers that are unavailable in `on_request_headers`.
fn absent(profile: Profile) -> Vec<String> {
    let calls: Vec<String> = (0..9)
        .map(|kind| {
            format!("get_buffer_bytes (i32.const {kind}) (i32.const 0) (i32.const 1) @p @n")
        })
        .collect();
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    Run::new(profile, &on("request_headers", &log_statuses(&calls))).logged_on_request()
}

#[test]
fn buffers_of_other_callbacks_are_not_found() {
    assert_eq!(absent(Profile::Generic), [NOT_FOUND; 9]);
}

#[test]
fn envoy_reads_some_buffers_of_other_callbacks_as_empty() {
    // Only the response of a call and the plugin configuration are not found.
    assert_eq!(absent(Profile::Envoy), [OK, OK, OK, OK, NOT_FOUND, OK, OK, NOT_FOUND, OK]);
}

#[test]
fn buffer_status_returns_the_size() {
    for profile in BOTH {
        let body =
            "(drop (call $get_buffer_status (i32.const 1) @p @n)) (call $log_number (i32.load @p))";
        let mut run = Run::new(profile, &on("response_body", body));
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), false);
        run.vm.response_body(stream, b"abcdef", false);
        assert_eq!(run.logged(), ["6"]);
    }
}

fn write(profile: Profile, start: &str, size: &str) -> (String, String) {
    let call =
        format!("set_buffer_bytes (i32.const 1) (i32.const {start}) (i32.const {size}) @\"XY\"");
    body_after(profile, &call)
}

#[test]
fn buffer_can_be_prepended_appended_and_replaced() {
    for profile in BOTH {
        assert_eq!(write(profile, "0", "0"), (OK.into(), "XYabcdef".into()));
        assert_eq!(write(profile, "6", "0"), (OK.into(), "abcdefXY".into()));
        assert_eq!(write(profile, "-1", "0"), (OK.into(), "abcdefXY".into()));
        assert_eq!(write(profile, "0", "6"), (OK.into(), "XY".into()));
        assert_eq!(write(profile, "0", "-1"), (OK.into(), "XY".into()));
    }
}

#[test]
fn part_of_a_buffer_can_be_replaced() {
    assert_eq!(write(Profile::Generic, "0", "2"), (OK.into(), "XYcdef".into()));
    assert_eq!(write(Profile::Generic, "2", "0"), (OK.into(), "abXYcdef".into()));
    assert_eq!(write(Profile::Generic, "2", "3"), (OK.into(), "abXYf".into()));
    assert_eq!(write(Profile::Generic, "4", "9"), (OK.into(), "abcdXY".into()));
}

/// Measured on Envoy 1.40: all starts, sizes and lengths are in
/// `tests/tests/envoy/host_calls/buffers.rs`.
#[test]
fn envoy_replaces_the_beginning_of_a_buffer() {
    assert_eq!(write(Profile::Envoy, "0", "2"), (OK.into(), "XYcdef".into()));
    assert_eq!(write(Profile::Envoy, "0", "5"), (OK.into(), "XYf".into()));
    assert_eq!(write(Profile::Envoy, "6", "3"), (OK.into(), "abcdefXY".into()));
}

#[test]
fn envoy_rejects_writes_that_start_within_a_buffer() {
    for (start, size) in [("1", "0"), ("2", "0"), ("2", "3"), ("4", "9"), ("5", "-1")] {
        let kept = (BAD_ARGUMENT.into(), "abcdef".into());
        assert_eq!(write(Profile::Envoy, start, size), kept, "{start} {size}");
    }
}

#[test]
fn read_only_buffers_cannot_be_written() {
    for profile in BOTH {
        let calls = [
            "set_buffer_bytes (i32.const 7) (i32.const 0) (i32.const 0) @\"x\"",
            "get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const 9) @p @n",
        ];
        let mut run = Run::new(profile, &on("configure", &log_statuses(&calls)));
        assert_eq!(run.logged(), [BAD_ARGUMENT, OK]);
    }
}

#[test]
fn unlimited_growth_of_a_body_is_stopped() {
    for profile in BOTH {
        let body = r#"(local $status i32)
            (loop $more
              (local.set $status (call $set_buffer_bytes (i32.const 1) (i32.const -1) (i32.const 0)
                (i32.const 0) (i32.const 262144)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $log_number (local.get $status))"#;
        let mut run = Run::new(profile, &on("response_body", body));
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), false);
        run.vm.response_body(stream, b"abcdef", true);
        assert_eq!(run.logged(), [INTERNAL_FAILURE]);
    }
}

#[test]
fn emptied_body_still_ends() {
    for profile in BOTH {
        let call = "set_buffer_bytes (i32.const 1) (i32.const 0) (i32.const 6) @\"\"";
        let mut run = Run::new(profile, &on("response_body", &log_statuses(&[call])));
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), false);
        run.vm.response_body(stream, b"abcdef", true);
        let last = Part::Body { bytes: vec![], end: true };
        assert_eq!(run.effects_without_logs().pop(), Some(Effect::Response { stream, part: last }));
    }
}
