//! `timeouts.read` and `timeouts.send` fire before and within a response, on uploads and on
//! upgrades; never early, and for many streams at once.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy, PushResult};
use sluice_tests::http1::message::Framing;
use sluice_tests::http1::{Client, Reader};
use sluice_tests::upstream::{Reply, Upstream};
use sluice_tests::{eventually, http2, net};

const TIMEOUT: Duration = Duration::from_secs(1);
/// A timeout never fires early; on a loaded machine it may be late by more than a refresh.
const LATE: Duration = Duration::from_secs(3);

fn configuration() -> Value {
    json!({
        "version": 1,
        "routes": [
            { "name": "read", "match": { "path": { "prefix": "/read" } }, "timeouts": { "read": "1s" } },
            { "name": "send", "match": { "path": { "prefix": "/send" } }, "timeouts": { "send": "1s" } },
            { "name": "held", "match": { "path": { "prefix": "/held" } }, "timeouts": { "send": "1s", "read": "1s" },
              "buffering": { "request": "on", "response": "on" } },
        ],
    })
}

fn start(upstream: &Upstream) -> Envoy {
    Envoy::start(Bootstrap::example("static", upstream.port).configured(&configuration()))
}

fn assert_in_time(after: Duration, from: Duration) {
    assert!((from + TIMEOUT..from + TIMEOUT + LATE).contains(&after), "after {after:?}");
}

/// An upstream that goes silent in the way that the path names.
fn silent() -> Upstream {
    Upstream::start(|request, reply| {
        if request.path().ends_with("gap") {
            reply.send_headers(200, &[("transfer-encoding", "chunked")]);
            for _ in 0..3 {
                reply.send_chunk(b"chunk");
                reply.pause(500);
            }
        }
        reply.pause(6000);
        reply.close();
    })
}

#[test]
fn read_fires_when_the_upstream_does_not_respond() {
    let upstream = silent();
    let envoy = start(&upstream);
    let response = Client::get_once(envoy.port, "/read");
    assert_eq!((response.status, response.body.complete), (504, true));
    assert_eq!(response.body.bytes, b"read_timeout: no data from the upstream for 1s\n");
    assert_in_time(response.end_after, Duration::ZERO);
    let response = http2::Client::connect(envoy.port).get("/read");
    assert_eq!((response.status, response.reset), (504, None));
    assert_in_time(response.end_after, Duration::ZERO);
    let mut client = Client::connect(envoy.port);
    client.send("HEAD", "/read", &[]);
    let head = client.receive();
    assert_eq!((head.status, head.body.bytes.len()), (504, 0));
    let pending = http2::Client::connect(envoy.port);
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let stream = pending.start("POST", "/read", &grpc, Some(b"\0\0\0\0\0"));
    let response = pending.finish(stream);
    let fields = ["grpc-status", "grpc-message"].map(|name| response.header(name));
    assert_eq!((response.status, fields), (200, [Some("4"), Some("read_timeout")]));
    assert!(response.body.is_empty());
}

#[test]
fn read_fires_in_a_gap_of_a_response() {
    let upstream = silent();
    let envoy = start(&upstream);
    let sent = Duration::from_millis(1000);
    let response = Client::get_once(envoy.port, "/read/gap");
    assert_eq!((response.status, response.body.complete), (200, false));
    assert_eq!(response.body.bytes, b"chunkchunkchunk", "all bytes before the gap");
    assert_in_time(response.end_after, sent);
    let response = http2::Client::connect(envoy.port).get("/read/gap");
    assert_eq!((response.status, response.reset.is_some()), (200, true));
    assert_eq!(response.body, b"chunkchunkchunk");
    assert_in_time(response.end_after, sent);
}

#[test]
fn send_fires_in_a_gap_of_an_upload() {
    let upstream = silent();
    let envoy = start(&upstream);
    let mut client = Client::connect(envoy.port);
    client.send("POST", "/send", &[("content-length", "100")]);
    for _ in 0..3 {
        client.write(b"chunk");
        std::thread::sleep(Duration::from_millis(500));
    }
    let response = client.receive();
    assert_eq!(response.status, 504);
    assert_eq!(response.body.bytes, b"send_timeout: no data to the upstream for 1s\n");
    assert_in_time(response.end_after, Duration::from_millis(1000));

    let client = http2::Client::connect(envoy.port);
    let pending = client.start("POST", "/send", &[], None);
    let response = client.finish(pending);
    assert_eq!(response.status, 504);
    assert_in_time(response.end_after, Duration::ZERO);
}

/// The upload of the first request takes longer than any timeout, and so does the response of the
/// second.
#[test]
fn a_buffered_body_is_not_idle() {
    let upstream = Upstream::start(|request, reply| {
        if request.path().ends_with("slow") {
            reply.send_headers(200, &[("content-length", "25")]);
            for _ in 0..5 {
                reply.pause(500);
                reply.write(b"chunk");
            }
            return;
        }
        reply.respond(200, &[], &request.body);
    });
    let envoy = start(&upstream);
    let mut client = Client::connect(envoy.port);
    client.send("POST", "/held", &[("content-length", "10")]);
    client.write(b"begin");
    std::thread::sleep(Duration::from_millis(2500));
    client.write(b"-end.");
    let response = client.receive();
    assert_eq!((response.status, &response.body.bytes[..]), (200, &b"begin-end."[..]));
    let response = client.get("/held/slow");
    assert_eq!((response.status, response.body.bytes.len()), (200, 25));
}

/// While a body is buffered, each callback reports the sum of all chunks; only growth counts.
#[test]
fn read_fires_in_a_gap_of_a_buffered_response() {
    let upstream = Upstream::start(|_, reply| {
        reply.send_headers(200, &[("content-length", "30000")]);
        for _ in 0..100 {
            reply.write(&[b'x'; 200]);
            reply.pause(2);
        }
        reply.pause(6000);
        reply.close();
    });
    let envoy = start(&upstream);
    let response = Client::get_once(envoy.port, "/held");
    assert_eq!((response.status, response.body.complete), (200, false));
    assert_in_time(response.end_after, Duration::from_millis(200));
}

/// A client that pauses makes Envoy stop reading from the upstream, soon with small buffers. The
/// filter watches only the first `max_bytes` of a download for that reason.
#[test]
fn a_paused_client_loses_no_download() {
    const SIZE: usize = 1 << 20;
    let upstream = Upstream::start(|request, reply| {
        if request.path().ends_with("stalls") {
            reply.send_headers(200, &[("content-length", "40000")]);
            reply.write(&[b'x'; 32_000]);
            reply.pause(6000);
            return reply.close();
        }
        reply.respond(200, &[], &vec![b'x'; SIZE]);
    });
    let window = json!({ "http2_protocol_options": { "initial_stream_window_size": 65_536 } });
    let bootstrap = Bootstrap::example("static", upstream.port).configured(&configuration());
    let envoy = Envoy::start(bootstrap.with_buffers(32_768).with_connection_manager(&window));
    let mut client = http2::Client::connect(envoy.port);
    let resting = client.start("GET", "/read", &[], Some(b""));
    std::thread::sleep(3 * TIMEOUT);
    let response = client.finish(resting);
    assert_eq!((response.reset, response.body.len()), (None, SIZE));

    let stalled = client.get("/read/stalls");
    assert_eq!((stalled.reset.is_some(), stalled.body.len()), (true, 32_000));
    assert_in_time(stalled.end_after, Duration::ZERO);
}

/// An upstream that sends response headers after the request headers and the rest after the upload,
/// as gRPC streaming calls do.
fn eager() -> u16 {
    net::listen(|stream| -> std::io::Result<()> {
        let mut reader = Reader::new(stream);
        let headers = reader.headers()?.ok_or(ErrorKind::UnexpectedEof)?;
        reader.stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        match reader.body(Framing::of(&headers).unwrap_or(Framing::Empty))?.complete {
            true => reader.stream.write_all(b"4\r\ndone\r\n0\r\n\r\n"),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    })
}

#[test]
fn an_early_response_may_wait_for_its_upload() {
    let bootstrap = Bootstrap::example("static", eager()).configured(&configuration());
    let envoy = Envoy::start(bootstrap);
    let client = http2::Client::connect(envoy.port);
    let open = |path: &str| {
        let request = Request::post(format!("http://example.com{path}"));
        let request = request.header("content-length", "25").body(()).expect("it is well-formed");
        client.try_open(request, false).expect("a connection that takes streams")
    };
    let mut open = ["/read", "/held"].map(open);
    for chunk in ["begin", "goes ", "on   ", "until", "last."] {
        for (_, upload) in &mut open {
            upload.send_data(chunk.into(), chunk == "last.").expect("the stream is open");
        }
        std::thread::sleep(TIMEOUT / 2);
    }
    for (pending, _) in open {
        let response = client.finish(pending);
        assert_eq!((response.reset, &response.body[..]), (None, &b"done"[..]));
    }

    let (silent, mut upload) = client
        .try_open(Request::post("http://example.com/read").body(()).expect("a request"), false)
        .expect("a connection that takes streams");
    upload.send_data("begin".into(), false).expect("the stream is open");
    let response = client.finish(silent);
    assert_eq!((response.status, response.reset.is_some()), (200, true));
    assert_in_time(response.end_after, Duration::ZERO);
}

#[test]
fn bytes_in_either_direction_keep_an_upgrade_open() {
    let upstream = Upstream::start(|_, reply: &mut Reply| {
        reply.send_headers(101, &[("upgrade", "websocket"), ("connection", "upgrade")]);
        for _ in 0..3 {
            reply.pause(600);
            reply.write(b"ping");
        }
        while !reply.read().is_empty() {}
        reply.close();
    });
    let envoy = start(&upstream);
    let mut client = Client::connect(envoy.port);
    client.send("GET", "/read", &[("upgrade", "websocket"), ("connection", "upgrade")]);
    assert_eq!(client.receive().status, 101);
    let begun = std::time::Instant::now();
    assert_eq!([(); 3].map(|()| client.read_some(4)).concat(), b"pingpingping");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(600));
        client.write(b"pong");
    }
    let last = begun.elapsed();
    assert_eq!(client.read_some(1), b"", "the idle tunnel is closed");
    assert_in_time(begun.elapsed(), last - Duration::from_millis(50));
}

/// The stream starts before the push; the replaced plugin context still ticks for it.
#[test]
fn a_stream_keeps_the_timeout_with_which_it_started() {
    let upstream = silent();
    let mut envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration()));
    let [before, within] = ["/read", "/read/gap"].map(|path| {
        let mut client = Client::connect(envoy.port);
        client.send("GET", path, &[]);
        client
    });
    envoy.wait_for_stat("http.ingress.downstream_rq_active", 2);
    assert_eq!(envoy.push(&json!({ "version": 1 })), PushResult::Accepted);
    let [before, within] = [before, within].map(|mut client| client.receive());
    assert_eq!((before.status, before.body.complete), (504, true));
    assert_in_time(before.end_after, Duration::ZERO);
    assert_eq!((within.status, within.body.complete), (200, false));
    assert_in_time(within.end_after, Duration::from_millis(1000));
}

/// Envoy nests the replies that one callback sends on one stack, so the filter bounds them.
#[test]
fn a_thousand_timeouts_at_once_do_not_crash_the_vm() {
    let upstream = silent();
    let bootstrap = Bootstrap::example("static", upstream.port).configured(&configuration());
    let bootstrap = bootstrap.changed("clusters", |clusters| {
        let many = json!({ "thresholds": [{ "max_connections": 4096, "max_requests": 4096, "max_pending_requests": 4096 }] });
        clusters[0]["circuit_breakers"] = many;
        // The kernel's accept queue is too short for all connections at once.
        clusters[0]["connect_timeout"] = json!("20s");
    });
    let envoy = Envoy::start_with_workers(bootstrap, 1);
    let clients: Vec<_> = (0..20).map(|_| http2::Client::connect(envoy.port)).collect();
    let start = |client: &http2::Client, path| client.start("GET", path, &[], Some(b""));
    let silent: Vec<_> = clients
        .iter()
        .flat_map(|client| [(); 50].map(|()| (client, start(client, "/read"))))
        .collect();
    for (client, stream) in silent {
        let response = client.finish(stream);
        assert_eq!((response.status, response.reset), (504, None));
    }
    let mut streams = Vec::new();
    for client in &clients {
        streams.extend([(); 50].map(|()| (client, start(client, "/read/gap"))));
        eventually("the upstream to receive all requests", || {
            (upstream.requests("/read/gap").len() == streams.len()).then_some(())
        });
    }
    for (client, stream) in streams {
        let response = client.finish(stream);
        assert_eq!((response.status, response.reset.is_some()), (200, true));
    }
    let failures = envoy.stat("wasm.envoy.wasm.runtime.v8.created");
    assert_eq!(Client::get_once(envoy.port, "/read").status, 504);
    assert_eq!(envoy.stat("wasm.envoy.wasm.runtime.v8.created"), failures, "no VM was replaced");
}

/// A server that refuses an upgrade sends an ordinary response, which may be slow.
#[test]
fn a_refused_upgrade_waits_only_for_its_response() {
    let upstream = Upstream::start(|_, reply| {
        reply.send_headers(403, &[("content-length", "25")]);
        for _ in 0..5 {
            reply.pause(500);
            reply.write(b"chunk");
        }
    });
    let envoy = start(&upstream);
    let mut client = Client::connect(envoy.port);
    client.send("GET", "/held", &[("upgrade", "websocket"), ("connection", "upgrade")]);
    let response = client.receive();
    assert_eq!((response.status, response.body.bytes.len()), (403, 25));
}
