//! Pause and continue: what is held, what the guest is asked meanwhile, what leaves when.

use sluice_sim::{
    Direction, Effect, HeaderMap, Part, PluginOptions, Process, Profile, ReplySource, ResetCause,
    StreamId,
};

use crate::guest::{BOTH, Run, compile, on, request, response};

/// Answers every body callback with pause until its message ends, and logs what it was told.
const HOLD_UNTIL_END: &str = "(call $say (local.get $b)) (return (i32.eqz (local.get $c)))";

/// Continues this stream (0 request, 1 response) of context 2 from the tick.
fn continue_on_tick(kind: u32) -> String {
    let body = format!(
        "(drop (call $set_effective_context (i32.const 2)))
         (call $say (call $continue_stream (i32.const {kind})))"
    );
    on("tick", &body)
}

fn request_part(stream: StreamId, part: Part) -> Effect {
    Effect::Request { stream, part }
}

fn response_part(stream: StreamId, part: Part) -> Effect {
    Effect::Response { stream, part }
}

fn headers(map: HeaderMap, end: bool) -> Part {
    Part::Headers { map, end }
}

fn body(text: &str, end: bool) -> Part {
    Part::Body { bytes: text.into(), end }
}

#[test]
fn a_held_body_is_counted_whole_each_time_and_leaves_as_one() {
    for profile in BOTH {
        let mut run = Run::new(profile, &on("response_body", HOLD_UNTIL_END));
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), false);
        run.vm.response_body(stream, b"one", false);
        run.vm.response_body(stream, b"two", false);
        run.vm.response_body(stream, b"", true);
        assert_eq!(run.said(), ["3", "6", "6"]);
        let left: Vec<Effect> = run.effects.clone().split_off(2);
        assert_eq!(left.last(), Some(&response_part(stream, body("onetwo", true))));
        let bodies = left.iter().filter(|effect| matches!(effect, Effect::Response { .. }));
        assert_eq!(bodies.count(), 1, "nothing of the body left before: {left:?}");
    }
}

#[test]
fn headers_that_are_not_held_leave_at_once_even_if_the_body_is_held() {
    for profile in BOTH {
        let mut run = Run::new(profile, &on("response_body", HOLD_UNTIL_END));
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), false);
        run.vm.response_body(stream, b"one", false);
        let left = run.moved();
        assert_eq!(left.last(), Some(&response_part(stream, headers(response(), false))));
    }
}

#[test]
fn trailers_let_a_held_body_go() {
    for profile in BOTH {
        let mut run = Run::new(profile, &on("request_body", HOLD_UNTIL_END));
        let stream = run.get(false);
        run.vm.request_body(stream, b"one", false);
        run.moved();
        let trailers: HeaderMap = [("t", "1")].into_iter().collect();
        run.vm.request_trailers(stream, trailers.clone());
        let expected = [body("one", false), Part::Trailers(trailers)];
        assert_eq!(run.moved(), expected.map(|part| request_part(stream, part)));
    }
}

#[test]
fn a_guest_continues_later_from_its_tick() {
    for profile in BOTH {
        let guest = on("request_headers", "(return (i32.const 1))") + &continue_on_tick(0);
        let mut run = Run::new(profile, &guest);
        let stream = run.get(true);
        assert_eq!(run.moved(), []);
        run.vm.tick(run.plugin);
        assert_eq!(run.said(), ["0"]);
        let left = run.effects.pop();
        assert_eq!(left, Some(request_part(stream, headers(request(), true))));
        run.vm.tick(run.plugin);
        assert_eq!(run.moved(), [], "it is not held any more");
    }
}

/// Holds request headers, sends a body, and gives what the body callback was told.
fn body_behind_held_headers(profile: Profile, options: PluginOptions) -> Vec<String> {
    let guest = on("request_headers", "(return (i32.const 1))")
        + &on("request_body", HOLD_UNTIL_END)
        + &continue_on_tick(0);
    let mut run = Run::with(&Process::new(profile, 1), &compile(&guest), options);
    let stream = run.get(false);
    run.vm.request_body(stream, b"one", false);
    run.vm.request_body(stream, b"two", true);
    let said = run.said();
    if said.is_empty() {
        run.vm.tick(run.plugin);
        assert_eq!(run.said(), ["0", "6"], "asked about everything at once");
    }
    let parts = [headers(request(), false), body("onetwo", true)];
    let expected = parts.map(|part| request_part(stream, part));
    run.effects.retain(|effect| !matches!(effect, Effect::Log { .. }));
    assert_eq!(run.effects, expected);
    said
}

#[test]
fn behind_held_headers_the_body_is_still_asked_about() {
    assert_eq!(body_behind_held_headers(Profile::Generic, PluginOptions::default()), ["3", "6"]);
}

#[test]
fn under_envoy_behind_held_headers_nothing_is_asked_about() {
    let said = body_behind_held_headers(Profile::Envoy, PluginOptions::default());
    assert_eq!(said, [""; 0]);
}

#[test]
fn under_envoy_an_option_lets_the_body_be_asked_about_behind_held_headers() {
    let options =
        PluginOptions { allow_on_headers_stop_iteration: true, ..PluginOptions::default() };
    assert_eq!(body_behind_held_headers(Profile::Envoy, options), ["3", "6"]);
}

#[test]
fn continuing_inside_the_callback_wins_over_its_pause() {
    for profile in BOTH {
        let body = "(drop (call $continue_stream (i32.const 0))) (return (i32.const 1))";
        let mut run = Run::new(profile, &on("request_headers", body));
        let stream = run.get(true);
        assert_eq!(run.moved(), [request_part(stream, headers(request(), true))]);
    }
}

/// Holds a body of chunks of this size until the limit is passed; gives what came out at the end.
fn overflow(profile: Profile, direction: Direction, chunk: usize, guest: &str) -> Vec<Effect> {
    let mut run = Run::new(profile, guest);
    let stream = run.get(false);
    if direction == Direction::Response {
        run.vm.response_headers(stream, response(), false);
    }
    run.moved();
    let bytes = vec![b'x'; chunk];
    for _ in 0..64 {
        match direction {
            Direction::Request => run.vm.request_body(stream, &bytes, false),
            Direction::Response => run.vm.response_body(stream, &bytes, false),
        }
        let out = run.moved();
        if !out.is_empty() {
            return out;
        }
    }
    Vec::new()
}

const LIMIT: usize = 1 << 20;

#[test]
fn under_envoy_a_held_response_that_passes_a_mebibyte_is_cut() {
    let out = overflow(
        Profile::Envoy,
        Direction::Response,
        LIMIT / 16,
        &on("response_body", "(return (i32.const 1))"),
    );
    let [Effect::BodyOverflow { held, .. }, Effect::Reset { cause, .. }] = out[..] else {
        panic!("expected an overflow and a cut, got {out:?}")
    };
    assert_eq!((held, cause), (LIMIT / 16 * 17, ResetCause::Overflow));
}

#[test]
fn under_envoy_a_held_response_of_exactly_a_mebibyte_passes() {
    let guest = on("response_body", "(return (i32.eqz (local.get $c)))");
    let mut run = Run::new(Profile::Envoy, &guest);
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.vm.response_body(stream, &vec![b'x'; LIMIT], false);
    run.vm.response_body(stream, b"", true);
    let left = run.moved().pop();
    let whole = Part::Body { bytes: vec![b'x'; LIMIT], end: true };
    assert_eq!(left, Some(response_part(stream, whole)));
}

#[test]
fn under_envoy_one_chunk_that_is_too_large_to_be_held_is_enough() {
    let mut run = Run::new(Profile::Envoy, &on("response_body", "(return (i32.const 1))"));
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.moved();
    run.vm.response_body(stream, &vec![b'x'; LIMIT + 1], false);
    let out = run.moved();
    assert!(matches!(out[..], [Effect::BodyOverflow { .. }, Effect::Reset { .. }]), "{out:?}");
}

#[test]
fn under_envoy_the_guest_is_not_asked_about_the_chunk_that_passes_the_limit() {
    let guest = on("response_body", "(call $say (local.get $b)) (return (i32.const 1))");
    let mut run = Run::new(Profile::Envoy, &guest);
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.vm.response_body(stream, &vec![b'x'; LIMIT], false);
    run.vm.response_body(stream, b"x", false);
    assert_eq!(run.said(), [LIMIT.to_string()]);
}

#[test]
fn under_envoy_a_held_request_that_passes_a_mebibyte_is_answered_with_413() {
    let out = overflow(
        Profile::Envoy,
        Direction::Request,
        LIMIT / 16,
        &on("request_body", "(return (i32.const 1))"),
    );
    let [Effect::BodyOverflow { .. }, Effect::LocalReply { status, source, .. }, ..] = out[..]
    else {
        panic!("expected an overflow and a reply, got {out:?}")
    };
    assert_eq!((status, source), (413, ReplySource::Overflow));
    let last = Part::Body { bytes: b"Payload Too Large".into(), end: true };
    assert!(matches!(out.last(), Some(Effect::Response { part, .. }) if *part == last));
}

#[test]
fn the_abi_knows_no_limit_for_held_bodies() {
    let guest = on("response_body", "(return (i32.const 1))");
    assert_eq!(overflow(Profile::Generic, Direction::Response, LIMIT, &guest), []);
}

#[test]
fn streams_that_the_context_does_not_have_cannot_be_continued() {
    let calls = |kind| format!("(call $say (call $continue_stream (i32.const {kind})))");
    let body: String = (0..5).map(calls).collect();
    let mut run = Run::new(Profile::Generic, &on("request_headers", &body));
    assert_eq!(run.said_on_request(), ["0", "0", "12", "12", "2"]);
}

#[test]
fn under_envoy_continuing_a_stream_that_is_not_there_does_nothing() {
    let calls = |kind| format!("(call $say (call $continue_stream (i32.const {kind})))");
    let body: String = (0..5).map(calls).collect();
    let mut run = Run::new(Profile::Envoy, &on("request_headers", &body));
    assert_eq!(run.said_on_request(), ["0", "0", "0", "12", "2"]);
}

#[test]
fn closing_cuts_the_exchange_once() {
    for profile in BOTH {
        for kind in [0, 1] {
            let body = format!(
                "(call $say (call $close_stream (i32.const {kind})))
                 (call $say (call $close_stream (i32.const 4)))
                 (drop (call $close_stream (i32.const {kind})))"
            );
            let mut run = Run::new(profile, &on("request_headers", &body));
            let stream = run.get(false);
            assert_eq!(run.said(), ["0", "2"]);
            run.effects.retain(|effect| !matches!(effect, Effect::Log { .. }));
            assert_eq!(run.effects, [Effect::Reset { stream, cause: ResetCause::Guest }]);
            run.vm.request_body(stream, b"late", true);
            run.vm.response_headers(stream, response(), true);
            assert_eq!(run.moved(), [], "nothing goes through a stream that was cut");
        }
    }
}

#[test]
fn closing_a_stream_that_the_context_does_not_have_is_unimplemented() {
    let body = "(call $say (call $close_stream (i32.const 2)))";
    assert_eq!(Run::new(Profile::Generic, &on("request_headers", body)).said_on_request(), ["12"]);
}

#[test]
fn under_envoy_closing_a_stream_that_is_not_there_does_nothing() {
    let body = "(call $say (call $close_stream (i32.const 2)))";
    assert_eq!(Run::new(Profile::Envoy, &on("request_headers", body)).said_on_request(), ["0"]);
}
