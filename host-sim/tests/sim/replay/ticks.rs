//! Ticks in a replay: a period that is set while a stream runs.

use std::time::Duration;

use sluice_sim::Profile;
use sluice_sim::replay::{Options, replay};
use sluice_sim::trace::Trace;

use crate::guest::{compile, on};

/// Envoy 1.40.0 ticks after a call in `proxy_on_request_headers`; the row `tick` of the guests in
/// `tests/guests` runs on both hosts.
#[test]
fn period_that_a_stream_sets_ticks_one_period_later() {
    let guest = on(
        "request_headers",
        "(drop (call $set_tick_period_milliseconds (i32.const 20))) (return (i32.const 1))",
    ) + &on(
        "tick",
        "(drop (call $set_tick_period_milliseconds (i32.const 0)))
         (drop (call $set_effective_context (i32.const 2)))
         (drop (call $continue_stream (i32.const 0)))",
    );
    let module = compile(&guest);
    let trace = Trace::parse("test", r#"{"at":"1s","request":{}}"#).expect("a valid trace");
    let options = Options::new(Profile::Envoy).with_configuration("");
    let report = replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay");
    assert_eq!(report.exchanges[0].status, Some(200));
    assert_eq!(report.exchanges[0].last_byte, Duration::from_millis(20));
}
