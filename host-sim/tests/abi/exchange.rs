//! HTTP exchanges: what goes through, what is held, and in which order the guest is called.

use sluice_sim::{Effect, Part, Profile};

use crate::guest::{BOTH, Run, request, response};

/// Logs the name of each callback as a number, and answers with an action.
fn tracing(action: u32) -> String {
    let callback = |name: &str, params: &str, number: u32, result: &str, answer: &str| {
        format!(
            r#"(func (export "proxy_on_{name}") (param {params}) {result}
                 (call $say (i32.const {number})) {answer})"#
        )
    };
    let answer = format!("(i32.const {action})");
    let action = "(result i32)";
    [
        callback("context_create", "i32 i32", 1, "", ""),
        callback("request_headers", "i32 i32 i32", 2, action, &answer),
        callback("request_body", "i32 i32 i32", 3, action, &answer),
        callback("request_trailers", "i32 i32", 4, action, &answer),
        callback("response_headers", "i32 i32 i32", 5, action, &answer),
        callback("response_body", "i32 i32 i32", 6, action, &answer),
        callback("response_trailers", "i32 i32", 7, action, &answer),
        callback("log", "i32", 8, "", ""),
        callback("done", "i32", 9, action, "(i32.const 1)"),
        callback("delete", "i32", 10, "", ""),
    ]
    .join("\n")
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
    let mut run = Run::new(Profile::Envoy, &tracing(0));
    whole_exchange(&mut run);
    assert_eq!(run.said(), ["1", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
}

#[test]
fn generic_logs_after_done() {
    let mut run = Run::new(Profile::Generic, &tracing(0));
    whole_exchange(&mut run);
    assert_eq!(run.said(), ["1", "1", "2", "3", "4", "5", "6", "7", "9", "8", "10"]);
}

#[test]
fn what_the_guest_lets_go_leaves_piece_by_piece_as_it_came() {
    for profile in BOTH {
        let mut run = Run::new(profile, &tracing(0));
        whole_exchange(&mut run);
        let moved = run.moved();
        let [Effect::Request { stream, .. }, ..] = moved[..] else {
            panic!("nothing of the request left: {moved:?}")
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
        assert_eq!(moved, [up, down].concat());
    }
}
