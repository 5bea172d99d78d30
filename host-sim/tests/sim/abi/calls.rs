//! HTTP and gRPC calls of the guest.

use std::time::Duration;

use sluice_sim::{CallFailure, CallId, Effect, HeaderMap, Profile};

use crate::guest::{BOTH, Run, log_status, on};

/// Calls `etcd` over HTTP, and logs the status and the id of the call.
const CALL: &str = r#"
    (call $log_number (call $http_call @"etcd" @{:method: POST, :path: /kv, :authority: etcd}
      @"question" @{t: 1} (i32.const 500) @p))
    (call $log_number (i32.load @p))"#;

/// The id of the first HTTP call, unary gRPC call or gRPC stream of a VM.
fn ids(profile: Profile) -> [u32; 3] {
    match profile.rules().call_ids_have_kind {
        true => [4, 5, 6],
        false => [1, 1, 1],
    }
}

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
        let [id, ..] = ids(profile);
        assert_eq!(run.logged(), ["0".to_owned(), id.to_string()]);
        let called = run.effects.iter().find_map(|effect| match effect {
            Effect::HttpCall(call) => Some((**call).clone()),
            _ => None,
        });
        let call = called.unwrap();
        assert_eq!((call.call, call.plugin), (CallId(id), run.plugin));
        assert_eq!((call.upstream.as_str(), &call.body[..]), ("etcd", &b"question"[..]));
        assert_eq!(call.headers.text(":path"), Some("/kv"));
        assert_eq!(call.trailers.text("t"), Some("1"));
        assert_eq!(call.timeout, Some(Duration::from_millis(500)));
        let trailers = [("t", "2")].into_iter().collect();
        run.vm.http_call_response(call.call, call_response(), b"result", trailers);
        let code = if profile == Profile::Generic { "200" } else { "0" };
        let id = id.to_string();
        let expected = ["1", &id, "2", "6", "1", "0", "0", "result", "0", "0", code];
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
          (drop (call $get_header_map_value (i32.const 6) @":status" @p @n)) (call $log_bytes)))
        (drop (call $get_status (i32.const 24) @p @n)) (call $log_number (i32.load (i32.const 24)))"#;
    let guest = on("request_headers", CALL) + &on("http_call_response", body);
    let mut run = Run::new(profile, &guest);
    run.get(true);
    run.logged();
    run.vm.http_call_failed(CallId(ids(profile)[0]), failure);
    run.logged()
}

#[test]
fn failed_call_has_no_headers() {
    assert_eq!(failed(Profile::Generic, CallFailure::Timeout), ["0", "0", "0"]);
}

#[test]
fn envoy_delivers_a_failed_call_as_a_response_with_three_headers() {
    let failed = |failure| failed(Profile::Envoy, failure);
    assert_eq!(failed(CallFailure::Timeout), ["3", "24", "504", "0"]);
    assert_eq!(failed(CallFailure::Refused), ["3", "98", "503", "0"]);
    assert_eq!(failed(CallFailure::Reset), ["3", "95", "503", "0"]);
    assert_eq!(failed(CallFailure::Protocol), ["3", "87", "502", "0"]);
    // A response that was cut: the status is BROKEN_CONNECTION.
    assert_eq!(failed(CallFailure::IncompleteResponse), ["0", "0", "11"]);
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
        let [id, ..] = ids(profile);
        assert_eq!(run.logged_on_tick(), ["0".to_owned(), id.to_string()]);
        run.vm.stop_plugin(run.plugin);
        run.vm.http_call_response(CallId(id), call_response(), b"", HeaderMap::new());
        assert_eq!(run.logged(), [""; 0]);
    }
}

/// The name of the upstream `auth` in each host.
fn upstream(profile: Profile) -> &'static str {
    match profile.rules().grpc_upstream_may_be_message {
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
        let [_, id, _] = ids(profile);
        assert_eq!(run.logged_on_tick(), ["0".to_owned(), id.to_string()]);
        let Some(Effect::GrpcOpen(open)) =
            run.effects.iter().find(|e| matches!(e, Effect::GrpcOpen(_)))
        else {
            panic!("the effects have no call")
        };
        assert_eq!((open.service.as_str(), open.method.as_str()), ("pkg.Service", "Check"));
        assert_eq!(open.message.as_deref(), Some(&b"req"[..]));
        assert_eq!(open.timeout, Some(Duration::from_millis(500)));
        assert_eq!(open.metadata.text("m"), Some("1"));
        run.vm.grpc_message(CallId(id), b"result");
        assert_eq!(run.logged(), ["101", &id.to_string(), "6", "result"]);
        run.vm.grpc_close(CallId(id), 0, "");
        assert_eq!(run.logged(), [""; 0]);
    }
}

/// The kept random guest `grpc-message-writes` shows the same on a real Envoy. In the
/// specification, only bodies and TCP data are buffers that a plugin can change.
#[test]
fn message_of_a_grpc_call_can_be_changed_in_envoy() {
    for (profile, status, message) in
        [(Profile::Envoy, "0", "XYsult"), (Profile::Generic, "2", "result")]
    {
        let write = on(
            "grpc_receive",
            r#"(call $log_number
                 (call $set_buffer_bytes (i32.const 5) (i32.const 0) (i32.const 2) @"XY"))
               (drop (call $get_buffer_bytes (i32.const 5) (i32.const 0) (i32.const 99) @p @n))
               (call $log_bytes)"#,
        );
        let mut run = Run::new(profile, &(on("tick", &unary(profile)) + &write));
        run.logged_on_tick();
        run.vm.grpc_message(CallId(ids(profile)[1]), b"result");
        assert_eq!(run.logged(), [status, message]);
    }
}

#[test]
fn unary_call_can_fail() {
    for profile in BOTH {
        let mut run = Run::new(profile, &(on("tick", &unary(profile)) + &grpc_callbacks()));
        run.logged_on_tick();
        let [_, id, _] = ids(profile);
        run.vm.grpc_close(CallId(id), 14, "timed out");
        assert_eq!(run.logged(), ["103", &id.to_string(), "14", "14", "timed out"]);
        run.vm.grpc_message(CallId(id), b"late");
        assert_eq!(run.logged(), [""; 0]);
    }
}

#[test]
fn grpc_stream_delivers_metadata_messages_and_status() {
    for profile in BOTH {
        let mut run = Run::new(profile, &(on("tick", &stream(profile)) + &grpc_callbacks()));
        run.logged_on_tick();
        let [.., id] = ids(profile);
        run.vm.grpc_initial_metadata(CallId(id), [("i", "1")].into_iter().collect());
        run.vm.grpc_message(CallId(id), b"one");
        run.vm.grpc_message(CallId(id), b"two");
        run.vm.grpc_trailing_metadata(CallId(id), [("t", "1")].into_iter().collect());
        run.vm.grpc_close(CallId(id), 5, "gone");
        let id = id.to_string();
        let id = id.as_str();
        assert_eq!(
            run.logged(),
            [
                "100", id, "1", "0", "101", id, "3", "one", "101", id, "3", "two", "102", id, "1",
                "0", "103", id, "5", "5", "gone"
            ]
        );
    }
}

#[test]
fn guest_sends_on_its_grpc_stream_and_ends_it() {
    for profile in BOTH {
        let [.., id] = ids(profile);
        let send = format!(
            r#"(call $log_number (call $grpc_send (i32.const {id}) @"one" (i32.const 0)))
            (call $log_number (call $grpc_send (i32.const {id}) (i32.const -1) (i32.const 1) (i32.const 0)))
            (call $log_number (call $grpc_close (i32.const {id})))
            (call $log_number (call $grpc_send (i32.const {id}) @"late" (i32.const 0)))"#
        );
        let guest = on("tick", &(stream(profile) + &send)) + &grpc_callbacks();
        let mut run = Run::new(profile, &guest);
        // Measured on Envoy 1.40: a message after the end is dropped.
        let late = if profile == Profile::Envoy { "0" } else { "2" };
        assert_eq!(run.logged_on_tick(), ["0", &id.to_string(), "0", "6", "0", late]);
        let sent: Vec<Effect> = run.effects.split_off(3);
        let effects: Vec<Effect> =
            sent.into_iter().filter(|e| !matches!(e, Effect::Log { .. })).collect();
        let expected = [
            Effect::GrpcSend { call: CallId(id), message: b"one".into(), end: false },
            Effect::GrpcClose { call: CallId(id) },
        ];
        assert_eq!(effects, expected);
        run.vm.grpc_close(CallId(id), 0, "");
        let logged = run.logged();
        assert_eq!(logged[..3], ["103", &id.to_string(), "0"], "the end of the peer is delivered");
    }
}

#[test]
fn canceled_call_gets_no_response() {
    for profile in BOTH {
        let [_, id, _] = ids(profile);
        let tick = unary(profile) + &log_status(&format!("grpc_cancel (i32.const {id})"));
        let mut run = Run::new(profile, &(on("tick", &tick) + &grpc_callbacks()));
        assert_eq!(run.logged_on_tick(), ["0", &id.to_string(), "0"]);
        run.vm.grpc_message(CallId(id), b"late");
        run.vm.grpc_close(CallId(id), 14, "");
        assert_eq!(run.logged(), [""; 0]);
    }
}

#[test]
fn unknown_calls_are_not_found_and_calls_of_another_kind_are_bad_arguments() {
    let body = CALL.to_owned()
        + &unary(Profile::Generic)
        + &log_status("grpc_send (i32.const 9) @\"\" (i32.const 0)")
        + &log_status("grpc_cancel (i32.const 9)")
        + &log_status("grpc_close (i32.const 9)")
        + &log_status("grpc_send (i32.const 1) @\"\" (i32.const 0)")
        + &log_status("grpc_send (i32.const 2) @\"\" (i32.const 0)")
        + &log_status("grpc_cancel (i32.const 1)")
        + &log_status("grpc_close (i32.const 1)");
    let mut run = Run::new(Profile::Generic, &on("tick", &body));
    let expected = ["0", "1", "0", "2", "1", "1", "1", "2", "2", "2", "2"];
    assert_eq!(run.logged_on_tick(), expected);
}

/// Measured on Envoy 1.40.
#[test]
fn envoy_reads_the_kind_of_a_call_from_its_id() {
    let calls = [
        ("grpc_send (i32.const 5) @\"\" (i32.const 0)", "2"),
        ("grpc_send (i32.const 10) @\"\" (i32.const 0)", "1"),
        ("grpc_send (i32.const 4) @\"\" (i32.const 0)", "2"),
        ("grpc_cancel (i32.const 4)", "2"),
        ("grpc_cancel (i32.const 5)", "1"),
        ("grpc_close (i32.const 4)", "2"),
        ("grpc_close (i32.const 7)", "2"),
        ("grpc_close (i32.const 9)", "1"),
        ("grpc_cancel (i32.const 7)", "2"),
    ];
    let body: String = calls.iter().map(|(call, _)| log_status(call)).collect();
    let mut run = Run::new(Profile::Envoy, &on("tick", &(stream(Profile::Envoy) + &body)));
    let expected: Vec<&str> = calls.iter().map(|(_, status)| *status).collect();
    assert_eq!(run.logged_on_tick()[2..], expected);
}

#[test]
fn envoy_counts_each_kind_of_call_on_its_own() {
    let body = unary(Profile::Envoy) + &unary(Profile::Envoy) + &stream(Profile::Envoy) + CALL;
    let logged = Run::new(Profile::Envoy, &on("tick", &body)).logged_on_tick();
    assert_eq!(logged, ["0", "5", "0", "9", "0", "6", "0", "4"]);
}

#[test]
fn call_of_another_plugin_is_not_found() {
    for profile in BOTH {
        let [.., id] = ids(profile);
        let second = if profile == Profile::Envoy { 10 } else { 2 };
        let cancel = log_status(&format!("grpc_cancel (i32.const {id})"));
        let send = log_status(&format!("grpc_send (i32.const {second}) @\"\" (i32.const 0)"));
        let guest = on("configure", &(stream(profile) + &cancel)) + &on("tick", &send);
        let mut run = Run::new(profile, &guest);
        run.vm.start_plugin(sluice_sim::PluginOptions::default()).unwrap();
        let (id, second) = (id.to_string(), second.to_string());
        assert_eq!(run.logged(), ["0", &id, "0", "0", &second, "1"]);
        assert_eq!(run.logged_on_tick(), ["1"]);
    }
}

#[test]
fn unknown_plain_grpc_upstream_is_parse_failure() {
    for profile in BOTH {
        let body =
            r#"(call $log_number (call $grpc_call @"auth" @"s" @"m" @"" @"" (i32.const 1) @p))"#;
        let mut run = Run::new(profile, &on("tick", body));
        run.process.set_upstreams(Some(vec!["etcd".into()]));
        assert_eq!(run.logged_on_tick(), ["4"]);
    }
}

#[test]
fn plain_name_of_a_cluster_is_a_grpc_upstream() {
    for profile in BOTH {
        let body =
            r#"(call $log_number (call $grpc_call @"auth" @"s" @"m" @"" @"" (i32.const 1) @p))"#;
        let mut run = Run::new(profile, &on("tick", body));
        run.process.set_upstreams(Some(vec!["auth".into()]));
        assert_eq!(run.logged_on_tick(), ["0"]);
    }
}

/// Measured on Envoy 1.40: the callback follows the one that made the call.
#[test]
fn envoy_closes_a_grpc_call_to_an_unknown_cluster_in_a_message() {
    for (call, id) in [(unary(Profile::Envoy), "5"), (stream(Profile::Envoy), "6")] {
        let mut run = Run::new(Profile::Envoy, &(on("tick", &call) + &grpc_callbacks()));
        run.process.set_upstreams(Some(vec!["etcd".into()]));
        let expected = ["10", "0", "103", id, "14", "14", "Cluster not available"];
        assert_eq!(run.logged_on_tick(), expected);
    }
}

#[test]
fn calls_that_fail_at_once_are_bounded() {
    let again = on("grpc_close", &unary(Profile::Envoy));
    let mut run = Run::new(Profile::Envoy, &(on("tick", &unary(Profile::Envoy)) + &again));
    run.process.set_upstreams(Some(Vec::new()));
    let logged = run.logged_on_tick();
    assert!((4..100).contains(&logged.len()), "{} lines", logged.len());
}

/// Measured on Envoy 1.40: `panic: unset oneof`. Any name that happens to be a valid message has
/// this effect, such as one of nine letters that begins with an `a`.
#[test]
fn envoy_aborts_if_a_grpc_upstream_is_a_message_without_a_target() {
    for name in ["", "analytics", "etcd1"] {
        let body =
            format!(r#"(drop (call $grpc_call @"{name}" @"s" @"m" @"" @"" (i32.const 1) @p))"#);
        let mut run = Run::new(Profile::Envoy, &on("tick", &body));
        run.vm.tick(run.plugin);
        let reason = run.vm.trap().expect("the proxy aborts").reason.to_string();
        assert!(reason.contains("aborts the whole process"), "{name:?}: {reason}");
    }
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
