//! Host calls on header maps.

use sluice_sim::{Effect, HeaderMap, Part, Profile};

use crate::guest::{BOTH, Run, all_say, on, request, response};

const OK: &str = "0";
const NOT_FOUND: &str = "1";
const BAD_ARGUMENT: &str = "2";
const INVALID_MEMORY: &str = "6";
const INTERNAL_FAILURE: &str = "10";

/// Runs these host calls in `on_request_headers` and gives what they answered.
fn in_request(profile: Profile, calls: &[&str]) -> Vec<String> {
    Run::new(profile, &on("request_headers", &all_say(calls))).said_on_request()
}

/// Runs this in `on_request_headers` and gives the headers that left.
fn request_after(profile: Profile, body: &str) -> HeaderMap {
    let mut run = Run::new(profile, &on("request_headers", body));
    run.get(true);
    match run.moved().pop() {
        Some(Effect::Request { part: Part::Headers { map, .. }, .. }) => map,
        other => panic!("expected headers, got {other:?}"),
    }
}

#[test]
fn a_value_is_the_first_under_its_name_in_any_case() {
    for profile in BOTH {
        let body = r#"(drop (call $get_header_map_value (i32.const 0) @"X-A" @p @n)) (call $told)"#;
        assert_eq!(Run::new(profile, &on("request_headers", body)).said_on_request(), ["1"]);
    }
}

#[test]
fn an_absent_name_is_not_found() {
    for profile in BOTH {
        let calls = [r#"get_header_map_value (i32.const 0) @"x-none" @p @n"#];
        assert_eq!(in_request(profile, &calls), [NOT_FOUND]);
    }
}

#[test]
fn a_map_that_does_not_exist_is_a_bad_argument() {
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
fn a_map_of_another_phase_is_a_bad_argument() {
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
fn pairs_of_a_map_of_another_phase_are_a_bad_argument() {
    let calls = ["get_header_map_pairs (i32.const 2) @p @n"];
    assert_eq!(in_request(Profile::Generic, &calls), [BAD_ARGUMENT]);
}

#[test]
fn under_envoy_pairs_of_a_map_of_another_phase_are_none() {
    let calls = ["get_header_map_pairs (i32.const 2) @p @n"];
    assert_eq!(in_request(Profile::Envoy, &calls), [OK]);
}

#[test]
fn request_headers_are_gone_in_the_response_phase() {
    for profile in BOTH {
        let calls = [
            r#"get_header_map_value (i32.const 0) @":path" @p @n"#,
            r#"add_header_map_value (i32.const 0) @"a" @"b""#,
        ];
        let mut run = Run::new(profile, &on("response_headers", &all_say(&calls)));
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), true);
        assert_eq!(run.said(), [BAD_ARGUMENT; 2]);
    }
}

#[test]
fn pointers_outside_of_memory_are_refused() {
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
fn added_values_stay_apart_and_in_order() {
    for profile in BOTH {
        let body = all_say(&[r#"add_header_map_value (i32.const 0) @"x-a" @"3""#]);
        let mut expected = request();
        expected.push("x-a", "3");
        assert_eq!(request_after(profile, &body), expected);
    }
}

#[test]
fn replacing_leaves_one_value_in_the_place_of_the_first() {
    for profile in BOTH {
        let body = all_say(&[r#"replace_header_map_value (i32.const 0) @"x-a" @"long value""#]);
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

#[test]
fn replacing_what_is_not_there_adds_it() {
    for profile in BOTH {
        let body = all_say(&[r#"replace_header_map_value (i32.const 0) @"x-b" @"1""#]);
        let mut expected = request();
        expected.push("x-b", "1");
        assert_eq!(request_after(profile, &body), expected);
    }
}

#[test]
fn removing_takes_every_value_and_what_is_not_there_can_be_removed() {
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
        let body = all_say(&["set_header_map_pairs (i32.const 0) @{:path: /b, x: 1, x: 2}"]);
        let expected: HeaderMap = [(":path", "/b"), ("x", "1"), ("x", "2")].into_iter().collect();
        assert_eq!(request_after(profile, &body), expected);
    }
}

#[test]
fn pairs_that_contradict_themselves_are_a_bad_argument() {
    let calls = [r#"set_header_map_pairs (i32.const 0) @"\0\0not pairs""#];
    assert_eq!(in_request(Profile::Generic, &calls), [BAD_ARGUMENT]);
}

#[test]
fn under_envoy_pairs_that_contradict_themselves_are_none() {
    let body = all_say(&[r#"set_header_map_pairs (i32.const 0) @"\0\0not pairs""#]);
    assert_eq!(request_after(Profile::Envoy, &body), HeaderMap::new());
}

/// Length of names and values of `request()`, and of its serialized form.
const TEXT: usize = 7 + 3 + 5 + 6 + 10 + 13 + 3 + 1 + 3 + 1;
const SERIALIZED: usize = 4 + 5 * 8 + TEXT + 5 * 2;

fn map_size(profile: Profile) -> String {
    let body = "(drop (call $get_header_map_size (i32.const 0) @p)) (call $say (i32.load @p))";
    Run::new(profile, &on("request_headers", body)).said_on_request().remove(0)
}

#[test]
fn the_size_of_a_map_is_that_of_its_serialized_form() {
    assert_eq!(map_size(Profile::Generic), SERIALIZED.to_string());
}

#[test]
fn under_envoy_the_size_of_a_map_is_that_of_its_text() {
    assert_eq!(map_size(Profile::Envoy), TEXT.to_string());
}

#[test]
fn a_guest_can_give_a_map_back_as_it_got_it() {
    for profile in BOTH {
        let body = "(drop (call $get_header_map_pairs (i32.const 0) @p @n))
            (call $say (i32.load @n))
            (drop (call $set_header_map_pairs (i32.const 0) (i32.load @p) (i32.load @n)))";
        assert_eq!(request_after(profile, body), request());
        let mut run = Run::new(profile, &on("request_headers", body));
        assert_eq!(run.said_on_request(), [SERIALIZED.to_string()]);
    }
}

#[test]
fn under_envoy_names_are_lower_case() {
    let body = all_say(&[r#"add_header_map_value (i32.const 0) @"X-Upper" @"V""#]);
    let map = request_after(Profile::Envoy, &body);
    assert_eq!(map.iter().last(), Some((&b"x-upper"[..], &b"V"[..])));
}

#[test]
fn names_are_left_as_they_are() {
    let body = all_say(&[r#"add_header_map_value (i32.const 0) @"X-Upper" @"V""#]);
    let map = request_after(Profile::Generic, &body);
    assert_eq!(map.iter().last(), Some((&b"X-Upper"[..], &b"V"[..])));
}

#[test]
fn a_map_that_grows_for_ever_is_stopped() {
    for profile in BOTH {
        let body = r#"(local $status i32)
            (loop $more
              (local.set $status (call $add_header_map_value (i32.const 0)
                (i32.const 4096) (i32.const 60000) (i32.const 4096) (i32.const 60000)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $say (local.get $status))"#;
        let mut run = Run::new(profile, &on("request_headers", body));
        assert_eq!(run.said_on_request(), [INTERNAL_FAILURE]);
    }
}

#[test]
fn a_map_that_is_too_large_is_refused_as_a_whole() {
    for profile in BOTH {
        let body = "(drop (memory.grow (i32.const 40)))
            (i32.store (i32.const 262144) (i32.const 1))
            (i32.store (i32.const 262148) (i32.const 1))
            (i32.store (i32.const 262152) (i32.const 1100000))
            (call $say (call $set_header_map_pairs (i32.const 0)
              (i32.const 262144) (i32.const 1100015)))";
        let mut run = Run::new(profile, &on("request_headers", body));
        assert_eq!(run.said_on_request(), [INTERNAL_FAILURE]);
    }
}

#[test]
fn the_log_phase_reads_what_left_and_writes_nothing() {
    for profile in BOTH {
        let calls = [
            r#"get_header_map_value (i32.const 0) @"x-new" @p @n"#,
            r#"get_header_map_value (i32.const 2) @":status" @p @n"#,
            r#"get_header_map_value (i32.const 3) @"t" @p @n"#,
            r#"add_header_map_value (i32.const 0) @"a" @"b""#,
            r#"remove_header_map_value (i32.const 2) @":status""#,
        ];
        let add = r#"(drop (call $add_header_map_value (i32.const 0) @"x-new" @"1"))"#;
        let guest = on("request_headers", add) + &on("log", &all_say(&calls));
        let mut run = Run::new(profile, &guest);
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), false);
        run.vm.response_trailers(stream, [("t", "1")].into_iter().collect());
        run.vm.close_http(stream);
        assert_eq!(run.said(), [OK, OK, OK, BAD_ARGUMENT, BAD_ARGUMENT]);
    }
}

fn request_trailers_in_log(profile: Profile) -> Vec<String> {
    let calls = [r#"get_header_map_value (i32.const 1) @"t" @p @n"#];
    let mut run = Run::new(profile, &on("log", &all_say(&calls)));
    let stream = run.get(false);
    run.vm.request_trailers(stream, [("t", "1")].into_iter().collect());
    run.vm.close_http(stream);
    run.said()
}

#[test]
fn the_log_phase_reads_request_trailers() {
    assert_eq!(request_trailers_in_log(Profile::Generic), [OK]);
}

#[test]
fn under_envoy_the_log_phase_has_no_request_trailers() {
    assert_eq!(request_trailers_in_log(Profile::Envoy), [BAD_ARGUMENT]);
}

#[test]
fn the_log_phase_reads_headers_that_never_left() {
    for profile in BOTH {
        let calls = [r#"get_header_map_value (i32.const 0) @":path" @p @n"#];
        let guest = on("request_headers", "(return (i32.const 1))") + &on("log", &all_say(&calls));
        let mut run = Run::new(profile, &guest);
        let stream = run.get(true);
        run.vm.close_http(stream);
        assert_eq!(run.said(), [OK]);
    }
}

#[test]
fn an_embedder_corrects_what_the_log_phase_sees() {
    for profile in BOTH {
        let calls = [r#"get_header_map_value (i32.const 2) @"content-type" @p @n"#];
        let mut run = Run::new(profile, &on("log", &all_say(&calls)));
        let stream = run.get(true);
        assert!(run.vm.logged_response_headers(stream).is_none());
        run.vm.response_headers(stream, response(), true);
        run.vm.logged_response_headers(stream).unwrap().remove("content-type");
        run.vm.close_http(stream);
        assert_eq!(run.said(), [NOT_FOUND]);
    }
}

fn trailers_from_body(profile: Profile) -> (Vec<String>, Vec<Part>) {
    let calls = [
        r#"get_header_map_value (i32.const 3) @"t" @p @n"#,
        r#"add_header_map_value (i32.const 3) @"t" @"1""#,
    ];
    let mut run = Run::new(profile, &on("response_body", &all_say(&calls)));
    let stream = run.get(true);
    run.vm.response_headers(stream, response(), false);
    run.vm.response_body(stream, b"x", true);
    let effects = run.out();
    let said = effects.iter().filter_map(|effect| match effect {
        Effect::Log { text, .. } => Some(text.clone()),
        _ => None,
    });
    let parts = effects.iter().filter_map(|effect| match effect {
        Effect::Response { part, .. } => Some(part.clone()),
        _ => None,
    });
    (said.collect(), parts.skip(1).collect())
}

#[test]
fn trailers_are_added_where_a_body_ends() {
    let (said, parts) = trailers_from_body(Profile::Generic);
    assert_eq!(said, [BAD_ARGUMENT, OK]);
    let trailers = [("t", "1")].into_iter().collect();
    assert_eq!(parts, [Part::Body { bytes: b"x".into(), end: false }, Part::Trailers(trailers)]);
}

#[test]
fn under_envoy_a_body_callback_cannot_add_trailers() {
    let (said, parts) = trailers_from_body(Profile::Envoy);
    assert_eq!(said, [BAD_ARGUMENT, BAD_ARGUMENT]);
    assert_eq!(parts, [Part::Body { bytes: b"x".into(), end: true }]);
}

#[test]
fn trailers_are_read_and_changed_in_their_callback() {
    for profile in BOTH {
        let calls = [
            r#"get_header_map_value (i32.const 1) @"t" @p @n"#,
            r#"replace_header_map_value (i32.const 1) @"t" @"2""#,
        ];
        let mut run = Run::new(profile, &on("request_trailers", &all_say(&calls)));
        let stream = run.get(false);
        run.vm.request_trailers(stream, [("t", "1")].into_iter().collect());
        assert_eq!(run.said(), [OK, OK]);
        let trailers = [("t", "2")].into_iter().collect();
        assert!(run.effects.contains(&Effect::Request { stream, part: Part::Trailers(trailers) }));
    }
}
