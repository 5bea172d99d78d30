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

/// `/MODE/FRAMING/SIZE/SLICE`: a body of so many bytes, written in slices of this size.
fn serve(request: &Request, reply: &mut Reply) {
    let words: Vec<&str> = request.path().split('/').collect();
    if words[2] == "upload" {
        return reply.respond(200, &[], request.body.len().to_string().as_bytes());
    }
    let number = |word: &str| word.parse::<usize>().expect("sizes are numbers");
    let (size, slice) = (number(words[3]), number(words[4]));
    let body = content(size);
    let length = size.to_string();
    match words[2] {
        "length" => reply.head(200, &[("content-length", &length)]),
        "chunked" => reply.head(200, &[("transfer-encoding", "chunked")]),
        _ => reply.head(200, &[]),
    }
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
