//! HTTP exchanges: what passes, what is buffered, and the order of callbacks.

use sluice_sim::{Effect, Part, Profile};

use crate::guest::{BOTH, Run, on, request, response};

/// Logs a number in each callback.
fn tracing() -> String {
    let callbacks = [
        "context_create",
        "request_headers",
        "request_body",
        "request_trailers",
        "response_headers",
        "response_body",
        "response_trailers",
        "log",
        "done",
        "delete",
    ];
    let numbered = callbacks.iter().zip(1..);
    numbered
        .map(|(name, number)| on(name, &format!("(call $log_number (i32.const {number}))")))
        .collect()
}

fn whole_exchange(run: &mut Run) {
    let stream = run.get(false);
    run.vm.request_body(stream, b"up", false);
    run.vm.request_trailers(stream, [("t", "1")].into_iter().collect());
    run.vm.response_headers(stream, response(), false);
    run.vm.response_body(stream, b"down", false);
    run.vm.response_trailers(stream, [("t", "2")].into_iter().collect());
    run.vm.close_http(stream);
}

#[test]
fn envoy_logs_before_done() {
    let mut run = Run::new(Profile::Envoy, &tracing());
    whole_exchange(&mut run);
    assert_eq!(run.logged(), ["1", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
}

#[test]
fn generic_logs_after_done() {
    let mut run = Run::new(Profile::Generic, &tracing());
    whole_exchange(&mut run);
    assert_eq!(run.logged(), ["1", "1", "2", "3", "4", "5", "6", "7", "9", "8", "10"]);
}

#[test]
fn chunks_pass_unchanged() {
    for profile in BOTH {
        let mut run = Run::new(profile, &tracing());
        whole_exchange(&mut run);
        let effects = run.effects_without_logs();
        let [Effect::Request { stream, .. }, ..] = effects[..] else {
            panic!("the request did not leave: {effects:?}")
        };
        let parts = |headers, body: &str, trailer: &str| {
            [
                Part::Headers { map: headers, end: false },
                Part::Body { bytes: body.into(), end: false },
                Part::Trailers([("t", trailer)].into_iter().collect()),
            ]
        };
        let up = parts(request(), "up", "1").map(|part| Effect::Request { stream, part });
        let down = parts(response(), "down", "2").map(|part| Effect::Response { stream, part });
        assert_eq!(effects, [up, down].concat());
    }
}
