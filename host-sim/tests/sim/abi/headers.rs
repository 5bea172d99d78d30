//! Host calls on header maps.

use sluice_sim::{Direction, Effect, HeaderMap, Part, Profile};

use crate::guest::{BOTH, Run, log_statuses, on, request, response};

const OK: &str = "0";
const NOT_FOUND: &str = "1";
const BAD_ARGUMENT: &str = "2";
const INVALID_MEMORY: &str = "6";
const INTERNAL_FAILURE: &str = "10";

/// Makes these host calls in `on_request_headers` and returns their statuses.
fn in_request(profile: Profile, calls: &[&str]) -> Vec<String> {
    Run::new(profile, &on("request_headers", &log_statuses(calls))).logged_on_request()
}

/// Runs `body` in `on_request_headers` and returns the headers that the upstream receives.
fn request_after(profile: Profile, body: &str) -> HeaderMap {
    let mut run = Run::new(profile, &on("request_headers", body));
    run.get(true);
    match run.effects_without_logs().pop() {
        Some(Effect::Request { part: Part::Headers { map, .. }, .. }) => map,
        other => panic!("expected headers, got {other:?}"),
    }
}

#[test]
fn lookup_returns_the_first_value_and_ignores_case() {
    for profile in BOTH {
        let body =
            r#"(drop (call $get_header_map_value (i32.const 0) @"X-A" @p @n)) (call $log_bytes)"#;
        assert_eq!(Run::new(profile, &on("request_headers", body)).logged_on_request(), ["1"]);
    }
}

#[test]
fn absent_name_is_not_found() {
    for profile in BOTH {
        let calls = [r#"get_header_map_value (i32.const 0) @"x-none" @p @n"#];
        assert_eq!(in_request(profile, &calls), [NOT_FOUND]);
    }
}

#[test]
fn unknown_map_is_bad_argument() {
    for profile in BOTH {
        let calls = [
            r#"get_header_map_value (i32.const 8) @"x-a" @p @n"#,
            "get_header_map_pairs (i32.const 8) @p @n",
            "get_header_map_size (i32.const 8) @p",
            "set_header_map_pairs (i32.const 8) @{a: b}",
            r#"add_header_map_value (i32.const 8) @"a" @"b""#,
            r#"replace_header_map_value (i32.const 8) @"a" @"b""#,
            r#"remove_header_map_value (i32.const 8) @"a""#,
        ];
        assert_eq!(in_request(profile, &calls), [BAD_ARGUMENT; 7]);
    }
}

#[test]
fn map_of_another_phase_is_bad_argument() {
    for profile in BOTH {
        let calls = [
            r#"get_header_map_value (i32.const 2) @":status" @p @n"#,
            "get_header_map_size (i32.const 2) @p",
            "set_header_map_pairs (i32.const 2) @{a: b}",
            r#"add_header_map_value (i32.const 1) @"a" @"b""#,
            r#"replace_header_map_value (i32.const 3) @"a" @"b""#,
            r#"remove_header_map_value (i32.const 2) @"a""#,
            r#"get_header_map_value (i32.const 4) @"a" @p @n"#,
            r#"add_header_map_value (i32.const 6) @"a" @"b""#,
        ];
        assert_eq!(in_request(profile, &calls), [BAD_ARGUMENT; 8]);
    }
}

#[test]
fn pairs_of_a_map_of_another_phase_are_bad_argument() {
    let calls = ["get_header_map_pairs (i32.const 2) @p @n"];
    assert_eq!(in_request(Profile::Generic, &calls), [BAD_ARGUMENT]);
}

#[test]
fn envoy_returns_no_pairs_for_a_map_of_another_phase() {
    let calls = ["get_header_map_pairs (i32.const 2) @p @n"];
    assert_eq!(in_request(Profile::Envoy, &calls), [OK]);
}

#[test]
fn request_headers_are_unavailable_in_the_response_phase() {
    for profile in BOTH {
        let calls = [
            r#"get_header_map_value (i32.const 0) @":path" @p @n"#,
            r#"add_header_map_value (i32.const 0) @"a" @"b""#,
        ];
        let mut run = Run::new(profile, &on("response_headers", &log_statuses(&calls)));
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), true);
        assert_eq!(run.logged(), [BAD_ARGUMENT; 2]);
    }
}

#[test]
fn pointers_outside_memory_are_rejected() {
    for profile in BOTH {
        let calls = [
            "get_header_map_value (i32.const 0) (i32.const -1) (i32.const 2) @p @n",
            "get_header_map_value (i32.const 0) (i32.const 0) (i32.const -1) @p @n",
            r#"get_header_map_value (i32.const 0) @":path" (i32.const -2) @n"#,
            r#"get_header_map_value (i32.const 0) @":path" @p (i32.const 262141)"#,
            "get_header_map_pairs (i32.const 0) (i32.const -1) @n",
            "get_header_map_size (i32.const 0) (i32.const -1)",
            "set_header_map_pairs (i32.const 0) (i32.const 262143) (i32.const 2)",
            r#"add_header_map_value (i32.const 0) @"a" (i32.const -1) (i32.const -1)"#,
            r#"replace_header_map_value (i32.const 0) (i32.const -1) (i32.const 9) @"b""#,
            "remove_header_map_value (i32.const 0) (i32.const -4) (i32.const 8)",
        ];
        assert_eq!(in_request(profile, &calls), [INVALID_MEMORY; 10]);
    }
}

#[test]
fn added_values_stay_separate_and_in_order() {
    for profile in BOTH {
        let body = log_statuses(&[r#"add_header_map_value (i32.const 0) @"x-a" @"3""#]);
        let mut expected = request();
        expected.push("x-a", "3");
        assert_eq!(request_after(profile, &body), expected);
    }
}

#[test]
fn replacing_keeps_one_value_at_the_position_of_the_first() {
    for profile in BOTH {
        let body =
            log_statuses(&[r#"replace_header_map_value (i32.const 0) @"x-a" @"long value""#]);
        let expected: HeaderMap = [
            (":method", "GET"),
            (":path", "/a?b=c"),
            (":authority", "a.example.com"),
            ("x-a", "long value"),
        ]
        .into_iter()
        .collect();
        assert_eq!(request_after(profile, &body), expected);
    }
}

/// Measured on Envoy 1.40.
#[test]
fn envoy_moves_a_replaced_header_to_the_end() {
    let body = log_statuses(&[
        r#"replace_header_map_value (i32.const 0) @":path" @"/b""#,
        r#"add_header_map_value (i32.const 0) @"x-b" @"1""#,
        r#"replace_header_map_value (i32.const 0) @"X-A" @"3""#,
        r#"add_header_map_value (i32.const 0) @":scheme" @"http""#,
    ]);
    let expected: HeaderMap = [
        (":method", "GET"),
        (":authority", "a.example.com"),
        (":path", "/b"),
        (":scheme", "http"),
        ("x-b", "1"),
        ("x-a", "3"),
    ]
    .into_iter()
    .collect();
    assert_eq!(request_after(Profile::Envoy, &body), expected);
}

/// Measured on Envoy 1.40: repeated values of some names are joined, of others not.
#[test]
fn envoy_joins_the_values_of_inline_headers() {
    let body = log_statuses(&[
        r#"add_header_map_value (i32.const 0) @"Accept" @"a""#,
        r#"add_header_map_value (i32.const 0) @"accept" @"b""#,
        r#"add_header_map_value (i32.const 0) @"accept-language" @"a""#,
        r#"add_header_map_value (i32.const 0) @"accept-language" @"b""#,
        r#"add_header_map_value (i32.const 0) @"host" @"b""#,
    ]);
    let map = request_after(Profile::Envoy, &body);
    assert_eq!(map.text("accept"), Some("a,b"));
    assert_eq!(map.text("accept-language"), Some("a"));
    assert_eq!(map.text(":authority"), Some("a.example.com,b"));
    assert_eq!(map.len(), request().len() + 3);
    let map = request_after(Profile::Generic, &body);
    assert_eq!(map.len(), request().len() + 5, "the ABI does not join values");
}

/// Measured on Envoy 1.40.
#[test]
fn envoy_joins_inline_headers_of_messages_that_arrive() {
    let mut run = Run::new(Profile::Envoy, "");
    let stream = run.open();
    let pairs =
        [("accept", "a"), (":path", "/"), ("Accept", "b"), ("cookie", "a"), ("cookie", "b")];
    run.vm.request_headers(stream, pairs.into_iter().collect(), false);
    let trailers: HeaderMap = [("accept", "a"), ("accept", "b")].into_iter().collect();
    run.vm.request_trailers(stream, trailers.clone());
    let pairs =
        [(":status", "200"), ("vary", "a"), ("vary", "b"), ("accept", "a"), ("accept", "b")];
    run.vm.response_headers(stream, pairs.into_iter().collect(), false);
    let pairs = [("grpc-message", "a"), ("grpc-message", "b"), ("vary", "a"), ("vary", "b")];
    run.vm.response_trailers(stream, pairs.into_iter().collect());
    let maps = run.out().into_iter().filter_map(|effect| match effect {
        Effect::Request { part, .. } | Effect::Response { part, .. } => match part {
            Part::Headers { map, .. } | Part::Trailers(map) => Some(map),
            Part::Body { .. } => None,
        },
        _ => None,
    });
    let expected: [&[(&str, &str)]; 4] = [
        &[(":path", "/"), ("accept", "a,b"), ("cookie", "a"), ("cookie", "b")],
        &[("accept", "a"), ("accept", "b")],
        &[(":status", "200"), ("vary", "a,b"), ("accept", "a"), ("accept", "b")],
        &[("grpc-message", "a,b"), ("vary", "a"), ("vary", "b")],
    ];
    let expected: Vec<HeaderMap> =
        expected.iter().map(|pairs| pairs.iter().copied().collect()).collect();
    assert_eq!(maps.collect::<Vec<_>>(), expected);
}

#[test]
fn replacing_an_absent_header_adds_it() {
    for profile in BOTH {
        let body = log_statuses(&[r#"replace_header_map_value (i32.const 0) @"x-b" @"1""#]);
        let mut expected = request();
        expected.push("x-b", "1");
        assert_eq!(request_after(profile, &body), expected);
    }
}

#[test]
fn removing_removes_all_values_and_accepts_absent_headers() {
    for profile in BOTH {
        let calls = [
            r#"remove_header_map_value (i32.const 0) @"x-a""#,
            r#"remove_header_map_value (i32.const 0) @"x-none""#,
            r#"get_header_map_value (i32.const 0) @"x-a" @p @n"#,
        ];
        assert_eq!(in_request(profile, &calls), [OK, OK, NOT_FOUND]);
    }
}

#[test]
fn all_pairs_are_replaced_at_once() {
    for profile in BOTH {
        let body = log_statuses(&["set_header_map_pairs (i32.const 0) @{:path: /b, x: 1, x: 2}"]);
        let expected: HeaderMap = [(":path", "/b"), ("x", "1"), ("x", "2")].into_iter().collect();
        assert_eq!(request_after(profile, &body), expected);
    }
}

#[test]
fn malformed_pairs_are_bad_argument() {
    let calls = [r#"set_header_map_pairs (i32.const 0) @"\0\0not pairs""#];
    assert_eq!(in_request(Profile::Generic, &calls), [BAD_ARGUMENT]);
}

#[test]
fn envoy_reads_malformed_pairs_as_no_pairs() {
    let body = log_statuses(&[r#"set_header_map_pairs (i32.const 0) @"\0\0not pairs""#]);
    assert_eq!(request_after(Profile::Envoy, &body), HeaderMap::new());
}

/// The total length of names and values in `request()`, and the serialized length.
const TEXT: usize = 7 + 3 + 5 + 6 + 10 + 13 + 3 + 1 + 3 + 1;
const SERIALIZED: usize = 4 + 5 * 8 + TEXT + 5 * 2;

fn map_size(profile: Profile) -> String {
    let body =
        "(drop (call $get_header_map_size (i32.const 0) @p)) (call $log_number (i32.load @p))";
    Run::new(profile, &on("request_headers", body)).logged_on_request().remove(0)
}

#[test]
fn map_size_is_the_serialized_size() {
    assert_eq!(map_size(Profile::Generic), SERIALIZED.to_string());
}

#[test]
fn envoy_map_size_is_the_size_of_names_and_values() {
    assert_eq!(map_size(Profile::Envoy), TEXT.to_string());
}

#[test]
fn guest_can_write_back_the_map_that_it_read() {
    for profile in BOTH {
        let body = "(drop (call $get_header_map_pairs (i32.const 0) @p @n))
            (call $log_number (i32.load @n))
            (drop (call $set_header_map_pairs (i32.const 0) (i32.load @p) (i32.load @n)))";
        assert_eq!(request_after(profile, body), request());
        let mut run = Run::new(profile, &on("request_headers", body));
        assert_eq!(run.logged_on_request(), [SERIALIZED.to_string()]);
    }
}

#[test]
fn envoy_converts_names_to_lower_case() {
    let body = log_statuses(&[r#"add_header_map_value (i32.const 0) @"X-Upper" @"V""#]);
    let map = request_after(Profile::Envoy, &body);
    assert_eq!(map.iter().last(), Some((&b"x-upper"[..], &b"V"[..])));
}

#[test]
fn names_are_unchanged() {
    let body = log_statuses(&[r#"add_header_map_value (i32.const 0) @"X-Upper" @"V""#]);
    let map = request_after(Profile::Generic, &body);
    assert_eq!(map.iter().last(), Some((&b"X-Upper"[..], &b"V"[..])));
}

#[test]
fn unlimited_growth_of_a_map_is_stopped() {
    for profile in BOTH {
        let body = r#"(local $status i32)
            (loop $more
              (local.set $status (call $add_header_map_value (i32.const 0)
                (i32.const 4096) (i32.const 60000) (i32.const 4096) (i32.const 60000)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $log_number (local.get $status))"#;
        let mut run = Run::new(profile, &on("request_headers", body));
        assert_eq!(run.logged_on_request(), [INTERNAL_FAILURE]);
    }
}

#[test]
fn too_large_map_is_rejected_as_a_whole() {
    for profile in BOTH {
        let body = "(drop (memory.grow (i32.const 40)))
            (i32.store (i32.const 262144) (i32.const 1))
            (i32.store (i32.const 262148) (i32.const 1))
            (i32.store (i32.const 262152) (i32.const 1100000))
            (call $log_number (call $set_header_map_pairs (i32.const 0)
              (i32.const 262144) (i32.const 1100015)))";
        let mut run = Run::new(profile, &on("request_headers", body));
        assert_eq!(run.logged_on_request(), [INTERNAL_FAILURE]);
    }
}

#[test]
fn log_phase_reads_the_sent_headers_and_cannot_write() {
    for profile in BOTH {
        let calls = [
            r#"get_header_map_value (i32.const 0) @"x-new" @p @n"#,
            r#"get_header_map_value (i32.const 2) @":status" @p @n"#,
            r#"get_header_map_value (i32.const 3) @"t" @p @n"#,
            r#"add_header_map_value (i32.const 0) @"a" @"b""#,
            r#"remove_header_map_value (i32.const 2) @":status""#,
        ];
        let add = r#"(drop (call $add_header_map_value (i32.const 0) @"x-new" @"1"))"#;
        let guest = on("request_headers", add) + &on("log", &log_statuses(&calls));
        let mut run = Run::new(profile, &guest);
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), false);
        run.vm.response_trailers(stream, [("t", "1")].into_iter().collect());
        run.vm.close_http(stream);
        assert_eq!(run.logged(), [OK, OK, OK, BAD_ARGUMENT, BAD_ARGUMENT]);
    }
}

fn request_trailers_in_log(profile: Profile) -> Vec<String> {
    let calls = [r#"get_header_map_value (i32.const 1) @"t" @p @n"#];
    let mut run = Run::new(profile, &on("log", &log_statuses(&calls)));
    let stream = run.get(false);
    run.vm.request_trailers(stream, [("t", "1")].into_iter().collect());
    run.vm.close_http(stream);
    run.logged()
}

#[test]
fn log_phase_reads_request_trailers() {
    assert_eq!(request_trailers_in_log(Profile::Generic), [OK]);
}

#[test]
fn envoy_log_phase_has_no_request_trailers() {
    assert_eq!(request_trailers_in_log(Profile::Envoy), [NOT_FOUND]);
}

#[test]
fn log_phase_reads_headers_that_were_not_sent() {
    for profile in BOTH {
        let calls = [r#"get_header_map_value (i32.const 0) @":path" @p @n"#];
        let guest =
            on("request_headers", "(return (i32.const 1))") + &on("log", &log_statuses(&calls));
        let mut run = Run::new(profile, &guest);
        let stream = run.get(true);
        run.vm.close_http(stream);
        assert_eq!(run.logged(), [OK]);
    }
}

#[test]
fn embedder_can_change_the_headers_of_the_log_phase() {
    for profile in BOTH {
        let calls = [r#"get_header_map_value (i32.const 2) @"content-type" @p @n"#];
        let mut run = Run::new(profile, &on("log", &log_statuses(&calls)));
        let stream = run.get(true);
        assert!(run.vm.logged_headers(stream, Direction::Response).is_none());
        run.vm.response_headers(stream, response(), true);
        run.vm.logged_headers(stream, Direction::Response).unwrap().remove("content-type");
        run.vm.close_http(stream);
        assert_eq!(run.logged(), [NOT_FOUND]);
    }
}

fn trailers_from_body(profile: Profile, end: bool) -> (Vec<String>, Vec<Part>) {
    let calls = [
        r#"get_header_map_value (i32.const 3) @"t" @p @n"#,
        r#"add_header_map_value (i32.const 3) @"t" @"1""#,
    ];
    let mut run = Run::new(profile, &on("response_body", &log_statuses(&calls)));
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.vm.response_body(stream, b"x", end);
    let effects = run.out();
    let logged = effects.iter().filter_map(|effect| match effect {
        Effect::Log { text, .. } => Some(text.clone()),
        _ => None,
    });
    let parts = effects.iter().filter_map(|effect| match effect {
        Effect::Response { part, .. } => Some(part.clone()),
        _ => None,
    });
    (logged.collect(), parts.skip(1).collect())
}

/// Measured on Envoy 1.40, where the trailers of an HTTP/1.1 message are then dropped.
#[test]
fn trailers_can_be_added_at_the_end_of_a_body() {
    for profile in BOTH {
        let (logged, parts) = trailers_from_body(profile, true);
        assert_eq!(logged, [BAD_ARGUMENT, OK]);
        let trailers = [("t", "1")].into_iter().collect();
        let body = Part::Body { bytes: b"x".into(), end: false };
        assert_eq!(parts, [body, Part::Trailers(trailers)]);
    }
}

#[test]
fn trailers_cannot_be_added_within_a_body() {
    for profile in BOTH {
        let (logged, parts) = trailers_from_body(profile, false);
        assert_eq!(logged, [BAD_ARGUMENT, BAD_ARGUMENT]);
        assert_eq!(parts, [Part::Body { bytes: b"x".into(), end: false }]);
    }
}

#[test]
fn trailers_can_be_read_and_changed_in_their_callback() {
    for profile in BOTH {
        let calls = [
            r#"get_header_map_value (i32.const 1) @"t" @p @n"#,
            r#"replace_header_map_value (i32.const 1) @"t" @"2""#,
        ];
        let mut run = Run::new(profile, &on("request_trailers", &log_statuses(&calls)));
        let stream = run.get(false);
        run.vm.request_trailers(stream, [("t", "1")].into_iter().collect());
        assert_eq!(run.logged(), [OK, OK]);
        let trailers = [("t", "2")].into_iter().collect();
        assert!(run.effects.contains(&Effect::Request { stream, part: Part::Trailers(trailers) }));
    }
}
