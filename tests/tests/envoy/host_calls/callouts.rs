//! Calls of the guest: what it receives for each kind of response, and in which order.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sluice_tests::call_guest::{Arg, CallGuest, HostCall, call, pairs};
use sluice_tests::cluster_server::{serve_http1, serve_http2};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::eventually;
use sluice_tests::http1::Client;
use sluice_tests::upstream::Upstream;

use super::{assert_same, bootstrap, logged_in_envoy, logged_in_the_simulator};

/// Everything that a guest can read in the callback of a call.
fn reads() -> Vec<HostCall> {
    let pairs = |map: i64| call(&format!("pairs {map}"), "get_header_map_pairs", [map.into()]);
    let body = |buffer: i64| {
        call(&format!("body {buffer}"), "get_buffer_bytes", [buffer.into(), 0.into(), 200.into()])
    };
    vec![
        call("status", "get_status", []),
        pairs(4),
        pairs(5),
        pairs(6),
        pairs(7),
        body(4),
        body(5),
        call("size 6", "get_header_map_size", [6.into()]),
        call("size 4", "get_header_map_size", [4.into()]),
        call("past", "get_buffer_bytes", [4.into(), 1000.into(), 1.into()]),
    ]
}

/// A guest that calls the cluster whose name is in `x-cluster`, and reads the response.
fn guest(calls: &[HostCall]) -> Vec<u8> {
    let name = [0.into(), "x-cluster".into()];
    let mut all = vec![call("cluster", "get_header_map_value", name)];
    all.extend_from_slice(calls);
    let mut guest = CallGuest::default().on("request_headers", &all, 0);
    for name in [
        "http_call_response",
        "grpc_receive_initial_metadata",
        "grpc_receive",
        "grpc_receive_trailing_metadata",
        "grpc_close",
    ] {
        guest = guest.on(name, &reads(), 0);
    }
    guest.module()
}

/// One request to each cluster, after the other; the callbacks of one end before the next.
fn compare(wasm: &[u8], responds: &[Value], serve: fn(&Value) -> u16, http2: bool) {
    let names: Vec<String> = (0..responds.len()).map(|index| format!("cluster-{index}")).collect();
    let mut trace = json!({ "at": "0s", "clusters": names }).to_string();
    for (name, respond) in names.iter().zip(responds) {
        let event = json!({ "at": "0s", "cluster": name, "respond": respond });
        write!(trace, "\n{event}").expect("text");
    }
    for (index, name) in names.iter().enumerate() {
        let event = json!({ "at": format!("{}s", index + 1), "request": {
            "headers": [["x-cluster", name]] } });
        write!(trace, "\n{event}").expect("text");
    }
    let simulator = logged_in_the_simulator(wasm, &trace);
    let upstream = Upstream::ok();
    let mut bootstrap = bootstrap(wasm, &json!({}), upstream.port);
    for (name, respond) in names.iter().zip(responds) {
        bootstrap = with_cluster(bootstrap, name, serve(respond), http2);
    }
    let envoy = Envoy::start(bootstrap);
    let mut client = Client::connect(envoy.port);
    let request = |line: &String| line.starts_with("> request_headers");
    let ends: Vec<usize> = {
        let starts = simulator.iter().enumerate().filter(|(_, line)| request(line));
        let mut ends: Vec<usize> = starts.skip(1).map(|(index, _)| index).collect();
        ends.push(simulator.len());
        ends
    };
    for (name, end) in names.iter().zip(ends) {
        client.send("GET", "/", &[("x-cluster", name)]);
        assert_eq!(client.receive().status, 200);
        eventually(&format!("the call to {name} to end"), || {
            (logged_in_envoy(&envoy).len() >= end).then_some(())
        });
    }
    // The number of request headers differs, because the simulator's client sends fewer.
    let without_counts = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| !request(line)).collect()
    };
    assert_same(&without_counts(logged_in_envoy(&envoy)), &without_counts(simulator));
}

fn with_cluster(bootstrap: Bootstrap, name: &str, port: u16, http2: bool) -> Bootstrap {
    let bootstrap = bootstrap.with_cluster(name, port);
    if !http2 {
        return bootstrap;
    }
    let options = json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {} } } });
    bootstrap.changed("clusters", |clusters| {
        for cluster in clusters.as_array_mut().expect("a list") {
            if cluster["name"] == name {
                cluster["typed_extension_protocol_options"] = options.clone();
            }
        }
    })
}

const TIMEOUT: i64 = 300;

fn http() -> HostCall {
    let headers = [(":method", "GET"), (":path", "/x"), (":authority", "a"), ("x-a", "1")];
    let arguments = [Arg::Returned, pairs(&headers), "".into(), "".into(), TIMEOUT.into()];
    call("call", "http_call", arguments)
}

#[test]
fn each_response_to_an_http_call_is_the_same_in_both_hosts() {
    let ok = json!([["content-length", "2"], ["Server", "s"]]);
    compare(
        &guest(&[http()]),
        &[
            json!({ "headers": ok, "body": "hi" }),
            json!({ "headers": ok, "body": { "hex": "00ff" } }),
            json!({ "after": "30ms", "status": 404, "headers": [["content-length", "0"]] }),
            json!({ "status": 204 }),
            json!({ "headers": [["content-length", "2"], ["x-a", "1"], ["X-A", "2"], ["vary", "a"],
                ["vary", "b"], ["accept", "a"], ["accept", "b"], ["connection", "close"]], "body": "hi" }),
            json!({ "end": "refused" }),
            json!({ "end": "reset" }),
            json!({ "end": "reset_in_header" }),
            json!({ "end": "never" }),
            json!({ "status": 200, "headers": [["content-length", "20"]], "body": "half", "end": "reset" }),
            json!({ "status": 200, "headers": [["content-length", "20"]], "body": "half", "end": "never" }),
        ],
        serve_http1,
        false,
    );
}

#[test]
fn each_response_to_an_http_call_over_http2_is_the_same_in_both_hosts() {
    compare(
        &guest(&[http()]),
        &[
            json!({ "headers": [["content-length", "2"]], "body": "hi", "trailers": [["t", "1"]] }),
            json!({ "status": 503 }),
            json!({ "trailers": [["grpc-status", "1"], ["grpc-status", "2"], ["vary", "a"], ["vary", "b"]] }),
            json!({ "end": "reset" }),
            json!({ "end": "refused" }),
        ],
        serve_http2,
        true,
    );
}

/// Responses to a gRPC call.
fn grpc_responses() -> Vec<Value> {
    let grpc = json!([["content-type", "application/grpc"]]);
    vec![
        json!({ "headers": grpc, "messages": ["hello"], "trailers": [["grpc-status", "0"], ["t", "1"]] }),
        json!({ "headers": grpc, "messages": [{ "hex": "00ff80" }] }),
        json!({ "headers": grpc, "messages": ["a", "", "b"] }),
        json!({ "headers": grpc, "messages": [""] }),
        json!({ "headers": grpc, "messages": [], "trailers": [["grpc-status", "0"]] }),
        json!({ "headers": grpc, "messages": [], "trailers": [["grpc-status", "7"], ["grpc-message", "no%20way"]] }),
        json!({ "headers": grpc, "messages": ["x"], "trailers": [["grpc-status", "7"], ["grpc-message", "no"]] }),
        json!({ "headers": [["content-type", "application/grpc"], ["grpc-status", "7"], ["grpc-message", "only"]] }),
        json!({ "headers": [["content-type", "application/grpc"], ["grpc-status", "0"]] }),
        json!({ "headers": grpc, "messages": ["x"], "trailers": [["t", "1"]] }),
        json!({ "headers": grpc, "messages": ["x"], "trailers": [] }),
        json!({ "headers": grpc }),
        json!({ "headers": grpc, "body": "garbage", "trailers": [["grpc-status", "0"]] }),
        json!({ "headers": grpc, "body": { "hex": "00000000056865" }, "trailers": [["grpc-status", "0"]] }),
        json!({ "headers": grpc, "body": { "hex": "010000000178" }, "trailers": [["grpc-status", "0"]] }),
        json!({ "headers": grpc, "messages": [], "trailers": [["grpc-status", "abc"]] }),
        json!({ "headers": grpc, "messages": [], "trailers": [["grpc-status", "77"]] }),
        json!({ "status": 503, "body": "oops" }),
        json!({ "status": 404, "body": "oops" }),
        json!({ "status": 429 }),
        json!({ "status": 401 }),
        json!({ "status": 500, "headers": [["grpc-status", "9"], ["grpc-message", "m"]] }),
        json!({ "status": 302, "headers": [["location", "/"]] }),
        json!({ "body": "oops" }),
        json!({ "end": "refused" }),
        json!({ "end": "refused_stream" }),
        json!({ "end": "reset" }),
        json!({ "end": "never" }),
        json!({ "status": 200, "headers": grpc, "messages": ["x"], "end": "reset" }),
        json!({ "status": 200, "headers": grpc, "messages": ["x"], "end": "never" }),
    ]
}

#[test]
fn each_response_to_a_unary_grpc_call_is_the_same_in_both_hosts() {
    let metadata = pairs(&[("x-md", "1")]);
    let arguments = [
        Arg::Returned,
        "pkg.Svc".into(),
        "Method".into(),
        metadata,
        "question".into(),
        TIMEOUT.into(),
    ];
    let unary = call("call", "grpc_call", arguments);
    compare(&guest(&[unary]), &grpc_responses(), serve_http2, true);
}

#[test]
fn each_response_to_a_grpc_stream_is_the_same_in_both_hosts() {
    let arguments = [Arg::Returned, "pkg.Svc".into(), "Method".into(), "".into()];
    let open = call("open", "grpc_stream", arguments);
    // Each stream of the VM has the next id.
    let responds: Vec<Value> =
        grpc_responses().into_iter().filter(|respond| respond["end"] != "never").collect();
    let mut calls = vec![open];
    for index in 1..=responds.len() as i64 {
        let send = [(4 * index + 2).into(), "question".into(), 1.into()];
        calls.push(call("send", "grpc_send", send));
    }
    compare(&guest(&calls), &responds, serve_http2, true);
}

#[test]
fn invalid_calls_return_the_same_in_both_hosts() {
    let headers = [(":method", "GET"), (":path", "/x"), (":authority", "a")];
    let http = |cluster: &str, headers: &[(&str, &str)], timeout: i64| {
        let arguments = [cluster.into(), pairs(headers), "".into(), "".into(), timeout.into()];
        call("http", "http_call", arguments)
    };
    // A serialized GrpcService { envoy_grpc { cluster_name } }.
    let message = |name: &str| {
        let inner = [&[0x0a, name.len() as u8], name.as_bytes()].concat();
        Arg::Bytes([&[0x0a, inner.len() as u8], &inner[..]].concat())
    };
    let unary = |upstream: Arg| {
        let arguments = [upstream, "s".into(), "m".into(), "".into(), "".into(), 100.into()];
        call("unary", "grpc_call", arguments)
    };
    let stream = |upstream: Arg| {
        call("stream", "grpc_stream", [upstream, "s".into(), "m".into(), "".into()])
    };
    let send = |id: i64| call("send", "grpc_send", [id.into(), "m".into(), 0.into()]);
    let cancel = |id: i64| call("cancel", "grpc_cancel", [id.into()]);
    let close = |id: i64| call("close", "grpc_close", [id.into()]);
    let mut calls = vec![
        http("none", &headers, 100),
        http("", &headers, 100),
        http("cluster-0", &headers[1..], 100),
        http("cluster-0", &headers[..2], 100),
        http("cluster-0", &[headers[0], headers[2]], 100),
        http("cluster-0", &headers, -1),
        unary("none".into()),
        unary("no-such-cluster".into()),
        unary(message("none")),
        stream("none".into()),
        stream(message("none")),
        stream(message("cluster-0")),
    ];
    calls.extend((0..12).flat_map(|id| [send(id), cancel(id), close(id)]));
    let responds = [json!({ "messages": ["x"] })];
    compare(&guest(&calls), &responds, serve_http2, true);
}
