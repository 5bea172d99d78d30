//! Bodies pass byte for byte in every buffering mode, framing and chunk size.

use std::thread::scope;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::http2;
use sluice_tests::upstream::{Reply, Request, Upstream};

const MODES: [&str; 4] = ["on", "auto", "off", "none"];

/// Sizes around the limits: empty, the default `max_bytes`, and Envoy's buffer limit of 1 MiB.
const SIZES: [usize; 9] = [0, 1, 1000, 32_767, 32_768, 32_769, 262_144, 1_048_577, 8_388_608];

fn configuration() -> Value {
    let route = |mode: &str| {
        json!({ "name": mode, "match": { "path": { "prefix": format!("/{mode}/") } },
                "buffering": { "response": mode, "request": if mode == "on" { "on" } else { "off" },
                               "max_bytes": 262_144 } })
    };
    json!({ "version": 1, "routes": [route("on"), route("auto"), route("off")] })
}

/// Bytes that differ at every offset, so that a misplaced chunk shows.
fn content(size: usize) -> Vec<u8> {
    (0..size as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Serves `/MODE/FRAMING/SIZE/SLICE?HEADER=VALUE`: a body of SIZE bytes, written in slices of SLICE
/// bytes, with an optional extra header.
fn serve(request: &Request, reply: &mut Reply) {
    let words: Vec<&str> = request.path().split('/').collect();
    if words[2] == "upload" {
        return reply.respond(200, &[], request.body.len().to_string().as_bytes());
    }
    let number = |word: &str| word.parse::<usize>().expect("sizes are numbers");
    let (slice, header) = words[4].split_once('?').unwrap_or((words[4], ""));
    let (size, slice) = (number(words[3]), number(slice));
    let body = content(size);
    let length = size.to_string();
    let mut headers: Vec<(&str, &str)> = header.split_once('=').into_iter().collect();
    headers.extend(match words[2] {
        "length" => Some(("content-length", length.as_str())),
        "chunked" => Some(("transfer-encoding", "chunked")),
        _ => None,
    });
    reply.send_headers(200, &headers);
    for chunk in body.chunks(slice) {
        match words[2] {
            "chunked" => reply.send_chunk(chunk),
            _ => reply.write(chunk),
        }
    }
    match words[2] {
        "chunked" => reply.send_chunk(b""),
        "close" => reply.close(),
        _ => {}
    }
}

/// All combinations of framing, size and slice; single-byte slices only for small bodies, to bound
/// the run time.
fn paths(mode: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for framing in ["length", "chunked", "close"] {
        for size in SIZES {
            for slice in [1, 1000, 65_536, 1_048_576] {
                if size / slice <= 10_000 {
                    paths.push(format!("/{mode}/{framing}/{size}/{slice}"));
                }
            }
        }
    }
    paths
}

fn size(path: &str) -> usize {
    path.split('/').nth(3).and_then(|size| size.parse().ok()).expect("a path names a size")
}

#[test]
fn response_bytes_are_unchanged_in_every_mode() {
    let upstream = Upstream::start(serve);
    let envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration()));
    scope(|scope| {
        for mode in MODES {
            let port = envoy.port;
            scope.spawn(move || {
                let mut client = Client::connect(port);
                for path in paths(mode) {
                    let response = client.get(&path);
                    assert_eq!((response.status, response.body.complete), (200, true), "{path}");
                    assert!(
                        response.body.bytes == content(size(&path)),
                        "{path}: the bytes differ"
                    );
                }
            });
        }
    });
}

/// Response headers select how a body is delivered; they never change its bytes.
#[test]
fn response_headers_do_not_change_the_body() {
    let upstream = Upstream::start(serve);
    let envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration()));
    let headers = [
        "x-accel-buffering=no",
        "x-accel-buffering=yes",
        "content-type=text/event-stream",
        "content-type=application/grpc",
        "content-encoding=gzip",
    ];
    let mut client = Client::connect(envoy.port);
    let mut over_http_2 = http2::Client::connect(envoy.port);
    for mode in MODES {
        for path in
            paths(mode).into_iter().filter(|path| size(path) <= 262_144 && !path.ends_with("/1"))
        {
            for header in headers {
                let path = format!("{path}?{header}");
                let response = client.get(&path);
                assert_eq!((response.status, response.body.complete), (200, true), "{path}");
                assert!(response.body.bytes == content(size(&path)), "{path}: the bytes differ");
            }
            let path = format!("{path}?{}", headers[0]);
            assert!(
                over_http_2.get(&path).body == content(size(&path)),
                "{path}: the bytes differ"
            );
        }
    }
}

/// Envoy recommends buffers of 32 KiB for edge proxies; the default `max_bytes` is the same number.
#[test]
fn the_default_max_bytes_fits_into_the_buffers_that_envoy_recommends() {
    let upstream = Upstream::start(serve);
    let route = json!({ "name": "on", "match": { "path": { "prefix": "/on/" } },
                        "buffering": { "response": "on", "request": "on" } });
    let configuration = json!({ "version": 1, "routes": [route] });
    let bootstrap = Bootstrap::discovered(upstream.port, &configuration);
    let envoy = Envoy::start(bootstrap.with_buffers(32_768));
    for size in [32_767, 32_768, 32_769, 100_000] {
        for slice in [1000, 32_768, 65_536] {
            let path = format!("/on/length/{size}/{slice}");
            let response = Client::get_once(envoy.port, &path);
            assert_eq!((response.status, response.body.complete), (200, true), "{path}");
            assert!(response.body.bytes == content(size), "{path}: the bytes differ");
            let response = http2::Client::connect(envoy.port).get(&path);
            assert!(response.reset.is_none() && response.body == content(size), "{path}");
        }
        let path = format!("/on/upload/length/{size}");
        let response = Client::connect(envoy.port).post(&path, &content(size));
        assert_eq!(response.status, if size > 32_768 { 413 } else { 200 }, "{path}");
        if size <= 32_768 {
            assert!(upstream.requests(&path)[0].body == content(size), "{path}: the bytes differ");
        }
    }
}

#[test]
fn response_bytes_are_unchanged_over_http_2() {
    let upstream = Upstream::start(serve);
    let envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration()));
    let mut client = http2::Client::connect(envoy.port);
    for mode in MODES {
        for path in paths(mode).into_iter().filter(|path| !path.ends_with("/1")) {
            let response = client.get(&path);
            assert_eq!((response.status, response.reset), (200, None), "{path}");
            assert!(response.body == content(size(&path)), "{path}: the bytes differ");
        }
    }
}

#[test]
fn upload_bytes_are_unchanged_in_every_mode() {
    let upstream = Upstream::start(serve);
    let envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration()));
    for mode in MODES {
        for size in SIZES {
            let body = content(size);
            let mut client = Client::connect(envoy.port);
            let path = format!("/{mode}/upload/length/{size}");
            if mode == "on" && size > 262_144 {
                client.send("POST", &path, &[("content-length", &size.to_string())]);
                assert_eq!(client.receive().status, 413, "{path}");
                continue;
            }
            assert_eq!(client.post(&path, &body).status, 200, "{path}");
            assert!(upstream.requests(&path)[0].body == body, "{path}: the bytes differ");
            let path = format!("/{mode}/upload/chunked/{size}");
            client.send("POST", &path, &[("transfer-encoding", "chunked")]);
            for chunk in body.chunks(70_000) {
                client.write(format!("{:x}\r\n", chunk.len()).as_bytes());
                client.write(chunk);
                client.write(b"\r\n");
            }
            client.write(b"0\r\n\r\n");
            assert_eq!(client.receive().status, 200, "{path}");
            assert!(upstream.requests(&path)[0].body == body, "{path}: the bytes differ");
        }
    }
}
