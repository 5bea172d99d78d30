//! Error pages of local replies, for every failure reason. Error responses of an upstream pass
//! unchanged.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::http2;
use sluice_tests::upstream::Upstream;

fn configuration() -> Value {
    json!({
        "version": 1,
        "defaults": { "timeouts": { "request": "500ms" } },
        "routes": [
            { "name": "tries", "match": { "path": { "prefix": "/tries" } }, "timeouts": { "request": "3s", "per_try": "300ms" } },
            { "name": "upload", "match": { "path": { "prefix": "/upload" } }, "buffering": { "request": "on", "max_bytes": 10 } },
        ],
        "errors": {
            "content_type": "application/json",
            "body": "{\"error\":\"{reason}\",\"route\":\"{route}\",\"id\":\"{request_id}\",\"status\":{status}}",
            "alternatives": [{ "content_type": "text/plain", "body": "{reason}\n" }],
        },
        "report": { "header": true, "access_log": true },
    })
}

fn start(upstream: u16) -> Envoy {
    Envoy::start(Bootstrap::example("static", upstream).configured(&configuration()))
}

/// Checks the error page and the metric of a reason over HTTP/1.1 and HTTP/2.
fn check(envoy: &Envoy, path: &str, status: u16, reason: &str, route: &str) {
    let mut client = Client::connect(envoy.port);
    client.send("GET", path, &[("x-request-id", "id-1")]);
    let response = client.receive();
    assert_eq!((response.status, response.body.complete), (status, true), "{path}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let page: Value = serde_json::from_slice(&response.body.bytes).expect("the page is JSON");
    let id = page["id"].as_str().expect("an id").to_owned();
    assert_eq!(page, json!({ "error": reason, "route": route, "id": id, "status": status }));
    assert!(!id.is_empty(), "Envoy adds a request id");

    client.send("GET", path, &[("accept", "text/plain")]);
    assert_eq!(client.receive().body.bytes, format!("{reason}\n").as_bytes());
    client.send("HEAD", path, &[]);
    let response = client.receive();
    assert_eq!((response.status, response.body.bytes.len()), (status, 0));
    assert_eq!(response.header("content-type"), Some("application/json"));

    let client = http2::Client::connect(envoy.port);
    let pending = client.start("GET", path, &[("accept", "text/*")], Some(b""));
    let response = client.finish(pending);
    assert_eq!((response.status, response.reset), (status, None));
    assert_eq!(response.body, format!("{reason}\n").as_bytes());
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let pending = client.start("POST", path, &grpc, Some(b"\0\0\0\0\0"));
    let response = client.finish(pending);
    // Envoy chooses the gRPC status of its local replies: "deadline exceeded" here, "unavailable"
    // for the others.
    let grpc_status = if reason == "duration_limit" { "4" } else { "14" };
    assert_eq!((response.status, response.header("grpc-status")), (200, Some(grpc_status)));
    assert!(response.body.is_empty());

    envoy.wait_for_stat(&format!("wasmcustom.sluice.route.{route}.ended.{reason}"), 5);
}

#[test]
fn a_refused_connection_gets_its_reason() {
    let envoy = start(sluice_tests::unused_port());
    check(&envoy, "/", 503, "connect_failure", "default");
}

#[test]
fn a_reset_an_invalid_response_and_a_silent_upstream_get_their_reasons() {
    let upstream = Upstream::start(|request, reply| match request.path() {
        "/closes" => reply.close(),
        "/nonsense" => {
            reply.write(b"what?\r\n\r\n");
            reply.close();
        }
        _ => reply.pause(6000),
    });
    let envoy = start(upstream.port);
    check(&envoy, "/closes", 503, "upstream_reset", "default");
    check(&envoy, "/nonsense", 502, "protocol_error", "default");
    check(&envoy, "/silent", 504, "request_timeout", "default");
    check(&envoy, "/tries", 504, "per_try_timeout", "tries");
}

#[test]
fn an_empty_or_missing_cluster_gets_its_reason() {
    let bootstrap = Bootstrap::example("static", 1).configured(&configuration());
    let empty = bootstrap.clone().changed("load_assignment", |assignment| {
        assignment["endpoints"] = json!([]);
    });
    check(&Envoy::start(empty), "/", 503, "no_healthy_upstream", "default");
    let missing = bootstrap
        .changed("route", |route| route["cluster"] = json!("nowhere"))
        .changed("route_config", |routes| routes["validate_clusters"] = json!(false));
    check(&Envoy::start(missing), "/", 503, "no_cluster", "default");
}

#[test]
fn circuit_breaking_gets_its_reason() {
    let bootstrap = Bootstrap::example("static", Upstream::ok().port).configured(&configuration());
    let full = bootstrap.changed("clusters", |clusters| {
        for cluster in clusters.as_array_mut().expect("a list") {
            cluster["circuit_breakers"] =
                json!({ "thresholds": [{ "max_requests": 0, "max_pending_requests": 0 }] });
        }
    });
    check(&Envoy::start(full), "/", 503, "overflow", "default");
}

#[test]
fn envoys_own_timeouts_get_their_reasons() {
    let upstream = Upstream::start(|_, reply| reply.pause(6000));
    let unlimited = json!({ "version": 1, "defaults": { "timeouts": { "request": "0s" } }, "errors": configuration()["errors"] });
    let bootstrap = Bootstrap::example("static", upstream.port).configured(&unlimited);
    let idle = bootstrap.clone().with_connection_manager(&json!({ "stream_idle_timeout": "0.5s" }));
    check(&Envoy::start(idle), "/", 504, "idle_timeout", "default");
    let short = json!({ "common_http_protocol_options": { "max_stream_duration": "0.5s" } });
    check(
        &Envoy::start(bootstrap.with_connection_manager(&short)),
        "/",
        504,
        "duration_limit",
        "default",
    );
}

/// Either peer may close a tunnel; only an end by the proxy has a reason.
#[test]
fn a_tunnel_has_a_reason_only_if_the_proxy_ends_it() {
    let upstream = Upstream::start(|request, reply| {
        reply.send_headers(101, &[("upgrade", "websocket"), ("connection", "upgrade")]);
        if request.path() == "/leaves" {
            return reply.shutdown_and_wait();
        }
        while !reply.read().is_empty() {}
    });
    let bootstrap = Bootstrap::example("static", upstream.port).configured(&configuration());
    let idle = json!({ "stream_idle_timeout": "0.5s" });
    let envoy = Envoy::start(bootstrap.with_connection_manager(&idle));
    let open = |path: &str| {
        let mut client = Client::connect(envoy.port);
        client.send("GET", path, &[("upgrade", "websocket"), ("connection", "upgrade")]);
        assert_eq!(client.receive().status, 101);
        client
    };
    drop(open("/"));
    assert!(open("/leaves").read_to_end().is_empty());
    assert!(open("/").read_to_end().is_empty());
    envoy.wait_for_stat("wasmcustom.sluice.route.default.ended.idle_timeout", 1);
    let closes = ["client_closed", "upstream_reset"];
    let reasons =
        closes.map(|word| envoy.stat(&format!("wasmcustom.sluice.route.default.ended.{word}")));
    assert_eq!(reasons, [0, 0], "{closes:?}");
}

#[test]
fn a_connect_timeout_gets_its_reason() {
    // The listener never accepts: once its queue is full, the kernel drops new connections.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let queued: Vec<TcpStream> = std::iter::from_fn(connect).collect();
    let bootstrap = Bootstrap::example("static", address.port()).configured(&configuration());
    let impatient = bootstrap.changed("clusters", |clusters| {
        for cluster in clusters.as_array_mut().expect("a list") {
            cluster["connect_timeout"] = json!("0.2s");
        }
    });
    check(&Envoy::start(impatient), "/", 503, "connect_timeout", "default");
    drop((listener, queued));
}

#[test]
fn refused_http_2_streams_get_their_reason() {
    let bootstrap =
        Bootstrap::example("static", http2::refuse_streams()).configured(&configuration());
    check(&Envoy::start(bootstrap.http_2_upstream()), "/", 503, "upstream_refused", "default");
}

#[test]
fn a_failure_after_the_response_headers_is_counted() {
    let upstream = Upstream::start(|request, reply| {
        reply.send_headers(200, &[("content-length", "1000")]);
        reply.write(b"half");
        reply.pause(if request.path() == "/breaks" { 0 } else { 6000 });
        reply.close();
    });
    let envoy = start(upstream.port);
    let broken = Client::get_once(envoy.port, "/breaks");
    assert_eq!((broken.status, broken.body.complete), (200, false));
    envoy.wait_for_stat("wasmcustom.sluice.route.default.ended.upstream_reset", 1);
    let mut leaves = Client::connect(envoy.port);
    leaves.send("GET", "/tries", &[]);
    envoy.wait_for_stat("http.ingress.downstream_rq_active", 1);
    drop(leaves);
    envoy.wait_for_stat("wasmcustom.sluice.route.tries.ended.client_closed", 1);
    assert!(!Client::get_once(envoy.port, "/late").body.complete);
    envoy.wait_for_stat("wasmcustom.sluice.route.default.ended.request_timeout", 1);
}

/// `max_bytes` is larger than the proxy's buffer limit.
#[test]
fn an_upload_above_the_buffer_limit_of_the_proxy_gets_413() {
    let mut configuration = configuration();
    configuration["routes"][1]["buffering"]["max_bytes"] = json!(1_000_000);
    let bootstrap = Bootstrap::example("static", Upstream::ok().port).configured(&configuration);
    let envoy = Envoy::start(bootstrap.with_buffers(10_000));
    let mut client = Client::connect(envoy.port);
    client.send("POST", "/upload", &[("content-length", "100000"), ("accept", "text/plain")]);
    client.try_write(&[b'x'; 100_000]);
    let response = client.receive();
    assert_eq!((response.status, &response.body.bytes[..]), (413, &b"body_too_large\n"[..]));
}

/// The response headers are sent before the proxy reaches its buffer limit, so it can only cut the
/// body.
#[test]
fn a_response_above_the_buffer_limit_of_the_proxy_is_counted() {
    let upstream = Upstream::start(|_, reply| {
        reply.respond(200, &[("content-type", "text/plain")], &[b'x'; 60_000])
    });
    let mut configuration = configuration();
    configuration["routes"][1]["buffering"] = json!({ "response": "on", "max_bytes": 65_536 });
    let bootstrap = Bootstrap::example("static", upstream.port).configured(&configuration);
    let envoy = Envoy::start(bootstrap.with_buffers(32_768));
    let response = Client::get_once(envoy.port, "/upload");
    assert_eq!((response.status, response.body.complete), (200, false));
    envoy.wait_for_stat("wasmcustom.sluice.route.upload.ended.body_too_large", 1);
}

#[test]
fn an_upload_above_max_bytes_gets_413() {
    let upstream = Upstream::ok();
    let envoy = start(upstream.port);
    let mut client = Client::connect(envoy.port);
    client.send("POST", "/upload", &[("content-length", "11"), ("x-request-id", "a\"b")]);
    let response = client.receive();
    let page: Value = serde_json::from_slice(&response.body.bytes).expect("the page is JSON");
    assert_eq!((response.status, &page["error"]), (413, &json!("body_too_large")));
    let decision = response.header("x-sluice-decision").expect("the decision header");
    let decision: Value = serde_json::from_str(decision).expect("an object");
    assert_eq!(decision["reason"], "body_too_large");
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn error_responses_of_the_upstream_pass_unchanged() {
    let upstream = Upstream::start(|request, reply| {
        let status = request.path()[1..].parse().expect("a status");
        reply.respond(status, &[("content-type", "text/html")], b"<h1>ours</h1>");
    });
    let envoy = start(upstream.port);
    for status in [413, 500, 502, 503, 504] {
        let response = Client::get_once(envoy.port, &format!("/{status}"));
        assert_eq!((response.status, &response.body.bytes[..]), (status, &b"<h1>ours</h1>"[..]));
        assert_eq!(response.header("content-type"), Some("text/html"));
        assert!(
            !response.header("x-sluice-decision").expect("the decision header").contains("reason")
        );
    }
}

#[test]
fn without_pages_the_text_of_the_proxy_stays_and_the_reason_is_counted() {
    let configuration = json!({ "version": 1, "errors": {} });
    let bootstrap =
        Bootstrap::example("static", sluice_tests::unused_port()).configured(&configuration);
    let envoy = Envoy::start(bootstrap);
    let response = Client::get_once(envoy.port, "/");
    assert_eq!(response.status, 503);
    assert!(response.body.bytes.starts_with(b"upstream connect error"));
    envoy.wait_for_stat("wasmcustom.sluice.route.default.ended.connect_failure", 1);
}
