//! Metrics: their kinds, their values, and who shares them.

use sluice_sim::{Metric, MetricKind, PluginOptions, Process, Profile};

use crate::guest::{BOTH, Run, compile, log_status, on};

/// Defines a metric of this kind at address 24, makes the calls, then logs its value.
fn with_metric(profile: Profile, kind: u32, calls: &[&str]) -> Vec<String> {
    let define = format!("define_metric (i32.const {kind}) @\"m\" (i32.const 24)");
    let calls: String = calls.iter().map(|call| log_status(call)).collect();
    let read = log_status("get_metric (i32.load (i32.const 24)) (i32.const 32)")
        + "(call $log_number (i32.load (i32.const 32)))";
    Run::new(profile, &on("tick", &(log_status(&define) + &calls + &read))).logged_on_tick()
}

const ADD_5: &str = "increment_metric (i32.load (i32.const 24)) (i64.const 5)";
const TAKE_2: &str = "increment_metric (i32.load (i32.const 24)) (i64.const -2)";
const ADD_0: &str = "increment_metric (i32.load (i32.const 24)) (i64.const 0)";
const SET_3: &str = "record_metric (i32.load (i32.const 24)) (i64.const 3)";

#[test]
fn counter_only_grows() {
    for profile in BOTH {
        assert_eq!(with_metric(profile, 0, &[ADD_5, TAKE_2]), ["0", "0", "2", "0", "5"]);
    }
}

#[test]
fn gauge_can_be_incremented_decremented_and_set() {
    for profile in BOTH {
        assert_eq!(with_metric(profile, 1, &[ADD_5, TAKE_2]), ["0", "0", "0", "0", "3"]);
        assert_eq!(with_metric(profile, 1, &[ADD_5, SET_3]), ["0", "0", "0", "0", "3"]);
    }
}

#[test]
fn recording_sets_a_counter() {
    assert_eq!(with_metric(Profile::Generic, 0, &[ADD_5, SET_3]), ["0", "0", "0", "0", "3"]);
}

#[test]
fn envoy_recording_adds_to_a_counter() {
    assert_eq!(with_metric(Profile::Envoy, 0, &[ADD_5, SET_3]), ["0", "0", "0", "0", "8"]);
}

#[test]
fn counter_can_be_incremented_by_zero() {
    assert_eq!(with_metric(Profile::Generic, 0, &[ADD_0])[1], "0");
}

#[test]
fn envoy_rejects_an_increment_by_zero() {
    assert_eq!(with_metric(Profile::Envoy, 0, &[ADD_0])[1], "2");
}

#[test]
fn histogram_is_recorded_and_has_no_value() {
    for profile in BOTH {
        assert_eq!(with_metric(profile, 2, &[SET_3, ADD_5]), ["0", "0", "2", "2", "0"]);
    }
}

#[test]
fn unknown_metrics_are_not_found_and_unknown_kinds_are_rejected() {
    for profile in BOTH {
        let body = log_status("record_metric (i32.const 9) (i64.const 1)")
            + &log_status("increment_metric (i32.const 9) (i64.const 1)")
            + &log_status("get_metric (i32.const 9) @p")
            + &log_status("get_metric (i32.const 0) @p")
            + &log_status("define_metric (i32.const 3) @\"m\" @p");
        assert_eq!(
            Run::new(profile, &on("tick", &body)).logged_on_tick(),
            ["1", "1", "1", "1", "2"]
        );
    }
}

#[test]
fn pointers_outside_memory_are_rejected() {
    for profile in BOTH {
        let body = log_status("define_metric (i32.const 0) (i32.const -1) (i32.const 2) @p")
            + &log_status("define_metric (i32.const 0) @\"m\" (i32.const -1)")
            + &log_status("define_metric (i32.const 0) @\"m\" (i32.const 24)")
            + &log_status("get_metric (i32.load (i32.const 24)) (i32.const 262140)");
        assert_eq!(Run::new(profile, &on("tick", &body)).logged_on_tick(), ["6", "6", "0", "6"]);
    }
}

#[test]
fn vms_of_a_process_share_metrics_by_name() {
    for profile in BOTH {
        let body =
            log_status("define_metric (i32.const 1) @\"m\" (i32.const 24)") + &log_status(ADD_5);
        let guest = compile(&on("tick", &body));
        let process = Process::new(profile, 1);
        for _ in 0..2 {
            let mut run = Run::with(&process, &guest, PluginOptions::default());
            run.logged_on_tick();
        }
        assert_eq!(process.metric("m"), Some(10));
        assert_eq!(process.metric("none"), None);
    }
}

#[test]
fn metrics_are_listed_in_order_of_definition() {
    for profile in BOTH {
        let body = log_status("define_metric (i32.const 2) @\"z\" (i32.const 24)")
            + &log_status(SET_3)
            + &log_status(SET_3)
            + &log_status("define_metric (i32.const 0) @\"a\" @p");
        let mut run = Run::new(profile, &on("tick", &body));
        run.logged_on_tick();
        let metrics = run.process.metrics();
        let fields = |metric: &Metric| (metric.kind, metric.value, metric.recorded);
        let [z, a] = metrics.as_slice() else { panic!("expected two metrics: {metrics:?}") };
        assert_eq!((z.name.as_str(), fields(z)), ("z", (MetricKind::Histogram, 6, 2)));
        assert_eq!((a.name.as_str(), fields(a)), ("a", (MetricKind::Counter, 0, 0)));
    }
}

#[test]
fn number_of_metrics_is_limited() {
    for profile in BOTH {
        let body = r#"(local $status i32)
            (loop $more
              (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (i32.const 1)))
              (local.set $status (call $define_metric (i32.const 0) (i32.const 4096) (i32.const 4) @p))
              (br_if $more (i32.eqz (local.get $status))))
            (call $log_number (local.get $status)) (call $log_number (i32.load (i32.const 4096)))
            (call $log_number (call $define_metric (i32.const 0) (i32.const 0) (i32.const 9999) @p))"#;
        let mut run = Run::new(profile, &on("tick", body));
        let logged = run.logged_on_tick();
        // Names that differ only in invalid UTF-8 may be the same metric.
        assert_eq!((logged[0].as_str(), logged[2].as_str()), ("10", "10"));
        assert_eq!(run.process.metrics().len(), 10_000);
    }
}

/// Measured on Envoy 1.40.
#[test]
fn in_envoy_each_definition_has_its_own_id() {
    let define = |kind: u32, at: u32| {
        log_status(&format!("define_metric (i32.const {kind}) @\"m\" (i32.const {at})"))
            + &format!("(call $log_number (i32.load (i32.const {at})))")
    };
    let body = define(0, 24) + &define(0, 28) + &define(1, 32) + &define(0, 36);
    let logged = |profile| Run::new(profile, &on("tick", &body)).logged_on_tick();
    assert_eq!(logged(Profile::Envoy), ["0", "4", "0", "8", "0", "5", "0", "12"]);
    assert_eq!(logged(Profile::Generic), ["0", "1", "0", "1", "0", "2", "0", "1"]);
}
