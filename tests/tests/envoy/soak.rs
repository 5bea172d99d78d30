//! After many streams with every kind of ending no request counts as in flight, no VM has crashed,
//! and Envoy's memory has not grown.

use std::fs;
use std::thread;

use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::Client;
use sluice_tests::upstream::{Reply, Request, Upstream};

const CLIENTS: usize = 8;
/// Exchanges of one client in one round.
const EXCHANGES: usize = 1000;
const ROUNDS: usize = 5;
/// The growth allowed per round: 64 bytes for each stream, a quarter of the size of an open stream.
const SLACK_KIB: u64 = 512;

fn configuration() -> Value {
    json!({
        "version": 1,
        "defaults": { "timeouts": { "read": "20s", "send": "20s" }, "drain": "cut" },
        "routes": [
            { "name": "held", "match": { "path": { "prefix": "/held" } }, "buffering": { "request": "on", "response": "on" } },
            { "name": "stream", "match": { "path": { "prefix": "/stream" } }, "buffering": "off" },
            { "name": "silent", "match": { "path": { "prefix": "/silent" } }, "timeouts": { "read": "300ms" } },
        ],
        "drain": { "refresh": "60ms" },
        "errors": { "content_type": "application/json", "body": "{\"error\":\"{reason}\",\"id\":\"{request_id}\"}" },
        "report": { "access_log": true, "header": true },
    })
}

fn serve(request: &Request, reply: &mut Reply) {
    match request.path() {
        "/stream" | "/stream/left" => {
            reply.send_headers(
                200,
                &[("content-type", "text/event-stream"), ("transfer-encoding", "chunked")],
            );
            (0..3).for_each(|number| reply.send_chunk(format!("data: {number}\n\n").as_bytes()));
            reply.send_chunk(b"");
        }
        "/cut" => {
            reply.send_headers(200, &[("content-length", "100")]);
            reply.write(b"half");
            reply.close();
        }
        "/refused" => reply.close(),
        "/silent" => {
            reply.pause(1000);
            reply.close();
        }
        _ => reply.respond(200, &[], b"ok"),
    }
}

/// One round of a client: every kind of ending; the slow kinds only now and then.
fn round(port: u16) {
    let mut client = Client::connect(port);
    for number in 0..EXCHANGES {
        match number % 10 {
            0 => assert_eq!(client.post("/held", b"upload").status, 200),
            1 => assert!(client.get("/stream").body.complete),
            2 => assert_eq!(Client::get_once(port, "/refused").status, 503),
            // Envoy closes the connection of a cut response one second later.
            3 if number % 500 == 3 => assert!(!Client::get_once(port, "/cut").body.complete),
            4 => {
                client.send("POST", "/held", &[("content-length", "1000000")]);
                assert_eq!(client.receive().status, 413);
                client = Client::connect(port);
            }
            5 => {
                let mut leaves = Client::connect(port);
                leaves.send("GET", "/stream/left", &[]);
            }
            6 if number == 6 => assert_eq!(Client::get_once(port, "/silent").status, 504),
            _ => assert_eq!(client.get("/").status, 200),
        }
    }
}

fn resident_kib(envoy: &Envoy) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{}/status", envoy.process())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn streams_of_every_ending_leave_no_memory_and_no_counts() {
    let upstream = Upstream::start(serve);
    let bootstrap = Bootstrap::discovered(upstream.port, &configuration());
    let envoy = Envoy::start_with_workers(bootstrap, 1);
    let resident: Vec<u64> = (0..ROUNDS)
        .map(|_| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let port = envoy.port;
                    thread::spawn(move || round(port))
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().expect("a good round"));
            upstream.forget_requests();
            envoy.wait_for_stat("wasmcustom.sluice.in_flight", 0);
            resident_kib(&envoy)
        })
        .collect();
    // The first rounds fill caches and pools; growth after that is a leak.
    let later = &resident[2..];
    let grown = later[later.len() - 1].saturating_sub(later[0]);
    let rounds = later.len() as u64 - 1;
    assert!(grown < SLACK_KIB * rounds, "{resident:?} KiB");
    for (route, reason) in
        [("default", "upstream_reset"), ("silent", "read_timeout"), ("held", "body_too_large")]
    {
        let name = format!("wasmcustom.sluice.route.{route}.ended.{reason}");
        assert!(envoy.stat(&name) >= (CLIENTS * ROUNDS) as u64, "{name}");
    }
    assert!(!envoy.log().contains("wasm"), "{}", envoy.log());
}
