//! Calls that a guest makes on its own account.

use std::time::Duration;

use sluice_sim::{CallFailure, CallId, Effect, HeaderMap, Profile};

use crate::guest::{BOTH, Run, on, says};

/// Calls `etcd` over HTTP and logs the status and the call's number.
const CALL: &str = r#"
    (call $say (call $http_call @"etcd" @{:method: POST, :path: /kv, :authority: etcd}
      @"question" @{t: 1} (i32.const 500) @p))
    (call $say (i32.load @p))"#;

/// Logs what `on_http_call_response` was told, and reads all of the answer.
const ANSWERED: &str = r#"
    (call $say (local.get $a)) (call $say (local.get $b)) (call $say (local.get $c))
    (call $say (local.get $d)) (call $say (local.get $e))
    (call $say (call $get_header_map_value (i32.const 6) @":status" @p @n))
    (call $say (call $get_buffer_bytes (i32.const 4) (i32.const 0) (i32.const 99) @p @n))
    (call $told)
    (call $say (call $get_header_map_value (i32.const 7) @"t" @p @n))
    (call $say (call $get_status @p (i32.const 24) (i32.const 28)))
    (call $say (i32.load @p))"#;

fn answer() -> HeaderMap {
    [(":status", "200"), ("x", "y")].into_iter().collect()
}

#[test]
fn a_call_comes_out_and_its_answer_goes_to_the_plugin() {
    for profile in BOTH {
        let guest = on("request_headers", CALL) + &on("http_call_response", ANSWERED);
        let mut run = Run::new(profile, &guest);
        run.get(true);
        assert_eq!(run.said(), ["0", "1"]);
        let called = run.effects.iter().find_map(|effect| match effect {
            Effect::HttpCall(call) => Some((**call).clone()),
            _ => None,
        });
        let call = called.unwrap();
        assert_eq!((call.call, call.plugin), (CallId(1), run.plugin));
        assert_eq!((call.upstream.as_str(), &call.body[..]), ("etcd", &b"question"[..]));
        assert_eq!(call.headers.text(":path"), Some("/kv"));
        assert_eq!(call.trailers.text("t"), Some("1"));
        assert_eq!(call.timeout, Some(Duration::from_millis(500)));
        let trailers = [("t", "2")].into_iter().collect();
        run.vm.http_call_response(call.call, answer(), b"answer", trailers);
        let code = if profile == Profile::Generic { "200" } else { "0" };
        let told = ["1", "1", "2", "6", "1", "0", "0", "answer", "0", "0", code];
        assert_eq!(run.said(), told);
        run.vm.http_call_response(call.call, answer(), b"again", HeaderMap::new());
        assert_eq!(run.said(), [""; 0], "a call is answered once");
    }
}

#[test]
fn the_status_of_an_http_call_is_known() {
    let body =
        "(drop (call $get_status @p (i32.const 24) (i32.const 28))) (call $say (i32.load @p))";
    let guest = on("request_headers", CALL) + &on("http_call_response", body);
    let mut run = Run::new(Profile::Generic, &guest);
    run.get(true);
    run.said();
    run.vm.http_call_response(CallId(1), answer(), b"", HeaderMap::new());
    assert_eq!(run.said(), ["200"]);
}

fn failed(profile: Profile, failure: CallFailure) -> Vec<String> {
    let body = r#"(call $say (local.get $c)) (call $say (local.get $d))
        (if (local.get $c) (then
          (drop (call $get_header_map_value (i32.const 6) @":status" @p @n)) (call $told)))"#;
    let guest = on("request_headers", CALL) + &on("http_call_response", body);
    let mut run = Run::new(profile, &guest);
    run.get(true);
    run.said();
    run.vm.http_call_failed(CallId(1), failure);
    run.said()
}

#[test]
fn a_failed_call_has_no_headers() {
    assert_eq!(failed(Profile::Generic, CallFailure::Timeout), ["0", "0"]);
}

#[test]
fn under_envoy_a_failed_call_is_a_response_with_three_headers() {
    assert_eq!(failed(Profile::Envoy, CallFailure::Timeout), ["3", "24", "504"]);
    assert_eq!(failed(Profile::Envoy, CallFailure::Reset)[2], "503");
}

#[test]
fn calls_that_cannot_be_made_are_refused() {
    for profile in BOTH {
        let body = r#"
            (call $say (call $http_call @"none" @{:method: GET, :path: /, :authority: a}
              @"" @"" (i32.const 500) @p))
            (call $say (call $http_call @"etcd" @{:method: GET, :path: /}
              @"" @"" (i32.const 500) @p))
            (call $say (call $http_call @"etcd" @{:method: GET, :path: /, :authority: a}
              @"" @"" (i32.const -1) @p))
            (call $say (call $http_call (i32.const -1) (i32.const 4) @"" @"" @"" (i32.const 1) @p))
            (call $say (call $http_call @"etcd" @{:method: GET, :path: /, :authority: a}
              @"" @"" (i32.const 1) (i32.const -1)))"#;
        let mut run = Run::new(profile, &on("request_headers", body));
        run.process.set_upstreams(Some(vec!["etcd".into()]));
        assert_eq!(run.said_on_request(), ["2", "2", "2", "6", "6"]);
        assert!(!run.effects.iter().any(|effect| matches!(effect, Effect::HttpCall(_))));
    }
}

#[test]
fn calls_that_are_never_answered_are_bounded() {
    for profile in BOTH {
        let body = r#"(local $status i32) (local $count i32)
            (loop $more
              (local.set $status (call $http_call @"etcd"
                @{:method: GET, :path: /, :authority: a} @"" @"" (i32.const 1) @p))
              (local.set $count (i32.add (local.get $count) (i32.const 1)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $say (local.get $status)) (call $say (local.get $count))"#;
        let mut run = Run::new(profile, &on("request_headers", body));
        assert_eq!(run.said_on_request(), ["10", "1025"]);
    }
}

#[test]
fn the_answer_to_a_plugin_that_has_ended_is_dropped() {
    for profile in BOTH {
        let guest = on("tick", CALL) + &on("http_call_response", "(call $say (i32.const 7))");
        let mut run = Run::new(profile, &guest);
        assert_eq!(run.ticked(), ["0", "1"]);
        run.vm.stop_plugin(run.plugin);
        run.vm.http_call_response(CallId(1), answer(), b"", HeaderMap::new());
        assert_eq!(run.said(), [""; 0]);
    }
}

/// How a guest names the upstream `auth` to each host.
fn upstream(profile: Profile) -> &'static str {
    match profile {
        // A serialized GrpcService { envoy_grpc { cluster_name: "auth" } }.
        Profile::Envoy => "@\"\n\u{6}\n\u{4}auth\"",
        Profile::Generic => "@\"auth\"",
    }
}

fn unary(profile: Profile) -> String {
    let upstream = upstream(profile);
    format!(
        r#"(call $say (call $grpc_call {upstream} @"pkg.Service" @"Check" @{{m: 1}} @"ask"
             (i32.const 500) @p))
           (call $say (i32.load @p))"#
    )
}

fn stream(profile: Profile) -> String {
    let upstream = upstream(profile);
    format!(
        r#"(call $say (call $grpc_stream {upstream} @"pkg.Service" @"Watch" @"" @p))
           (call $say (i32.load @p))"#
    )
}

/// Logs everything that a gRPC call gives.
fn grpc_callbacks() -> String {
    on(
        "grpc_receive_initial_metadata",
        r#"(call $say (i32.const 100)) (call $say (local.get $b)) (call $say (local.get $c))
           (call $say (call $get_header_map_value (i32.const 4) @"i" @p @n))"#,
    ) + &on(
        "grpc_receive",
        "(call $say (i32.const 101)) (call $say (local.get $b)) (call $say (local.get $c))
         (drop (call $get_buffer_bytes (i32.const 5) (i32.const 0) (i32.const 99) @p @n))
         (call $told)",
    ) + &on(
        "grpc_receive_trailing_metadata",
        r#"(call $say (i32.const 102)) (call $say (local.get $b)) (call $say (local.get $c))
           (call $say (call $get_header_map_value (i32.const 5) @"t" @p @n))"#,
    ) + &on(
        "grpc_close",
        "(call $say (i32.const 103)) (call $say (local.get $b)) (call $say (local.get $c))
         (drop (call $get_status (i32.const 24) @p @n)) (call $say (i32.load (i32.const 24)))
         (call $told)",
    )
}

#[test]
fn a_unary_call_ends_with_its_message() {
    for profile in BOTH {
        let mut run = Run::new(profile, &(on("tick", &unary(profile)) + &grpc_callbacks()));
        assert_eq!(run.ticked(), ["0", "1"]);
        let Some(Effect::GrpcOpen(open)) =
            run.effects.iter().find(|e| matches!(e, Effect::GrpcOpen(_)))
        else {
            panic!("no call came out")
        };
        assert_eq!((open.service.as_str(), open.method.as_str()), ("pkg.Service", "Check"));
        assert_eq!(open.message.as_deref(), Some(&b"ask"[..]));
        assert_eq!(open.timeout, Some(Duration::from_millis(500)));
        assert_eq!(open.metadata.text("m"), Some("1"));
        run.vm.grpc_message(CallId(1), b"answer");
        assert_eq!(run.said(), ["101", "1", "6", "answer"]);
        run.vm.grpc_close(CallId(1), 0, "");
        assert_eq!(run.said(), [""; 0]);
    }
}

#[test]
fn a_unary_call_can_fail_instead() {
    for profile in BOTH {
        let mut run = Run::new(profile, &(on("tick", &unary(profile)) + &grpc_callbacks()));
        run.ticked();
        run.vm.grpc_close(CallId(1), 14, "timed out");
        assert_eq!(run.said(), ["103", "1", "14", "14", "timed out"]);
        run.vm.grpc_message(CallId(1), b"late");
        assert_eq!(run.said(), [""; 0]);
    }
}

#[test]
fn a_stream_gives_metadata_messages_and_a_status() {
    for profile in BOTH {
        let mut run = Run::new(profile, &(on("tick", &stream(profile)) + &grpc_callbacks()));
        run.ticked();
        run.vm.grpc_initial_metadata(CallId(1), [("i", "1")].into_iter().collect());
        run.vm.grpc_message(CallId(1), b"one");
        run.vm.grpc_message(CallId(1), b"two");
        run.vm.grpc_trailing_metadata(CallId(1), [("t", "1")].into_iter().collect());
        run.vm.grpc_close(CallId(1), 5, "gone");
        assert_eq!(
            run.said(),
            [
                "100", "1", "1", "0", "101", "1", "3", "one", "101", "1", "3", "two", "102", "1",
                "1", "0", "103", "1", "5", "5", "gone"
            ]
        );
    }
}

#[test]
fn a_guest_sends_on_its_stream_and_ends_it() {
    for profile in BOTH {
        let send = r#"(call $say (call $grpc_send (i32.const 1) @"one" (i32.const 0)))
            (call $say (call $grpc_send (i32.const 1) (i32.const -1) (i32.const 1) (i32.const 0)))
            (call $say (call $grpc_close (i32.const 1)))
            (call $say (call $grpc_send (i32.const 1) @"late" (i32.const 0)))"#;
        let guest = on("tick", &(stream(profile) + send)) + &grpc_callbacks();
        let mut run = Run::new(profile, &guest);
        assert_eq!(run.ticked(), ["0", "1", "0", "6", "0", "2"]);
        let sent: Vec<Effect> = run.effects.split_off(3);
        let moved: Vec<Effect> =
            sent.into_iter().filter(|e| !matches!(e, Effect::Log { .. })).collect();
        let expected = [
            Effect::GrpcSend { call: CallId(1), message: b"one".into(), end: false },
            Effect::GrpcClose { call: CallId(1) },
        ];
        assert_eq!(moved, expected);
        run.vm.grpc_close(CallId(1), 0, "");
        assert_eq!(run.said()[..3], ["103", "1", "0"], "the peer's end is still told");
    }
}

#[test]
fn a_cancelled_call_is_not_answered() {
    for profile in BOTH {
        let tick = unary(profile) + &says("grpc_cancel (i32.const 1)");
        let mut run = Run::new(profile, &(on("tick", &tick) + &grpc_callbacks()));
        assert_eq!(run.ticked(), ["0", "1", "0"]);
        run.vm.grpc_message(CallId(1), b"late");
        run.vm.grpc_close(CallId(1), 14, "");
        assert_eq!(run.said(), [""; 0]);
    }
}

#[test]
fn unknown_calls_are_not_found_and_calls_of_another_kind_are_bad_arguments() {
    for profile in BOTH {
        let body = CALL.to_owned()
            + &unary(profile)
            + &says("grpc_send (i32.const 9) @\"\" (i32.const 0)")
            + &says("grpc_cancel (i32.const 9)")
            + &says("grpc_close (i32.const 9)")
            + &says("grpc_send (i32.const 1) @\"\" (i32.const 0)")
            + &says("grpc_send (i32.const 2) @\"\" (i32.const 0)")
            + &says("grpc_cancel (i32.const 1)")
            + &says("grpc_close (i32.const 1)");
        let mut run = Run::new(profile, &on("tick", &body));
        let expected = ["0", "1", "0", "2", "1", "1", "1", "2", "2", "2", "2"];
        assert_eq!(run.ticked(), expected);
    }
}

#[test]
fn a_call_of_another_plugin_is_not_found() {
    for profile in BOTH {
        let guest = on("configure", &(stream(profile) + &says("grpc_cancel (i32.const 1)")))
            + &on("tick", &says("grpc_send (i32.const 2) @\"\" (i32.const 0)"));
        let mut run = Run::new(profile, &guest);
        run.vm.start_plugin(sluice_sim::PluginOptions::default()).unwrap();
        assert_eq!(run.said(), ["0", "1", "0", "0", "2", "1"]);
        assert_eq!(run.ticked(), ["1"]);
    }
}

#[test]
fn an_unknown_upstream_of_a_grpc_call_is_a_parse_failure() {
    let mut run = Run::new(Profile::Generic, &on("tick", &unary(Profile::Generic)));
    run.process.set_upstreams(Some(vec!["etcd".into()]));
    assert_eq!(run.ticked()[0], "4");
}

#[test]
fn under_envoy_a_grpc_upstream_that_is_no_message_is_a_parse_failure() {
    let body = r#"(call $say (call $grpc_call @"auth" @"s" @"m" @"" @"" (i32.const 1) @p))"#;
    assert_eq!(Run::new(Profile::Envoy, &on("tick", body)).ticked(), ["4"]);
}

#[test]
fn under_envoy_a_grpc_call_to_an_unknown_cluster_fails() {
    let mut run = Run::new(Profile::Envoy, &on("tick", &unary(Profile::Envoy)));
    run.process.set_upstreams(Some(vec!["etcd".into()]));
    assert_eq!(run.ticked()[0], "10");
}

#[test]
fn pointers_outside_of_memory_are_refused() {
    for profile in BOTH {
        let upstream = upstream(profile);
        let body = format!(
            r#"(call $say (call $grpc_call (i32.const -1) (i32.const 4) @"s" @"m" @"" @"" (i32.const 1) @p))
               (call $say (call $grpc_call {upstream} @"s" @"m" @"" (i32.const -1) (i32.const 1) (i32.const 1) @p))
               (call $say (call $grpc_call {upstream} @"s" @"m" @"" @"" (i32.const 1) (i32.const -1)))
               (call $say (call $grpc_stream {upstream} @"s" @"m" (i32.const -1) (i32.const 4) @p))
               (call $say (call $grpc_stream {upstream} @"s" @"m" @"" (i32.const -1)))"#
        );
        assert_eq!(Run::new(profile, &on("tick", &body)).ticked(), ["6"; 5]);
    }
}
