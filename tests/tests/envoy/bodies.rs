//! Bodies pass byte for byte, however they are held, cut into pieces and framed.

use std::thread::scope;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::http2;
use sluice_tests::upstream::{Reply, Request, Upstream};

const MODES: [&str; 4] = ["on", "auto", "off", "none"];

/// Around what is interesting: nothing, the default limit of holding, Envoy's buffer of 1 MiB.
const SIZES: [usize; 9] = [0, 1, 1000, 32_767, 32_768, 32_769, 262_144, 1_048_577, 8_388_608];

fn configuration() -> Value {
    let route = |mode: &str| {
        json!({ "name": mode, "match": { "path": { "prefix": format!("/{mode}/") } },
                "buffering": { "response": mode, "request": if mode == "on" { "on" } else { "off" },
                               "max_bytes": 262_144 } })
    };
    json!({ "version": 1, "routes": [route("on"), route("auto"), route("off")] })
}

/// Bytes in which every misplaced piece shows.
fn content(size: usize) -> Vec<u8> {
    (0..size as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// `/MODE/FRAMING/SIZE/SLICE?HEADER=VALUE`: a body of so many bytes, written in slices of this size, perhaps with a header more.
fn serve(request: &Request, reply: &mut Reply) {
    let words: Vec<&str> = request.path().split('/').collect();
    if words[2] == "upload" {
        return reply.respond(200, &[], request.body.len().to_string().as_bytes());
    }
    let number = |word: &str| word.parse::<usize>().expect("sizes are numbers");
    let (slice, said) = words[4].split_once('?').unwrap_or((words[4], ""));
    let (size, slice) = (number(words[3]), number(slice));
    let body = content(size);
    let length = size.to_string();
    let mut headers: Vec<(&str, &str)> = said.split_once('=').into_iter().collect();
    headers.extend(match words[2] {
        "length" => Some(("content-length", length.as_str())),
        "chunked" => Some(("transfer-encoding", "chunked")),
        _ => None,
    });
    reply.head(200, &headers);
    for piece in body.chunks(slice) {
        match words[2] {
            "chunked" => reply.chunk(piece),
            _ => reply.write(piece),
        }
    }
    match words[2] {
        "chunked" => reply.chunk(b""),
        "close" => reply.close(),
        _ => {}
    }
}

/// Every framing, size and slice that takes a reasonable time: single bytes only for small bodies.
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
fn responses_are_the_same_bytes_in_every_mode() {
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
                    assert!(response.body.bytes == content(size(&path)), "{path}: other bytes");
                }
            });
        }
    });
}

/// What an upstream says of its response decides how it passes, and not what.
#[test]
fn what_an_upstream_says_changes_no_byte() {
    let upstream = Upstream::start(serve);
    let envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration()));
    let said = [
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
            for said in said {
                let path = format!("{path}?{said}");
                let response = client.get(&path);
                assert_eq!((response.status, response.body.complete), (200, true), "{path}");
                assert!(response.body.bytes == content(size(&path)), "{path}: other bytes");
            }
            let path = format!("{path}?{}", said[0]);
            assert!(over_http_2.get(&path).body == content(size(&path)), "{path}: other bytes");
        }
    }
}

/// Envoy advises edge proxies to have buffers of 32 KiB, which is as much as is held unless the configuration says otherwise.
#[test]
fn what_is_held_by_default_fits_into_the_buffers_that_envoy_advises() {
    let upstream = Upstream::start(serve);
    let route = json!({ "name": "on", "match": { "path": { "prefix": "/on/" } },
                        "buffering": { "response": "on", "request": "on" } });
    let configuration = json!({ "version": 1, "routes": [route] });
    let bootstrap = Bootstrap::discovered(upstream.port, &configuration);
    let envoy = Envoy::start(bootstrap.with_buffers(32_768));
    for size in [32_767, 32_768, 32_769, 100_000] {
        for slice in [1000, 32_768, 65_536] {
            let path = format!("/on/length/{size}/{slice}");
            let response = Client::once(envoy.port, &path);
            assert_eq!((response.status, response.body.complete), (200, true), "{path}");
            assert!(response.body.bytes == content(size), "{path}: other bytes");
            let response = http2::Client::connect(envoy.port).get(&path);
            assert!(response.reset.is_none() && response.body == content(size), "{path}");
        }
        let path = format!("/on/upload/length/{size}");
        let response = Client::connect(envoy.port).post(&path, &content(size));
        assert_eq!(response.status, if size > 32_768 { 413 } else { 200 }, "{path}");
        if size <= 32_768 {
            assert!(upstream.requests(&path)[0].body == content(size), "{path}: other bytes");
        }
    }
}

#[test]
fn responses_are_the_same_bytes_over_http_2() {
    let upstream = Upstream::start(serve);
    let envoy = Envoy::start(Bootstrap::discovered(upstream.port, &configuration()));
    let mut client = http2::Client::connect(envoy.port);
    for mode in MODES {
        for path in paths(mode).into_iter().filter(|path| !path.ends_with("/1")) {
            let response = client.get(&path);
            assert_eq!((response.status, response.reset), (200, None), "{path}");
            assert!(response.body == content(size(&path)), "{path}: other bytes");
        }
    }
}

#[test]
fn uploads_are_the_same_bytes_in_every_mode() {
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
            assert!(upstream.requests(&path)[0].body == body, "{path}: other bytes");
            let path = format!("/{mode}/upload/chunked/{size}");
            client.send("POST", &path, &[("transfer-encoding", "chunked")]);
            for piece in body.chunks(70_000) {
                client.write(format!("{:x}\r\n", piece.len()).as_bytes());
                client.write(piece);
                client.write(b"\r\n");
            }
            client.write(b"0\r\n\r\n");
            assert_eq!(client.receive().status, 200, "{path}");
            assert!(upstream.requests(&path)[0].body == body, "{path}: other bytes");
        }
    }
}
