//! HTTP and gRPC calls of the guest.

use std::time::Duration;

use sluice_sim::{CallFailure, CallId, Effect, HeaderMap, Profile};

use crate::guest::{BOTH, Run, log_status, on};

/// Calls `etcd` over HTTP, and logs the status and the id of the call.
const CALL: &str = r#"
    (call $log_number (call $http_call @"etcd" @{:method: POST, :path: /kv, :authority: etcd}
      @"question" @{t: 1} (i32.const 500) @p))
    (call $log_number (i32.load @p))"#;

/// Logs the arguments of `on_http_call_response` and the whole response.
const LOG_RESPONSE: &str = r#"
    (call $log_number (local.get $a)) (call $log_number (local.get $b)) (call $log_number (local.get $c))
    (call $log_number (local.get $d)) (call $log_number (local.get $e))
    (call $log_number (call $get_header_map_value (i32.const 6) @":status" @p @n))
    (call $log_number (call $get_buffer_bytes (i32.const 4) (i32.const 0) (i32.const 99) @p @n))
    (call $log_bytes)
    (call $log_number (call $get_header_map_value (i32.const 7) @"t" @p @n))
    (call $log_number (call $get_status @p (i32.const 24) (i32.const 28)))
    (call $log_number (i32.load @p))"#;

fn call_response() -> HeaderMap {
    [(":status", "200"), ("x", "y")].into_iter().collect()
}

#[test]
fn http_call_is_an_effect_and_its_response_reaches_the_plugin() {
    for profile in BOTH {
        let guest = on("request_headers", CALL) + &on("http_call_response", LOG_RESPONSE);
        let mut run = Run::new(profile, &guest);
        run.get(true);
        assert_eq!(run.logged(), ["0", "1"]);
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
        run.vm.http_call_response(call.call, call_response(), b"result", trailers);
        let code = if profile == Profile::Generic { "200" } else { "0" };
        let expected = ["1", "1", "2", "6", "1", "0", "0", "result", "0", "0", code];
        assert_eq!(run.logged(), expected);
        run.vm.http_call_response(call.call, call_response(), b"again", HeaderMap::new());
        assert_eq!(run.logged(), [""; 0], "a call has one response");
    }
}

#[test]
fn get_status_returns_the_status_of_an_http_call() {
    let body = "(drop (call $get_status @p (i32.const 24) (i32.const 28))) (call $log_number (i32.load @p))";
    let guest = on("request_headers", CALL) + &on("http_call_response", body);
    let mut run = Run::new(Profile::Generic, &guest);
    run.get(true);
    run.logged();
    run.vm.http_call_response(CallId(1), call_response(), b"", HeaderMap::new());
    assert_eq!(run.logged(), ["200"]);
}

fn failed(profile: Profile, failure: CallFailure) -> Vec<String> {
    let body = r#"(call $log_number (local.get $c)) (call $log_number (local.get $d))
        (if (local.get $c) (then
          (drop (call $get_header_map_value (i32.const 6) @":status" @p @n)) (call $log_bytes)))"#;
    let guest = on("request_headers", CALL) + &on("http_call_response", body);
    let mut run = Run::new(profile, &guest);
    run.get(true);
    run.logged();
    run.vm.http_call_failed(CallId(1), failure);
    run.logged()
}

#[test]
fn failed_call_has_no_headers() {
    assert_eq!(failed(Profile::Generic, CallFailure::Timeout), ["0", "0"]);
}

#[test]
fn envoy_delivers_a_failed_call_as_a_response_with_three_headers() {
    assert_eq!(failed(Profile::Envoy, CallFailure::Timeout), ["3", "24", "504"]);
    assert_eq!(failed(Profile::Envoy, CallFailure::Reset)[2], "503");
}

#[test]
fn invalid_calls_are_rejected() {
    for profile in BOTH {
        let body = r#"
            (call $log_number (call $http_call @"none" @{:method: GET, :path: /, :authority: a}
              @"" @"" (i32.const 500) @p))
            (call $log_number (call $http_call @"etcd" @{:method: GET, :path: /}
              @"" @"" (i32.const 500) @p))
            (call $log_number (call $http_call @"etcd" @{:method: GET, :path: /, :authority: a}
              @"" @"" (i32.const -1) @p))
            (call $log_number (call $http_call (i32.const -1) (i32.const 4) @"" @"" @"" (i32.const 1) @p))
            (call $log_number (call $http_call @"etcd" @{:method: GET, :path: /, :authority: a}
              @"" @"" (i32.const 1) (i32.const -1)))"#;
        let mut run = Run::new(profile, &on("request_headers", body));
        run.process.set_upstreams(Some(vec!["etcd".into()]));
        assert_eq!(run.logged_on_request(), ["2", "2", "2", "6", "6"]);
        assert!(!run.effects.iter().any(|effect| matches!(effect, Effect::HttpCall(_))));
    }
}

#[test]
fn number_of_pending_calls_is_limited() {
    for profile in BOTH {
        let body = r#"(local $status i32) (local $count i32)
            (loop $more
              (local.set $status (call $http_call @"etcd"
                @{:method: GET, :path: /, :authority: a} @"" @"" (i32.const 1) @p))
              (local.set $count (i32.add (local.get $count) (i32.const 1)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $log_number (local.get $status)) (call $log_number (local.get $count))"#;
        let mut run = Run::new(profile, &on("request_headers", body));
        assert_eq!(run.logged_on_request(), ["10", "1025"]);
    }
}

#[test]
fn response_to_an_ended_plugin_is_dropped() {
    for profile in BOTH {
        let guest =
            on("tick", CALL) + &on("http_call_response", "(call $log_number (i32.const 7))");
        let mut run = Run::new(profile, &guest);
        assert_eq!(run.logged_on_tick(), ["0", "1"]);
        run.vm.stop_plugin(run.plugin);
        run.vm.http_call_response(CallId(1), call_response(), b"", HeaderMap::new());
        assert_eq!(run.logged(), [""; 0]);
    }
}

/// The name of the upstream `auth` in each host.
fn upstream(profile: Profile) -> &'static str {
    match profile.rules().grpc_upstream_is_message {
        // A serialized GrpcService { envoy_grpc { cluster_name: "auth" } }.
        true => "@\"\n\u{6}\n\u{4}auth\"",
        false => "@\"auth\"",
    }
}

fn unary(profile: Profile) -> String {
    let upstream = upstream(profile);
    format!(
        r#"(call $log_number (call $grpc_call {upstream} @"pkg.Service" @"Check" @{{m: 1}} @"req"
             (i32.const 500) @p))
           (call $log_number (i32.load @p))"#
    )
}

fn stream(profile: Profile) -> String {
    let upstream = upstream(profile);
    format!(
        r#"(call $log_number (call $grpc_stream {upstream} @"pkg.Service" @"Watch" @"" @p))
           (call $log_number (i32.load @p))"#
    )
}

/// Logs the arguments and data of all gRPC callbacks.
fn grpc_callbacks() -> String {
    on(
        "grpc_receive_initial_metadata",
        r#"(call $log_number (i32.const 100)) (call $log_number (local.get $b)) (call $log_number (local.get $c))
           (call $log_number (call $get_header_map_value (i32.const 4) @"i" @p @n))"#,
    ) + &on(
        "grpc_receive",
        "(call $log_number (i32.const 101)) (call $log_number (local.get $b)) (call $log_number (local.get $c))
         (drop (call $get_buffer_bytes (i32.const 5) (i32.const 0) (i32.const 99) @p @n))
         (call $log_bytes)",
    ) + &on(
        "grpc_receive_trailing_metadata",
        r#"(call $log_number (i32.const 102)) (call $log_number (local.get $b)) (call $log_number (local.get $c))
           (call $log_number (call $get_header_map_value (i32.const 5) @"t" @p @n))"#,
    ) + &on(
        "grpc_close",
        "(call $log_number (i32.const 103)) (call $log_number (local.get $b)) (call $log_number (local.get $c))
         (drop (call $get_status (i32.const 24) @p @n)) (call $log_number (i32.load (i32.const 24)))
         (call $log_bytes)",
    )
}

#[test]
fn unary_call_ends_with_its_message() {
    for profile in BOTH {
        let mut run = Run::new(profile, &(on("tick", &unary(profile)) + &grpc_callbacks()));
        assert_eq!(run.logged_on_tick(), ["0", "1"]);
        let Some(Effect::GrpcOpen(open)) =
            run.effects.iter().find(|e| matches!(e, Effect::GrpcOpen(_)))
        else {
            panic!("the effects have no call")
        };
        assert_eq!((open.service.as_str(), open.method.as_str()), ("pkg.Service", "Check"));
        assert_eq!(open.message.as_deref(), Some(&b"req"[..]));
        assert_eq!(open.timeout, Some(Duration::from_millis(500)));
        assert_eq!(open.metadata.text("m"), Some("1"));
        run.vm.grpc_message(CallId(1), b"result");
        assert_eq!(run.logged(), ["101", "1", "6", "result"]);
        run.vm.grpc_close(CallId(1), 0, "");
        assert_eq!(run.logged(), [""; 0]);
    }
}

#[test]
fn unary_call_can_fail() {
    for profile in BOTH {
        let mut run = Run::new(profile, &(on("tick", &unary(profile)) + &grpc_callbacks()));
        run.logged_on_tick();
        run.vm.grpc_close(CallId(1), 14, "timed out");
        assert_eq!(run.logged(), ["103", "1", "14", "14", "timed out"]);
        run.vm.grpc_message(CallId(1), b"late");
        assert_eq!(run.logged(), [""; 0]);
    }
}

#[test]
fn grpc_stream_delivers_metadata_messages_and_status() {
    for profile in BOTH {
        let mut run = Run::new(profile, &(on("tick", &stream(profile)) + &grpc_callbacks()));
        run.logged_on_tick();
        run.vm.grpc_initial_metadata(CallId(1), [("i", "1")].into_iter().collect());
        run.vm.grpc_message(CallId(1), b"one");
        run.vm.grpc_message(CallId(1), b"two");
        run.vm.grpc_trailing_metadata(CallId(1), [("t", "1")].into_iter().collect());
        run.vm.grpc_close(CallId(1), 5, "gone");
        assert_eq!(
            run.logged(),
            [
                "100", "1", "1", "0", "101", "1", "3", "one", "101", "1", "3", "two", "102", "1",
                "1", "0", "103", "1", "5", "5", "gone"
            ]
        );
    }
}

#[test]
fn guest_sends_on_its_grpc_stream_and_ends_it() {
    for profile in BOTH {
        let send = r#"(call $log_number (call $grpc_send (i32.const 1) @"one" (i32.const 0)))
            (call $log_number (call $grpc_send (i32.const 1) (i32.const -1) (i32.const 1) (i32.const 0)))
            (call $log_number (call $grpc_close (i32.const 1)))
            (call $log_number (call $grpc_send (i32.const 1) @"late" (i32.const 0)))"#;
        let guest = on("tick", &(stream(profile) + send)) + &grpc_callbacks();
        let mut run = Run::new(profile, &guest);
        assert_eq!(run.logged_on_tick(), ["0", "1", "0", "6", "0", "2"]);
        let sent: Vec<Effect> = run.effects.split_off(3);
        let effects: Vec<Effect> =
            sent.into_iter().filter(|e| !matches!(e, Effect::Log { .. })).collect();
        let expected = [
            Effect::GrpcSend { call: CallId(1), message: b"one".into(), end: false },
            Effect::GrpcClose { call: CallId(1) },
        ];
        assert_eq!(effects, expected);
        run.vm.grpc_close(CallId(1), 0, "");
        assert_eq!(run.logged()[..3], ["103", "1", "0"], "the end of the peer is still delivered");
    }
}

#[test]
fn canceled_call_gets_no_response() {
    for profile in BOTH {
        let tick = unary(profile) + &log_status("grpc_cancel (i32.const 1)");
        let mut run = Run::new(profile, &(on("tick", &tick) + &grpc_callbacks()));
        assert_eq!(run.logged_on_tick(), ["0", "1", "0"]);
        run.vm.grpc_message(CallId(1), b"late");
        run.vm.grpc_close(CallId(1), 14, "");
        assert_eq!(run.logged(), [""; 0]);
    }
}

#[test]
fn unknown_calls_are_not_found_and_calls_of_another_kind_are_bad_arguments() {
    for profile in BOTH {
        let body = CALL.to_owned()
            + &unary(profile)
            + &log_status("grpc_send (i32.const 9) @\"\" (i32.const 0)")
            + &log_status("grpc_cancel (i32.const 9)")
            + &log_status("grpc_close (i32.const 9)")
            + &log_status("grpc_send (i32.const 1) @\"\" (i32.const 0)")
            + &log_status("grpc_send (i32.const 2) @\"\" (i32.const 0)")
            + &log_status("grpc_cancel (i32.const 1)")
            + &log_status("grpc_close (i32.const 1)");
        let mut run = Run::new(profile, &on("tick", &body));
        let expected = ["0", "1", "0", "2", "1", "1", "1", "2", "2", "2", "2"];
        assert_eq!(run.logged_on_tick(), expected);
    }
}

#[test]
fn call_of_another_plugin_is_not_found() {
    for profile in BOTH {
        let guest = on("configure", &(stream(profile) + &log_status("grpc_cancel (i32.const 1)")))
            + &on("tick", &log_status("grpc_send (i32.const 2) @\"\" (i32.const 0)"));
        let mut run = Run::new(profile, &guest);
        run.vm.start_plugin(sluice_sim::PluginOptions::default()).unwrap();
        assert_eq!(run.logged(), ["0", "1", "0", "0", "2", "1"]);
        assert_eq!(run.logged_on_tick(), ["1"]);
    }
}

#[test]
fn unknown_grpc_upstream_is_parse_failure() {
    let mut run = Run::new(Profile::Generic, &on("tick", &unary(Profile::Generic)));
    run.process.set_upstreams(Some(vec!["etcd".into()]));
    assert_eq!(run.logged_on_tick()[0], "4");
}

#[test]
fn envoy_rejects_a_grpc_upstream_that_is_not_a_message() {
    let body = r#"(call $log_number (call $grpc_call @"auth" @"s" @"m" @"" @"" (i32.const 1) @p))"#;
    assert_eq!(Run::new(Profile::Envoy, &on("tick", body)).logged_on_tick(), ["4"]);
}

#[test]
fn envoy_fails_a_grpc_call_to_an_unknown_cluster() {
    let mut run = Run::new(Profile::Envoy, &on("tick", &unary(Profile::Envoy)));
    run.process.set_upstreams(Some(vec!["etcd".into()]));
    assert_eq!(run.logged_on_tick()[0], "10");
}

#[test]
fn pointers_outside_memory_are_rejected() {
    for profile in BOTH {
        let upstream = upstream(profile);
        let body = format!(
            r#"(call $log_number (call $grpc_call (i32.const -1) (i32.const 4) @"s" @"m" @"" @"" (i32.const 1) @p))
               (call $log_number (call $grpc_call {upstream} @"s" @"m" @"" (i32.const -1) (i32.const 1) (i32.const 1) @p))
               (call $log_number (call $grpc_call {upstream} @"s" @"m" @"" @"" (i32.const 1) (i32.const -1)))
               (call $log_number (call $grpc_stream {upstream} @"s" @"m" (i32.const -1) (i32.const 4) @p))
               (call $log_number (call $grpc_stream {upstream} @"s" @"m" @"" (i32.const -1)))"#
        );
        assert_eq!(Run::new(profile, &on("tick", &body)).logged_on_tick(), ["6"; 5]);
    }
}
