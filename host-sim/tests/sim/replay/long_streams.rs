//! Long streams in a replay: upgrades with chunks in both directions, bodies that a filter
//! truncates, and thousands of streams that ticks end one by one. All times are exact.

use std::time::Duration;

use sluice_sim::Profile;
use sluice_sim::replay::{Options, Report, replay};
use sluice_sim::trace::{EndedBy, Outcome, Trace};

use crate::guest::{BOTH, compile, on};

fn run<T>(profile: Profile, guest: &str, trace: &str, judge: impl FnOnce(&Report) -> T) -> T {
    let module = compile(guest);
    let trace = Trace::parse("test", trace).expect("a valid trace");
    let options = Options::new(profile).with_configuration("");
    judge(&replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay"))
}

/// Requests an upgrade.
const UPGRADE: &str = r#"["upgrade","websocket"],["connection","keep-alive, Upgrade"]"#;

/// Logs a word and an argument of each callback.
fn log_word(callback: &str, word: &str, argument: &str) -> String {
    on(
        callback,
        &format!(
            r#"(drop (call $log (i32.const 2) @"{word}")) (call $log_number (local.get {argument}))"#
        ),
    )
}

const PROXY: &str = r#"{"at":"0s","proxy":{"upgrades":["websocket"]}}"#;

#[test]
fn upgrade_carries_chunks_in_both_directions_until_one_side_closes() {
    let guest = log_word("request_headers", "request", "$c")
        + &log_word("request_body", "up", "$b")
        + &log_word("response_headers", "response", "$c")
        + &log_word("response_body", "down", "$b");
    let trace = format!(
        "{PROXY}\n{}\n{}",
        format_args!(
            r#"{{"at":"0s","connection":"c","request":{{"headers":[{UPGRADE}],"body":[{{"after":"2s","text":"ping"}},{{"after":"20s","text":"again"}}]}},"upstream":{{"after":"1s","status":101,"body":[{{"after":"2s","text":"po"}},{{"after":"30s","text":"ng!"}}],"end":"never"}},"expect":{{"status":101,"first_byte":"3s..3s","last_byte":"50s..50s","body_bytes":5,"end":"client","ended_by":"client","closed":false,"upstream":{{"body_bytes":9}}}}}}"#
        ),
        r#"{"at":"50s","connection":"c","close":"client"}"#
    );
    for profile in BOTH {
        run(profile, &guest, &trace, |report| {
            assert_eq!(report.failures().collect::<Vec<_>>(), []);
            let logged = report
                .log
                .chunks(2)
                .map(|two| (two[0].at.as_secs(), two[0].text.as_str(), two[1].text.as_str()));
            let mut expected = vec![
                (0, "request", "0"),
                (1, "response", "0"),
                (3, "up", "4"),
                (3, "down", "2"),
                (23, "up", "5"),
                (33, "down", "3"),
            ];
            if profile.rules().upgrade_sends_empty_chunk {
                expected.insert(1, (0, "up", "0"));
            }
            assert_eq!(logged.collect::<Vec<_>>(), expected);
        });
    }
}

#[test]
fn upgrade_that_the_upstream_ends_closes_its_connection() {
    let again = r#"{"at":"9s","connection":"c","request":{}}"#;
    for (upstream, ended, bytes, rejected) in [
        (r#"{"status":101}"#, 0, 0, false),
        (r#"{"status":101,"body":[{"after":"5s","text":"bye"}]}"#, 5, 3, false),
        (
            r#"{"after":"1s","status":403,"headers":[["content-length","2"]],"body":[{"text":"no"}]}"#,
            1,
            2,
            true,
        ),
    ] {
        let first = format!(
            r#"{{"at":"0s","connection":"c","request":{{"headers":[{UPGRADE}],"body":[{{"after":"2s","text":"ping"}}]}},"upstream":{upstream}}}"#
        );
        run(Profile::Envoy, "", &[PROXY, &first, again].join("\n"), |report| {
            let [upgraded, next] = &report.exchanges[..] else { panic!("{report:?}") };
            assert_eq!(
                (upgraded.end, upgraded.ended_by),
                (Outcome::Complete, Some(EndedBy::Upstream))
            );
            assert_eq!((upgraded.last_byte.as_secs(), upgraded.body_bytes), (ended, bytes));
            // Only a response can announce that its connection closes.
            assert_eq!((upgraded.closed, next.opening), (rejected, 2), "{upstream}");
            assert!(
                !rejected || upgraded.upstream.body_bytes == 0,
                "a client without an upgrade sends no chunks"
            );
        });
    }
}

/// Forwards four bytes of the first chunk and nothing of the others. It replaces the whole buffer,
/// because Envoy does not replace a part of one.
const TRUNCATE: &str = r#"
    (drop (call $get_buffer_bytes (i32.const 1) (i32.const 0) (i32.const 4) @p @n))
    (if (i32.load (i32.const 32)) (then (i32.store @n (i32.const 0))))
    (drop (call $set_buffer_bytes (i32.const 1) (i32.const 0) (local.get $b) (i32.load @p) (i32.load @n)))
    (i32.store (i32.const 32) (i32.const 1))"#;

#[test]
fn truncated_body_has_exactly_the_remaining_bytes() {
    let trace = r#"{"at":"0s","request":{},"upstream":{"body":[{"after":"10ms","text":"abcdef"},{"after":"10ms","text":"ghijkl","times":3}],"trailers":[]},"expect":{"body_bytes":4,"body_sha256":"88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589","first_byte":"10ms..10ms","last_byte":"40ms..40ms","end":"complete"}}"#;
    for profile in BOTH {
        run(profile, &on("response_body", TRUNCATE), trace, |report| {
            assert_eq!(report.failures().collect::<Vec<_>>(), []);
        });
    }
}

/// In each tick, replies to the next stream or resets it.
const END_ONE_STREAM: &str = r#"
    (drop (call $set_effective_context (i32.add (i32.const 2) (i32.load (i32.const 32)))))
    (if (i32.and (i32.load (i32.const 32)) (i32.const 1))
      (then (drop (call $close_stream (i32.const 1))))
      (else (drop (call $send_local_response (i32.const 504) @"" @"late" @"" (i32.const -1)))))
    (i32.store (i32.const 32) (i32.add (i32.load (i32.const 32)) (i32.const 1)))"#;

const STREAMS: u32 = 2000;

#[test]
fn tick_ends_the_intended_one_of_thousands_of_streams() {
    let guest = on("configure", "(drop (call $set_tick_period_milliseconds (i32.const 10)))")
        + &on("tick", END_ONE_STREAM);
    let mut trace = String::from(concat!(
        r#"{"at":"0s","proxy":{"route_timeout":"0s","stream_idle_timeout":"0s"}}"#,
        "\n",
        r#"{"at":"0s","connection":"c","open":{"protocol":"HTTP/2"}}"#
    ));
    for number in 0..STREAMS {
        let upstream = match number % 4 {
            0 | 1 => r#"{"end":"never"}"#,
            _ => {
                r#"{"status":200,"headers":[],"body":[{"after":"3ms","text":"begin"},{"after":"1h","text":"x"}]}"#
            }
        };
        trace += &format!(
            "\n{{\"at\":\"1us\",\"connection\":\"c\",\"request\":{{}},\"upstream\":{upstream}}}"
        );
    }
    run(Profile::Envoy, &guest, &trace, |report| {
        let first = report.exchanges[0].last_byte;
        assert!(first <= Duration::from_millis(10));
        for (number, exchange) in (0u32..).zip(&report.exchanges) {
            let tick = first + Duration::from_millis(10) * number;
            let started = Some(Duration::from_millis(3));
            let expected = match number % 4 {
                0 => (Some(504), Some(tick), 4, Outcome::Complete),
                1 => (None, None, 0, Outcome::Cut),
                _ => (Some(200), started, 5, Outcome::Cut),
            };
            let ended = (exchange.status, exchange.first_byte, exchange.body_bytes, exchange.end);
            assert_eq!(ended, expected, "{number}");
            assert_eq!((exchange.last_byte, exchange.ended_by), (tick, Some(EndedBy::Filter)));
        }
        assert_eq!(report.exchanges.len(), STREAMS as usize);
    });
}
