//! Ranges of buffers: every combination of start, size and data that matters.

use serde_json::json;
use sluice_tests::call_guest::{CallGuest, HostCall, call};
use sluice_tests::envoy::Envoy;
use sluice_tests::eventually;
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

use super::{assert_same, bootstrap, logged_in_envoy, logged_in_the_simulator};

const BOUNDS: [i64; 8] = [0, 1, 4, 9, 10, 11, 4_000_000_000, 4_294_967_295];

/// Writes into a body of ten bytes and reads it, for each start, size and data.
fn ranges(buffer: i64) -> Vec<HostCall> {
    let whole = || {
        call(
            "whole",
            "set_buffer_bytes",
            [buffer.into(), 0.into(), (-1).into(), "0123456789".into()],
        )
    };
    let mut calls = Vec::new();
    for start in BOUNDS {
        for size in BOUNDS {
            let read = [buffer.into(), start.into(), size.into()];
            calls.extend([whole(), call(&format!("get {start} {size}"), "get_buffer_bytes", read)]);
            for data in ["", "x", "WXYZ", "a longer text"] {
                let tag = format!("set {start} {size} {data:?}");
                let set = [buffer.into(), start.into(), size.into(), data.into()];
                let all = [buffer.into(), 0.into(), (-1).into()];
                calls.extend([
                    whole(),
                    call(&tag, "set_buffer_bytes", set),
                    call("then", "get_buffer_bytes", all),
                    call("size", "get_buffer_status", [buffer.into()]),
                ]);
            }
        }
    }
    calls
}

#[test]
fn each_range_of_a_body_reads_and_writes_the_same_in_both_hosts() {
    // The callback for the end of a body has no bytes.
    let guard = "(if (i32.eqz (local.get $p1)) (then (return (i32.const 0))))";
    let wasm = CallGuest::default()
        .on_if("request_body", guard, &ranges(0), 0)
        .on_if("response_body", guard, &ranges(1), 0)
        .module();
    let upstream = Upstream::start(|_, reply| reply.respond(200, &[], b"abcdefghij"));
    let envoy = Envoy::start(bootstrap(&wasm, &json!({}), upstream.port));
    let mut client = Client::connect(envoy.port);
    client.post("/", b"ABCDEFGHIJ");
    let trace = r#"{"at":"0s","request":{"method":"POST","headers":[["content-length","10"]],"body":[{"text":"ABCDEFGHIJ"}]},"upstream":{"headers":[["content-length","10"]],"body":[{"text":"abcdefghij"}]}}"#;
    let simulator = logged_in_the_simulator(&wasm, trace);
    let in_envoy = eventually("the guest to log", || {
        Some(logged_in_envoy(&envoy)).filter(|lines| lines.len() >= simulator.len())
    });
    // The first number of the callback and its end flag are not part of this test.
    let calls = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| !line.starts_with('>')).collect()
    };
    assert_same(&calls(in_envoy), &calls(simulator));
}
