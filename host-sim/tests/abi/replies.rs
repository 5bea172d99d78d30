//! Local replies: what the client gets, what the guest sees of it, when it is too late.

use sluice_sim::{Effect, HeaderMap, Part, Profile, ReplySource, ResetCause, StreamId};

use crate::guest::{BOTH, Run, on, response};

/// Replies 403 with a header and a body.
const REPLY: &str = r#"(call $say (call $send_local_response (i32.const 403) @"because"
    @"no entry" @{x-why: rule} (i32.const -1)))"#;

fn parts(effects: &[Effect], of: StreamId) -> Vec<Part> {
    let part = |effect: &Effect| match effect {
        Effect::Response { stream, part } if *stream == of => Some(part.clone()),
        _ => None,
    };
    effects.iter().filter_map(part).collect()
}

#[test]
fn a_reply_answers_the_request_and_nothing_goes_upstream() {
    for profile in BOTH {
        let mut run = Run::new(profile, &on("request_headers", REPLY));
        let stream = run.get(false);
        assert_eq!(run.said(), ["0"]);
        let reply = Effect::LocalReply {
            stream,
            status: 403,
            source: ReplySource::Guest,
            details: "because".into(),
        };
        assert!(run.effects.contains(&reply));
        assert!(!run.effects.iter().any(|effect| matches!(effect, Effect::Request { .. })));
        let [Part::Headers { map, end: false }, Part::Body { bytes, end: true }] =
            &parts(&run.effects, stream)[..]
        else {
            panic!("expected headers and a body, got {:?}", run.effects)
        };
        assert_eq!(map.text(":status"), Some("403"));
        assert_eq!(map.text("x-why"), Some("rule"));
        assert_eq!(bytes, b"no entry");
        run.vm.request_body(stream, b"late", true);
        run.vm.response_headers(stream, response(), true);
        assert_eq!(run.moved(), [], "the exchange is answered");
    }
}

#[test]
fn a_reply_is_sent_as_the_guest_wrote_it() {
    let mut run = Run::new(Profile::Generic, &on("request_headers", REPLY));
    let stream = run.get(false);
    let out = run.moved();
    let expected: HeaderMap = [(":status", "403"), ("x-why", "rule")].into_iter().collect();
    assert_eq!(parts(&out, stream)[0], Part::Headers { map: expected, end: false });
}

#[test]
fn under_envoy_a_reply_gets_length_and_type() {
    let mut run = Run::new(Profile::Envoy, &on("request_headers", REPLY));
    let stream = run.get(false);
    let expected: HeaderMap = [
        (":status", "403"),
        ("x-why", "rule"),
        ("content-length", "8"),
        ("content-type", "text/plain"),
    ]
    .into_iter()
    .collect();
    let out = run.moved();
    assert_eq!(parts(&out, stream)[0], Part::Headers { map: expected, end: false });
}

const SEEN: &str = "(call $say (i32.const 77))";

#[test]
fn under_envoy_a_reply_runs_through_the_response_callbacks() {
    let guest = on("request_headers", REPLY)
        + &on(
            "response_headers",
            &(SEEN.to_owned()
                + r#"(drop (call $add_header_map_value (i32.const 2) @"x-seen" @"1"))"#),
        )
        + &on("response_body", SEEN);
    let mut run = Run::new(Profile::Envoy, &guest);
    let stream = run.get(false);
    assert_eq!(run.said(), ["0", "77", "77"]);
    let Part::Headers { map, .. } = &parts(&run.effects, stream)[0] else { panic!("no headers") };
    assert_eq!(map.text("x-seen"), Some("1"));
}

#[test]
fn a_reply_does_not_run_through_the_response_callbacks() {
    let guest = on("request_headers", REPLY) + &on("response_headers", SEEN);
    let mut run = Run::new(Profile::Generic, &guest);
    run.get(false);
    assert_eq!(run.said(), ["0"]);
}

#[test]
fn a_reply_in_the_response_phase_replaces_the_response_directly() {
    for profile in BOTH {
        let guest = on("response_headers", &(SEEN.to_owned() + REPLY));
        let mut run = Run::new(profile, &guest);
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), false);
        run.vm.response_body(stream, b"upstream's", true);
        assert_eq!(run.said(), ["77", "0"], "the guest is asked once");
        let [Part::Headers { map, .. }, Part::Body { bytes, end: true }] =
            &parts(&run.effects, stream)[..]
        else {
            panic!("expected headers and a body, got {:?}", run.effects)
        };
        assert_eq!((map.text(":status"), &bytes[..]), (Some("403"), &b"no entry"[..]));
    }
}

/// Replies in the body callback, when the headers have left.
fn late(profile: Profile) -> (Vec<String>, Vec<Effect>) {
    let mut run = Run::new(profile, &on("response_body", REPLY));
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.moved();
    run.vm.response_body(stream, b"x", true);
    let said = run.said();
    run.effects.retain(|effect| !matches!(effect, Effect::Log { .. }));
    (said, run.effects)
}

#[test]
fn a_reply_that_is_too_late_is_refused() {
    let (said, effects) = late(Profile::Generic);
    assert_eq!(said, ["2"]);
    assert!(matches!(effects[..], [Effect::Response { .. }]), "{effects:?}");
}

#[test]
fn under_envoy_a_reply_that_is_too_late_cuts_the_stream() {
    let (said, effects) = late(Profile::Envoy);
    assert_eq!(said, ["0"]);
    let [Effect::Reset { cause: ResetCause::LateReply, .. }] = effects[..] else {
        panic!("expected a cut, got {effects:?}")
    };
}

#[test]
fn a_reply_from_the_tick_answers_a_stream_that_waits() {
    for profile in BOTH {
        let tick = "(drop (call $set_effective_context (i32.const 2)))".to_owned() + REPLY;
        let mut run = Run::new(profile, &on("tick", &tick));
        let stream = run.get(true);
        run.moved();
        run.vm.tick(run.plugin);
        let out = run.moved();
        assert!(matches!(out[0], Effect::LocalReply { status: 403, .. }), "{out:?}");
        assert_eq!(parts(&out, stream).len(), 2);
    }
}

#[test]
fn a_plugin_has_no_request_to_reply_to() {
    assert_eq!(Run::new(Profile::Generic, &on("configure", REPLY)).said(), ["2"]);
}

#[test]
fn under_envoy_a_reply_from_a_plugin_does_nothing() {
    assert_eq!(Run::new(Profile::Envoy, &on("configure", REPLY)).said(), ["0"]);
}

#[test]
fn pointers_outside_of_memory_are_refused() {
    for profile in BOTH {
        let body = r#"
            (call $say (call $send_local_response (i32.const 403) (i32.const -1) (i32.const 1)
              @"" @"" (i32.const -1)))
            (call $say (call $send_local_response (i32.const 403) @"" (i32.const 0) (i32.const -1)
              @"" (i32.const -1)))
            (call $say (call $send_local_response (i32.const 403) @"" @"" (i32.const 262144)
              (i32.const 4) (i32.const -1)))"#;
        let mut run = Run::new(profile, &on("request_headers", body));
        run.get(false);
        assert_eq!(run.said(), ["6", "6", "6"]);
    }
}

fn reply_to(request: &[(&str, &str)]) -> Vec<Part> {
    let reply =
        r#"(drop (call $send_local_response (i32.const 503) @"" @"away 100%" @"" (i32.const -1)))"#;
    let mut run = Run::new(Profile::Envoy, &on("request_headers", reply));
    let stream = run.open();
    run.vm.request_headers(stream, request.iter().copied().collect(), true);
    let out = run.moved();
    parts(&out, stream)
}

#[test]
fn under_envoy_a_grpc_request_is_answered_in_grpcs_way() {
    let expected: HeaderMap = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "14"),
        ("grpc-message", "away 100%25"),
    ]
    .into_iter()
    .collect();
    let parts = reply_to(&[(":method", "POST"), ("content-type", "application/grpc+proto")]);
    assert_eq!(parts, [Part::Headers { map: expected, end: true }]);
}

#[test]
fn under_envoy_a_head_request_is_answered_without_a_body() {
    let parts = reply_to(&[(":method", "HEAD")]);
    let [Part::Headers { map, end: true }] = &parts[..] else { panic!("got {parts:?}") };
    assert_eq!(map.text("content-length"), Some("9"));
}

#[test]
fn a_guest_that_replies_to_its_own_reply_is_not_asked_again() {
    let guest = on("request_headers", REPLY) + &on("response_headers", &(SEEN.to_owned() + REPLY));
    let mut run = Run::new(Profile::Envoy, &guest);
    let stream = run.get(true);
    assert_eq!(run.said(), ["0", "77", "0"]);
    assert_eq!(parts(&run.effects, stream).len(), 2);
}

#[test]
fn a_reply_can_be_held_and_let_go_later() {
    let guest = on("request_headers", REPLY)
        + &on("response_headers", "(return (i32.const 1))")
        + &on(
            "tick",
            "(drop (call $set_effective_context (i32.const 2)))
             (drop (call $continue_stream (i32.const 1)))",
        );
    let mut run = Run::new(Profile::Envoy, &guest);
    let stream = run.get(true);
    let out = run.moved();
    assert_eq!(parts(&out, stream), []);
    run.vm.response_headers(stream, response(), false);
    run.vm.response_body(stream, b"upstream's", true);
    run.vm.tick(run.plugin);
    let out = run.moved();
    let [Part::Headers { .. }, Part::Body { bytes, end: true }] = &parts(&out, stream)[..] else {
        panic!("expected headers and a body, got {out:?}")
    };
    assert_eq!(bytes, b"no entry", "the upstream's late answer is not wanted");
}
