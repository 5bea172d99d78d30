//! The simulated proxy without a filter. The effects of filters are measured against its clock,
//! router and connections.

use std::time::Duration;

use sluice_sim::Profile;
use sluice_sim::replay::{ClosedBy, Options, Report, replay};
use sluice_sim::trace::{Outcome, Trace};

fn run<T>(profile: Profile, text: &str, look: impl FnOnce(&Report) -> T) -> T {
    let trace = Trace::parse("test", text).expect("a valid trace");
    let options = Options::new(profile);
    let report = replay(None, &trace, &options, &mut |_| {}).expect("a replay");
    look(&report)
}

fn envoy<T>(text: &str, look: impl FnOnce(&Report) -> T) -> T {
    run(Profile::Envoy, text, look)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The client is internal, so that the proxy keeps its headers for the router.
const INTERNAL: &str =
    r#"{"at":"0s","proxy":{"use_remote_address":true,"internal_addresses":["127.0.0.1"]}}"#;

#[test]
fn times_follow_the_trace() {
    let text = r#"{"at":"1s","request":{},"upstream":{"after":"20ms","body":[{"after":"5ms","text":"ab"},{"after":"10ms","text":"c","times":3}]}}"#;
    envoy(text, |report| {
        let exchange = &report.exchanges[0];
        assert_eq!(exchange.first_byte, Some(ms(25)));
        assert_eq!(exchange.last_byte, ms(55));
        assert_eq!((exchange.status, exchange.body_bytes), (Some(200), 5));
        assert_eq!(exchange.end, Outcome::Complete);
    });
}

#[test]
fn upload_delays_the_response() {
    let text = r#"{"at":"0s","request":{"method":"POST","body":[{"after":"1s","bytes":10},{"after":"2s","bytes":10}]},"upstream":{"after":"5ms"}}"#;
    envoy(text, |report| {
        assert_eq!(report.exchanges[0].first_byte, Some(ms(3005)));
        assert_eq!(report.exchanges[0].upstream.body_bytes, 20);
        assert_eq!(report.exchanges[0].upstream.start, Some(ms(0)));
    });
}

#[test]
fn envoy_times_out_after_15_seconds_and_cuts_a_started_response() {
    let text = concat!(
        r#"{"at":"0s","id":"slow","request":{},"upstream":{"after":"20s"}}"#,
        "\n",
        r#"{"at":"0s","id":"stream","request":{},"upstream":{"body":[{"after":"1s","text":"x","times":60}]}}"#,
    );
    envoy(text, |report| {
        let [slow, stream] = &report.exchanges[..] else { panic!("{report:?}") };
        assert_eq!((slow.status, slow.first_byte), (Some(504), Some(ms(15_000))));
        assert_eq!((stream.status, stream.end), (Some(200), Outcome::Cut));
        assert_eq!(stream.last_byte, ms(15_000));
    });
    run(Profile::Generic, text, |report| {
        assert!(report.exchanges.iter().all(|exchange| exchange.end == Outcome::Complete));
        assert_eq!(report.exchanges[1].last_byte, ms(60_000));
    });
}

#[test]
fn accepted_upgrade_has_no_route_timeout() {
    let upgraded = |upgrade: &str, after: &str| {
        let request = format!(
            r#"{{"at":"0s","request":{{"headers":[{upgrade}]}},"upstream":{{"after":"{after}","status":101,"body":[{{"after":"6s","text":"late"}}]}}}}"#
        );
        let proxy = r#"{"route_timeout":"4s","upgrades":["websocket"]}"#;
        let text = format!("{{\"at\":\"0s\",\"proxy\":{proxy}}}\n{request}");
        envoy(&text, |report| {
            let exchange = &report.exchanges[0];
            (exchange.status, exchange.end, exchange.last_byte, exchange.body_bytes)
        })
    };
    let upgrade = r#"["upgrade","websocket"],["connection","upgrade"]"#;
    assert_eq!(upgraded(upgrade, "1s"), (Some(101), Outcome::Complete, ms(7000), 4));
    let (status, _, ended, _) = upgraded(upgrade, "5s");
    assert_eq!((status, ended), (Some(504), ms(4000)), "the timeout applies before the upgrade");
    assert_eq!(
        upgraded("", "1s"),
        (Some(101), Outcome::Cut, ms(4000), 0),
        "the client did not request an upgrade"
    );
}

#[test]
fn envoy_applies_and_removes_router_headers() {
    let request = r#"{"at":"0s","request":{"headers":[["x-envoy-upstream-rq-timeout-ms","500"],["x-envoy-retry-on","connect-failure"],["x-envoy-max-retries","2"]]},"upstream":[{"end":"refused"},{"end":"refused"},{"after":"10s"}],"expect":{"status":504,"last_byte":"500ms..600ms","upstream":{"attempts":3,"absent":["x-envoy-upstream-rq-timeout-ms","x-envoy-retry-on","x-envoy-max-retries"]}}}"#;
    envoy(&format!("{INTERNAL}\n{request}"), |report| {
        assert_eq!(report.failures().collect::<Vec<_>>(), [])
    });
}

#[test]
fn retries_follow_their_conditions() {
    let attempts = |on: &str, end: &str| {
        let text = format!(
            r#"{{"at":"0s","request":{{"headers":[["x-envoy-retry-on","{on}"],["x-envoy-max-retries","1"]]}},"upstream":[{end},{{}}]}}"#
        );
        envoy(&format!("{INTERNAL}\n{text}"), |report| {
            (report.exchanges[0].upstream.attempts, report.exchanges[0].status.unwrap_or_default())
        })
    };
    let refused = r#"{"end":"refused"}"#;
    let reset = r#"{"end":"reset"}"#;
    let garbled = r#"{"end":"reset_in_header"}"#;
    let unavailable = r#"{"status":503}"#;
    assert_eq!(attempts("connect-failure", refused), (2, 200));
    assert_eq!(attempts("connect-failure", reset), (1, 503));
    assert_eq!(attempts("reset", reset), (2, 200));
    assert_eq!(attempts("reset", garbled), (2, 200));
    assert_eq!(attempts("refused-stream", garbled), (1, 502));
    assert_eq!(attempts("refused-stream", r#"{"end":"refused_stream"}"#), (2, 200));
    assert_eq!(attempts("reset", unavailable), (1, 503));
    assert_eq!(attempts("gateway-error", unavailable), (2, 200));
    assert_eq!(attempts("5xx,reset", unavailable), (2, 200));
    assert_eq!(attempts("retriable-4xx", r#"{"status":409}"#), (2, 200));
}

#[test]
fn reset_before_the_response_is_an_error_and_after_it_a_cut() {
    let text = concat!(
        r#"{"at":"0s","id":"before","request":{},"upstream":{"after":"1s","end":"reset"}}"#,
        "\n",
        r#"{"at":"0s","id":"within","request":{},"upstream":{"status":200,"body":[{"bytes":10}],"end":"reset"}}"#,
        "\n",
        r#"{"at":"0s","id":"never","request":{},"upstream":{"end":"never"}}"#,
    );
    envoy(text, |report| {
        let [before, within, never] = &report.exchanges[..] else { panic!("{report:?}") };
        assert_eq!((before.status, before.end), (Some(503), Outcome::Complete));
        assert_eq!((within.status, within.end, within.body_bytes), (Some(200), Outcome::Cut, 10));
        assert_eq!((never.status, never.last_byte), (Some(504), ms(15_000)));
    });
    run(Profile::Generic, text, |report| {
        assert_eq!(report.exchanges[2].end, Outcome::Open);
        assert_eq!(report.exchanges[2].status, None);
    });
}

#[test]
fn http1_serves_one_exchange_at_a_time_and_http2_all_at_once() {
    let requests = |protocol: &str| {
        format!(
            "{}\n{}\n{}",
            format_args!(r#"{{"at":"0s","connection":"c","open":{{"protocol":"{protocol}"}}}}"#),
            r#"{"at":"0s","connection":"c","request":{},"upstream":{"after":"2s"}}"#,
            r#"{"at":"1s","connection":"c","request":{},"upstream":{"after":"2s"}}"#,
        )
    };
    let ends = |report: &Report| -> Vec<Duration> {
        report.exchanges.iter().map(|exchange| exchange.sent + exchange.last_byte).collect()
    };
    assert_eq!(envoy(&requests("HTTP/1.1"), ends), [ms(2000), ms(4000)]);
    assert_eq!(envoy(&requests("HTTP/2"), ends), [ms(2000), ms(3000)]);
}

#[test]
fn closing_client_aborts_exchanges_in_flight() {
    let text = concat!(
        r#"{"at":"0s","connection":"c","request":{},"upstream":{"after":"9s"}}"#,
        "\n",
        r#"{"at":"0s","connection":"c","request":{}}"#,
        "\n",
        r#"{"at":"1s","connection":"c","close":"client"}"#,
    );
    envoy(text, |report| {
        assert!(report.exchanges.iter().all(|exchange| exchange.end == Outcome::Client));
        assert_eq!(report.exchanges[0].last_byte, ms(1000));
        assert_eq!(report.connections.len(), 1);
        assert_eq!(report.connections[0].by, Some(ClosedBy::Client));
        assert_eq!(report.connections[0].closed, Some(ms(1000)));
    });
}

#[test]
fn only_generic_host_applies_connection_close_and_client_reconnects() {
    let text = concat!(
        r#"{"at":"0s","connection":"c","request":{},"upstream":{"headers":[["connection","close"]]}}"#,
        "\n",
        r#"{"at":"1s","connection":"c","request":{}}"#,
    );
    // Envoy removes the `connection` header of the upstream.
    envoy(text, |report| {
        assert!(!report.exchanges[0].closed);
        assert_eq!(report.exchanges[0].headers.find("connection"), None);
        assert_eq!(report.connections.len(), 1);
    });
    run(Profile::Generic, text, |report| {
        assert!(report.exchanges[0].closed);
        assert_eq!(report.connections[0].by, Some(ClosedBy::Proxy));
        assert_eq!((report.connections[1].opening, report.connections[1].by), (2, None));
    });
}

#[test]
fn unknown_worker_is_rejected() {
    let text = r#"{"at":"0s","connection":"c","open":{"worker":3}}"#;
    let trace = Trace::parse("test", text).expect("a valid trace");
    let error = replay(None, &trace, &Options::default(), &mut |_| {}).expect_err("worker 3");
    let expected = "test:1: open.worker: found 3; expected at most 0 with 1 workers";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn hash_may_be_upper_case_and_header_may_contain_a_tab() {
    let text = r#"{"at":"0s","request":{"headers":[["a","b\tc"]]},"upstream":{"body":[{"text":"abc"}]},"expect":{"body_sha256":"BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"}}"#;
    envoy(text, |report| {
        assert_eq!((report.expected(), report.failures().count()), (1, 0));
    });
}

#[test]
fn failed_expectations_have_expected_and_actual_values() {
    let text = r#"{"at":"0s","request":{},"upstream":{"headers":[["x-a","1"]],"body":[{"text":"abc"}]},"expect":{"status":404,"route":"api","headers":{"x-a":"2","x-b":"3"},"absent":["x-a"],"closed":true,"ended_by":"filter","reason":"read_timeout","first_byte":">=1s","body_bytes":4,"body_sha256":"0000000000000000000000000000000000000000000000000000000000000000","end":"cut","upstream":{"attempts":2}}}"#;
    envoy(text, |report| {
        let failures: Vec<String> = report
            .failures()
            .map(|(line, id, failure)| {
                format!("{line} {id} {}: {} / {}", failure.field, failure.want, failure.got)
            })
            .collect();
        assert_eq!(
            failures,
            [
                "1 line 1 status: 404 / 200",
                "1 line 1 route: api / ",
                "1 line 1 headers.x-a: 2 / 1",
                "1 line 1 headers.x-b: 3 / nothing",
                "1 line 1 absent.x-a: no such header / 1",
                "1 line 1 closed: true / false",
                "1 line 1 first_byte: >=1s / 0ns",
                "1 line 1 body_bytes: 4 / 3",
                "1 line 1 body_sha256: 0000000000000000000000000000000000000000000000000000000000000000 / ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "1 line 1 end: cut / complete",
                "1 line 1 ended_by: filter / upstream",
                "1 line 1 reason: read_timeout / ",
                "1 line 1 upstream.attempts: 2 / 1",
            ]
        );
        assert_eq!(report.expected(), 13);
    });
}

/// A guest that adds the drain marker to every response.
const MARKS: &str = r#"(module
    (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "x-drain") (data (i32.const 32) "close")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (drop (call $add (i32.const 2) (i32.const 16) (i32.const 7) (i32.const 32) (i32.const 5)))
        (i32.const 0)))"#;

#[test]
fn draining_connection_finishes_while_its_successor_is_open() {
    let text = concat!(
        r#"{"at":"0s","connection":"c","open":{"protocol":"HTTP/2"}}"#,
        "\n",
        r#"{"at":"0s","id":"long","connection":"c","request":{},"upstream":{"after":"9s"}}"#,
        "\n",
        r#"{"at":"1s","id":"closing","connection":"c","request":{}}"#,
        "\n",
        r#"{"at":"2s","id":"next","connection":"c","request":{},"upstream":{"after":"1s"}}"#,
    );
    let wasm = wat::parse_str(MARKS).expect("a module");
    let module = sluice_sim::Module::new(&wasm, &sluice_sim::Limits::default()).expect("a filter");
    let trace = Trace::parse("test", text).expect("a valid trace");
    let options = Options::new(Profile::Envoy).with_drain_bridge("x-drain", "close");
    let report = replay(Some(&module), &trace, &options, &mut |_| {}).expect("a replay");
    let exchanges: Vec<_> =
        report.exchanges.iter().map(|e| (&*e.id, e.opening, e.closed)).collect();
    assert_eq!(exchanges, [("long", 1, false), ("closing", 1, true), ("next", 2, true)]);
    let connections: Vec<_> =
        report.connections.iter().map(|c| (c.opening, c.closed, c.by)).collect();
    assert_eq!(
        connections,
        [(1, Some(ms(9000)), Some(ClosedBy::Proxy)), (2, Some(ms(3000)), Some(ClosedBy::Proxy))]
    );
}
