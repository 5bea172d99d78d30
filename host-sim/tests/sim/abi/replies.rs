//! Local replies: what the client receives, what the guest sees of them, and when they are too
//! late.

use sluice_sim::{Effect, HeaderMap, Part, Profile, ReplySource, ResetCause, StreamId};

use crate::guest::{BOTH, Run, on, response};

/// Replies 403 with a header and a body.
const REPLY: &str = r#"(call $log_number (call $send_local_response (i32.const 403) @"because"
    @"no entry" @{x-why: rule} (i32.const -1)))"#;

fn parts(effects: &[Effect], of: StreamId) -> Vec<Part> {
    let part = |effect: &Effect| match effect {
        Effect::Response { stream, part } if *stream == of => Some(part.clone()),
        _ => None,
    };
    effects.iter().filter_map(part).collect()
}

#[test]
fn local_reply_ends_the_request_before_the_upstream() {
    for profile in BOTH {
        let mut run = Run::new(profile, &on("request_headers", REPLY));
        let stream = run.get(false);
        assert_eq!(run.logged(), ["0"]);
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
        assert_eq!(run.effects_without_logs(), [], "the exchange has ended");
    }
}

#[test]
fn local_reply_is_unchanged() {
    let mut run = Run::new(Profile::Generic, &on("request_headers", REPLY));
    let stream = run.get(false);
    let out = run.effects_without_logs();
    let expected: HeaderMap = [(":status", "403"), ("x-why", "rule")].into_iter().collect();
    assert_eq!(parts(&out, stream)[0], Part::Headers { map: expected, end: false });
}

#[test]
fn envoy_adds_length_and_type_to_a_local_reply() {
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
    let out = run.effects_without_logs();
    assert_eq!(parts(&out, stream)[0], Part::Headers { map: expected, end: false });
}

const SEEN: &str = "(call $log_number (i32.const 77))";

#[test]
fn envoy_runs_response_callbacks_for_a_local_reply() {
    let guest = on("request_headers", REPLY)
        + &on(
            "response_headers",
            &(SEEN.to_owned()
                + r#"(drop (call $add_header_map_value (i32.const 2) @"x-seen" @"1"))"#),
        )
        + &on("response_body", SEEN);
    let mut run = Run::new(Profile::Envoy, &guest);
    let stream = run.get(false);
    assert_eq!(run.logged(), ["0", "77", "77"]);
    let Part::Headers { map, .. } = &parts(&run.effects, stream)[0] else { panic!("no headers") };
    assert_eq!(map.text("x-seen"), Some("1"));
}

#[test]
fn local_reply_runs_no_response_callbacks() {
    let guest = on("request_headers", REPLY) + &on("response_headers", SEEN);
    let mut run = Run::new(Profile::Generic, &guest);
    run.get(false);
    assert_eq!(run.logged(), ["0"]);
}

#[test]
fn local_reply_in_the_response_phase_replaces_the_response() {
    for profile in BOTH {
        let guest = on("response_headers", &(SEEN.to_owned() + REPLY));
        let mut run = Run::new(profile, &guest);
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), false);
        run.vm.response_body(stream, b"upstream's", true);
        assert_eq!(run.logged(), ["77", "0"], "one callback runs");
        let [Part::Headers { map, .. }, Part::Body { bytes, end: true }] =
            &parts(&run.effects, stream)[..]
        else {
            panic!("expected headers and a body, got {:?}", run.effects)
        };
        assert_eq!((map.text(":status"), &bytes[..]), (Some("403"), &b"no entry"[..]));
    }
}

/// Replies in the body callback, after the headers were sent.
fn late(profile: Profile) -> (Vec<String>, Vec<Effect>) {
    let mut run = Run::new(profile, &on("response_body", REPLY));
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.effects_without_logs();
    run.vm.response_body(stream, b"x", true);
    let logged = run.logged();
    run.effects.retain(|effect| !matches!(effect, Effect::Log { .. }));
    (logged, run.effects)
}

#[test]
fn late_local_reply_is_rejected() {
    let (logged, effects) = late(Profile::Generic);
    assert_eq!(logged, ["2"]);
    assert!(matches!(effects[..], [Effect::Response { .. }]), "{effects:?}");
}

#[test]
fn envoy_cuts_the_stream_after_a_late_local_reply() {
    let (logged, effects) = late(Profile::Envoy);
    assert_eq!(logged, ["0"]);
    let [Effect::Reset { cause: ResetCause::LateReply, .. }] = effects[..] else {
        panic!("expected a cut, got {effects:?}")
    };
}

#[test]
fn local_reply_from_a_tick_ends_a_paused_stream() {
    for profile in BOTH {
        let tick = "(drop (call $set_effective_context (i32.const 2)))".to_owned() + REPLY;
        let mut run = Run::new(profile, &on("tick", &tick));
        let stream = run.get(true);
        run.effects_without_logs();
        run.vm.tick(run.plugin);
        let out = run.effects_without_logs();
        assert!(matches!(out[0], Effect::LocalReply { status: 403, .. }), "{out:?}");
        assert_eq!(parts(&out, stream).len(), 2);
    }
}

#[test]
fn plugin_cannot_send_a_local_reply() {
    assert_eq!(Run::new(Profile::Generic, &on("configure", REPLY)).logged(), ["2"]);
}

#[test]
fn envoy_ignores_a_local_reply_of_a_plugin() {
    assert_eq!(Run::new(Profile::Envoy, &on("configure", REPLY)).logged(), ["0"]);
}

#[test]
fn pointers_outside_memory_are_rejected() {
    for profile in BOTH {
        let body = r#"
            (call $log_number (call $send_local_response (i32.const 403) (i32.const -1) (i32.const 1)
              @"" @"" (i32.const -1)))
            (call $log_number (call $send_local_response (i32.const 403) @"" (i32.const 0) (i32.const -1)
              @"" (i32.const -1)))
            (call $log_number (call $send_local_response (i32.const 403) @"" @"" (i32.const 262144)
              (i32.const 4) (i32.const -1)))"#;
        let mut run = Run::new(profile, &on("request_headers", body));
        run.get(false);
        assert_eq!(run.logged(), ["6", "6", "6"]);
    }
}

fn reply_to(request: &[(&str, &str)]) -> Vec<Part> {
    let reply =
        r#"(drop (call $send_local_response (i32.const 503) @"" @"away 100%" @"" (i32.const -1)))"#;
    let mut run = Run::new(Profile::Envoy, &on("request_headers", reply));
    let stream = run.open();
    run.vm.request_headers(stream, request.iter().copied().collect(), true);
    let out = run.effects_without_logs();
    parts(&out, stream)
}

#[test]
fn envoy_sends_a_grpc_status_to_a_grpc_client() {
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

/// Measured on Envoy 1.40: the request counts as it arrived.
#[test]
fn envoy_sends_a_grpc_status_although_the_guest_changed_the_type_of_the_request() {
    let change =
        r#"(drop (call $replace_header_map_value (i32.const 0) @"content-type" @"text/plain"))"#;
    let mut run = Run::new(Profile::Envoy, &on("request_headers", &(change.to_owned() + REPLY)));
    let stream = run.open();
    let request = [(":method", "POST"), ("content-type", "application/grpc")];
    run.vm.request_headers(stream, request.into_iter().collect(), true);
    let out = run.effects_without_logs();
    let [Part::Headers { map, end: true }] = &parts(&out, stream)[..] else {
        panic!("expected headers alone, got {out:?}")
    };
    assert_eq!((map.text(":status"), map.text("grpc-status")), (Some("200"), Some("7")));
}

#[test]
fn envoy_sends_no_body_to_a_head_request() {
    let parts = reply_to(&[(":method", "HEAD")]);
    let [Part::Headers { map, end: true }] = &parts[..] else { panic!("got {parts:?}") };
    assert_eq!(map.text("content-length"), Some("9"));
}

#[test]
fn local_reply_to_a_local_reply_runs_no_more_callbacks() {
    let guest = on("request_headers", REPLY) + &on("response_headers", &(SEEN.to_owned() + REPLY));
    let mut run = Run::new(Profile::Envoy, &guest);
    let stream = run.get(true);
    assert_eq!(run.logged(), ["0", "77", "0"]);
    assert_eq!(parts(&run.effects, stream).len(), 2);
}

#[test]
fn local_reply_can_be_paused_and_continued() {
    let guest = on("request_headers", REPLY)
        + &on("response_headers", "(return (i32.const 1))")
        + &on(
            "tick",
            "(drop (call $set_effective_context (i32.const 2)))
             (drop (call $continue_stream (i32.const 1)))",
        );
    let mut run = Run::new(Profile::Envoy, &guest);
    let stream = run.get(true);
    let out = run.effects_without_logs();
    assert_eq!(parts(&out, stream), []);
    run.vm.response_headers(stream, response(), false);
    run.vm.response_body(stream, b"upstream's", true);
    run.vm.tick(run.plugin);
    let out = run.effects_without_logs();
    let [Part::Headers { .. }, Part::Body { bytes, end: true }] = &parts(&out, stream)[..] else {
        panic!("expected headers and a body, got {out:?}")
    };
    assert_eq!(bytes, b"no entry", "the late response of the upstream is dropped");
}

/// The effects and log lines if a tick makes these calls for a request that waits: the status of
/// each reply, "request" for a request that continues, and "headers" and "body" of the response.
fn in_a_tick(profile: Profile, calls: &str) -> Vec<String> {
    let tick = format!("(drop (call $set_effective_context (i32.const 2))) {calls}");
    let guest = on("request_headers", "(return (i32.const 1))")
        + &on("response_headers", SEEN)
        + &on("response_body", "(call $log_number (i32.const 78))")
        + &on("tick", &tick);
    let mut run = Run::new(profile, &guest);
    run.get(true);
    run.effects_without_logs();
    run.vm.tick(run.plugin);
    order(&run.out())
}

fn order(effects: &[Effect]) -> Vec<String> {
    let name = |effect: &Effect| match effect {
        Effect::Log { text, .. } => text.clone(),
        Effect::LocalReply { status, .. } => status.to_string(),
        Effect::Request { .. } => "request".to_owned(),
        Effect::Response { part: Part::Headers { .. }, .. } => "headers".to_owned(),
        Effect::Response { .. } => "body".to_owned(),
        other => format!("{other:?}"),
    };
    effects.iter().map(name).collect()
}

const CONTINUE: &str = "(drop (call $continue_stream (i32.const 0)))";

/// The kept random guests `reply-then-continue`, `reply-without-body-then-continue`,
/// `continue-then-reply` and `two-replies` show the same on a real Envoy.
#[test]
fn envoy_applies_what_follows_a_reply_within_its_first_callback() {
    let observed = |calls: String| in_a_tick(Profile::Envoy, &calls);
    assert_eq!(
        observed(format!("{REPLY} {CONTINUE}")),
        ["0", "403", "77", "request", "headers", "78", "body"]
    );
    let empty = REPLY.replace("no entry", "");
    assert_eq!(
        observed(format!("{empty} {CONTINUE}")),
        ["0", "403", "77", "headers"],
        "the reply is complete with its headers"
    );
    assert_eq!(
        observed(format!("{CONTINUE} {REPLY}")),
        ["0", "request", "403", "77", "headers", "78", "body"]
    );
    let second = REPLY.replace("403", "429");
    assert_eq!(
        observed(format!("{REPLY} {second}")),
        ["0", "0", "403", "77", "429", "headers", "body"],
        "the guest receives the first, and the client the second"
    );
}

#[test]
fn nothing_follows_a_reply() {
    let observed = in_a_tick(Profile::Generic, &format!("{REPLY} {CONTINUE}"));
    assert_eq!(observed, ["0", "403", "headers", "body"]);
}

#[test]
fn callback_for_the_request_that_replies_does_not_continue_it() {
    for calls in [format!("{REPLY} {CONTINUE}"), format!("{CONTINUE} {REPLY}")] {
        let mut run = Run::new(Profile::Envoy, &on("request_headers", &calls));
        run.get(true);
        assert_eq!(order(&run.effects_without_logs()), ["403", "headers", "body"], "{calls}");
    }
}
