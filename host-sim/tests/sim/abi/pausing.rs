//! Pause and continue: what is buffered, which callbacks run meanwhile, and what leaves when.

use sluice_sim::{
    Direction, Effect, HeaderMap, Part, PluginOptions, Process, Profile, ReplySource, ResetCause,
    StreamId,
};

use crate::guest::{BOTH, Run, compile, on, request, response};

/// Returns `Pause` from each body callback until the message ends, and logs the body size.
const PAUSE_UNTIL_END: &str = "(call $log_number (local.get $b)) (return (i32.eqz (local.get $c)))";

/// Continues this stream (0 request, 1 response) of context 2 in a tick.
fn continue_on_tick(kind: u32) -> String {
    let body = format!(
        "(drop (call $set_effective_context (i32.const 2)))
         (call $log_number (call $continue_stream (i32.const {kind})))"
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
fn buffered_body_is_passed_whole_each_time_and_leaves_as_one_chunk() {
    for profile in BOTH {
        let mut run = Run::new(profile, &on("response_body", PAUSE_UNTIL_END));
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), false);
        run.vm.response_body(stream, b"one", false);
        run.vm.response_body(stream, b"two", false);
        run.vm.response_body(stream, b"", true);
        assert_eq!(run.logged(), ["3", "6", "6"]);
        let sent: Vec<Effect> = run.effects.clone().split_off(2);
        assert_eq!(sent.last(), Some(&response_part(stream, body("onetwo", true))));
        let bodies = sent.iter().filter(|effect| matches!(effect, Effect::Response { .. }));
        assert_eq!(bodies.count(), 1, "no part of the body left earlier: {sent:?}");
    }
}

#[test]
fn headers_leave_at_once_if_only_the_body_is_buffered() {
    for profile in BOTH {
        let mut run = Run::new(profile, &on("response_body", PAUSE_UNTIL_END));
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), false);
        run.vm.response_body(stream, b"one", false);
        let sent = run.effects_without_logs();
        assert_eq!(sent.last(), Some(&response_part(stream, headers(response(), false))));
    }
}

#[test]
fn trailers_release_a_buffered_body() {
    for profile in BOTH {
        let mut run = Run::new(profile, &on("request_body", PAUSE_UNTIL_END));
        let stream = run.get(false);
        run.vm.request_body(stream, b"one", false);
        run.effects_without_logs();
        let trailers: HeaderMap = [("t", "1")].into_iter().collect();
        run.vm.request_trailers(stream, trailers.clone());
        let expected = [body("one", false), Part::Trailers(trailers)];
        assert_eq!(run.effects_without_logs(), expected.map(|part| request_part(stream, part)));
    }
}

#[test]
fn guest_can_continue_from_its_tick() {
    for profile in BOTH {
        let guest = on("request_headers", "(return (i32.const 1))") + &continue_on_tick(0);
        let mut run = Run::new(profile, &guest);
        let stream = run.get(true);
        assert_eq!(run.effects_without_logs(), []);
        run.vm.tick(run.plugin);
        assert_eq!(run.logged(), ["0"]);
        let sent = run.effects.pop();
        assert_eq!(sent, Some(request_part(stream, headers(request(), true))));
        run.vm.tick(run.plugin);
        assert_eq!(run.effects_without_logs(), [], "the stream is not paused");
    }
}

/// Pauses in request headers, sends a body, and returns what the body callback logged.
fn body_after_paused_headers(profile: Profile, options: PluginOptions) -> Vec<String> {
    let guest = on("request_headers", "(return (i32.const 1))")
        + &on("request_body", PAUSE_UNTIL_END)
        + &continue_on_tick(0);
    let mut run = Run::with(&Process::new(profile, 1), &compile(&guest), options);
    let stream = run.get(false);
    run.vm.request_body(stream, b"one", false);
    run.vm.request_body(stream, b"two", true);
    let logged = run.logged();
    if logged.is_empty() {
        run.vm.tick(run.plugin);
        assert_eq!(run.logged(), ["0", "6"], "one callback has the whole body");
    }
    let parts = [headers(request(), false), body("onetwo", true)];
    let expected = parts.map(|part| request_part(stream, part));
    run.effects.retain(|effect| !matches!(effect, Effect::Log { .. }));
    assert_eq!(run.effects, expected);
    logged
}

#[test]
fn paused_headers_do_not_stop_body_callbacks() {
    assert_eq!(body_after_paused_headers(Profile::Generic, PluginOptions::default()), ["3", "6"]);
}

#[test]
fn envoy_stops_body_callbacks_while_headers_are_paused() {
    let logged = body_after_paused_headers(Profile::Envoy, PluginOptions::default());
    assert_eq!(logged, [""; 0]);
}

#[test]
fn envoy_option_allows_body_callbacks_while_headers_are_paused() {
    let options = PluginOptions::default().with_allow_on_headers_stop_iteration(true);
    assert_eq!(body_after_paused_headers(Profile::Envoy, options), ["3", "6"]);
}

#[test]
fn continue_in_the_callback_overrides_its_pause() {
    for profile in BOTH {
        let body = "(drop (call $continue_stream (i32.const 0))) (return (i32.const 1))";
        let mut run = Run::new(profile, &on("request_headers", body));
        let stream = run.get(true);
        assert_eq!(run.effects_without_logs(), [request_part(stream, headers(request(), true))]);
    }
}

/// Sends chunks of this size while the guest buffers the body, until the buffer limit is exceeded.
/// Returns the last effects.
fn overflow(profile: Profile, direction: Direction, chunk: usize, guest: &str) -> Vec<Effect> {
    let mut run = Run::new(profile, guest);
    let stream = run.get(false);
    if direction == Direction::Response {
        run.vm.response_headers(stream, response(), false);
    }
    run.effects_without_logs();
    let bytes = vec![b'x'; chunk];
    for _ in 0..64 {
        match direction {
            Direction::Request => run.vm.request_body(stream, &bytes, false),
            Direction::Response => run.vm.response_body(stream, &bytes, false),
        }
        let out = run.effects_without_logs();
        if !out.is_empty() {
            return out;
        }
    }
    Vec::new()
}

const LIMIT: usize = 1 << 20;

#[test]
fn envoy_cuts_a_buffered_response_above_1_mib() {
    let out = overflow(
        Profile::Envoy,
        Direction::Response,
        LIMIT / 16,
        &on("response_body", "(return (i32.const 1))"),
    );
    let [Effect::BodyOverflow { buffered, .. }, Effect::Reset { cause, .. }] = out[..] else {
        panic!("expected an overflow and a cut, got {out:?}")
    };
    assert_eq!((buffered, cause), (LIMIT / 16 * 17, ResetCause::Overflow));
}

#[test]
fn envoy_forwards_a_buffered_response_of_exactly_1_mib() {
    let guest = on("response_body", "(return (i32.eqz (local.get $c)))");
    let mut run = Run::new(Profile::Envoy, &guest);
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.vm.response_body(stream, &vec![b'x'; LIMIT], false);
    run.vm.response_body(stream, b"", true);
    let sent = run.effects_without_logs().pop();
    let whole = Part::Body { bytes: vec![b'x'; LIMIT], end: true };
    assert_eq!(sent, Some(response_part(stream, whole)));
}

#[test]
fn envoy_cuts_a_response_after_one_chunk_above_the_buffer_limit() {
    let mut run = Run::new(Profile::Envoy, &on("response_body", "(return (i32.const 1))"));
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.effects_without_logs();
    run.vm.response_body(stream, &vec![b'x'; LIMIT + 1], false);
    let out = run.effects_without_logs();
    assert!(matches!(out[..], [Effect::BodyOverflow { .. }, Effect::Reset { .. }]), "{out:?}");
}

#[test]
fn envoy_makes_no_callback_for_the_chunk_above_the_buffer_limit() {
    let guest = on("response_body", "(call $log_number (local.get $b)) (return (i32.const 1))");
    let mut run = Run::new(Profile::Envoy, &guest);
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.vm.response_body(stream, &vec![b'x'; LIMIT], false);
    run.vm.response_body(stream, b"x", false);
    assert_eq!(run.logged(), [LIMIT.to_string()]);
}

#[test]
fn envoy_rejects_a_buffered_request_above_1_mib_with_413() {
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
fn generic_host_has_no_buffer_limit() {
    let guest = on("response_body", "(return (i32.const 1))");
    assert_eq!(overflow(Profile::Generic, Direction::Response, LIMIT, &guest), []);
}

#[test]
fn continuing_a_stream_of_another_kind_is_unimplemented() {
    let calls = |kind| format!("(call $log_number (call $continue_stream (i32.const {kind})))");
    let body: String = (0..5).map(calls).collect();
    let mut run = Run::new(Profile::Generic, &on("request_headers", &body));
    assert_eq!(run.logged_on_request(), ["0", "0", "12", "12", "2"]);
}

#[test]
fn envoy_ignores_continuing_a_stream_of_another_kind() {
    let calls = |kind| format!("(call $log_number (call $continue_stream (i32.const {kind})))");
    let body: String = (0..5).map(calls).collect();
    let mut run = Run::new(Profile::Envoy, &on("request_headers", &body));
    assert_eq!(run.logged_on_request(), ["0", "0", "0", "12", "2"]);
}

#[test]
fn closing_cuts_the_exchange_once() {
    for profile in BOTH {
        for kind in [0, 1] {
            let body = format!(
                "(call $log_number (call $close_stream (i32.const {kind})))
                 (call $log_number (call $close_stream (i32.const 4)))
                 (drop (call $close_stream (i32.const {kind})))"
            );
            let mut run = Run::new(profile, &on("request_headers", &body));
            let stream = run.get(false);
            assert_eq!(run.logged(), ["0", "2"]);
            run.effects.retain(|effect| !matches!(effect, Effect::Log { .. }));
            assert_eq!(run.effects, [Effect::Reset { stream, cause: ResetCause::Guest }]);
            run.vm.request_body(stream, b"late", true);
            run.vm.response_headers(stream, response(), true);
            assert_eq!(
                run.effects_without_logs(),
                [],
                "nothing goes through a stream that was cut"
            );
        }
    }
}

#[test]
fn closing_a_stream_of_another_kind_is_unimplemented() {
    let body = "(call $log_number (call $close_stream (i32.const 2)))";
    assert_eq!(
        Run::new(Profile::Generic, &on("request_headers", body)).logged_on_request(),
        ["12"]
    );
}

#[test]
fn envoy_ignores_closing_a_stream_of_another_kind() {
    let body = "(call $log_number (call $close_stream (i32.const 2)))";
    assert_eq!(Run::new(Profile::Envoy, &on("request_headers", body)).logged_on_request(), ["0"]);
}
