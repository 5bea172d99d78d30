//! Directives for buffering: which bodies are buffered, up to which size, and which header decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use sluice_tests::eventually;
use sluice_tests::http1::{Client, Response};
use sluice_tests::upstream::{Reply, Request, Upstream};

use super::LARGE;
use super::page::{Section, Tried};

/// The pause between two halves of a body, in milliseconds; longer than any scheduling delay.
const APART: u64 = 1000;
const AT_ONCE: Duration = Duration::from_millis(500);

/// Sends a body in two halves. The path gives framing and size, the query an extra header.
fn halves(request: &Request, reply: &mut Reply) {
    let (path, query) = request.path().split_once('?').unwrap_or((request.path(), ""));
    let (path, size) = path.rsplit_once('/').expect("a size");
    let (_, framing) = path.rsplit_once('/').expect("a framing");
    let half = vec![b'x'; size.parse::<usize>().expect("a size") / 2];
    let mut headers = match framing {
        "length" => vec![("content-length", size)],
        "chunked" => vec![("transfer-encoding", "chunked")],
        _ => vec![],
    };
    headers.extend(query.split_once('='));
    reply.send_headers(200, &headers);
    let send = |reply: &mut Reply| match framing {
        "chunked" => reply.send_chunk(&half),
        _ => reply.write(&half),
    };
    send(reply);
    reply.pause(APART);
    send(reply);
    match framing {
        "length" => {}
        "chunked" => reply.send_chunk(b""),
        _ => reply.close(),
    }
}

/// The number of bytes that arrived well before the rest; 0 if the whole body arrived at once.
fn ahead(response: &Response) -> usize {
    assert_eq!((response.status, response.body.complete), (200, true));
    let chunks = &response.body.arrivals;
    let last = chunks.windows(2).position(|two| two[1].0 - two[0].0 > AT_ONCE);
    last.map_or(0, |last| chunks[..=last].iter().map(|(_, size)| size).sum())
}

fn streams(port: u16, path: &str) -> bool {
    ahead(&Client::get_once(port, path)) > 0
}

pub(super) fn proxy_buffering(section: &Section) {
    let proxies = section.both(halves);
    for proxy in &proxies {
        let streams =
            ["/length/10", "/logs/length/10", "/chunked/10"].map(|path| streams(proxy.port, path));
        assert_eq!(streams, [false, true, true]);
    }
    let until_close = proxies.map(|proxy| streams(proxy.port, "/close/10"));
    assert_eq!(until_close, [false, true], "nginx and Envoy");
}

/// Uploads in two halves and returns what the upstream observed: whether the headers arrived before
/// the second half, and whether the halves arrived separately.
fn upload(proxy: &Tried, path: &str, framing: (&str, &str), halves: [&str; 2]) -> [bool; 2] {
    let mut client = Client::connect(proxy.port);
    client.send("POST", path, &[framing]);
    client.write(halves[0].as_bytes());
    sleep(Duration::from_millis(APART));
    let early = !proxy.upstream.requests(path).is_empty();
    client.write(halves[1].as_bytes());
    assert_eq!(client.receive().status, 200);
    let request = proxy.upstream.requests(path).remove(0);
    assert_eq!(request.body, b"halfhalf");
    let chunks = &request.arrivals;
    [early, chunks[chunks.len() - 1].0 - chunks[0].0 > AT_ONCE]
}

pub(super) fn proxy_request_buffering(section: &Section) {
    let proxies = section.both(|_, reply| reply.respond(200, &[], b"ok"));
    let declared = ("content-length", "8");
    let seen = proxies.each_ref().map(|proxy| upload(proxy, "/length", declared, ["half", "half"]));
    assert_eq!(seen, [[false, false], [true, false]], "nginx and Envoy: the body arrives whole");
    let chunked = ("transfer-encoding", "chunked");
    let chunks = ["4\r\nhalf\r\n", "4\r\nhalf\r\n0\r\n\r\n"];
    let seen = proxies.each_ref().map(|proxy| upload(proxy, "/chunked", chunked, chunks));
    assert_eq!(
        seen,
        [[false, false], [true, true]],
        "nginx and Envoy: the body arrives in two chunks"
    );
    for proxy in &proxies {
        assert_eq!(Client::connect(proxy.port).post("/fits", &[7; 32768]).status, 200);
        let mut client = Client::connect(proxy.port);
        client.send("POST", "/too-large", &[("content-length", "32769")]);
        assert_eq!(client.receive().status, 413);
        assert_eq!(proxy.upstream.requests("/too-large").len(), 0);
    }
}

/// Sends 20 MB before it reads; returns the status, and whether the connection stays open.
fn upload_before_reading(port: u16) -> Option<(u16, bool)> {
    let mut client = Client::connect(port);
    client.send("POST", "/", &[("content-length", "20000000")]);
    for _ in 0..200 {
        if !client.try_write(&[b'x'; 100_000]) {
            return None;
        }
    }
    let response = client.try_receive()?;
    Some((response.status, !response.closes()))
}

pub(super) fn lingering_close(section: &Section) {
    let proxies = section.both(|_, reply| reply.respond(200, &[], b"ok"));
    let seen = proxies.each_ref().map(|proxy| upload_before_reading(proxy.port));
    assert_eq!(seen, [Some((413, false)), Some((413, true))], "nginx and Envoy");
    for proxy in &proxies {
        assert_eq!(proxy.upstream.requests("/").len(), 0);
    }
    let mut without = section.json();
    without.as_object_mut().expect("an object").remove("lingering");
    let envoy = section.envoy_with(&[Upstream::ok().port], &without);
    assert_eq!(upload_before_reading(envoy.port), None, "without lingering");
}

pub(super) fn proxy_buffers(section: &Section) {
    let proxies = section.both(halves);
    for proxy in &proxies {
        assert!(!streams(proxy.port, "/length/2000"), "less than one buffer");
        assert!(streams(proxy.port, "/length/100000"), "more than all buffers");
    }
    let [nginx, envoy] =
        proxies.each_ref().map(|proxy| ahead(&Client::get_once(proxy.port, "/length/32768")));
    assert!((8192..=16384).contains(&nginx), "{nginx}: expected a multiple of the 4 KiB buffers");
    assert_eq!(envoy, 0);

    let serve = |sent: Arc<AtomicBool>| {
        Upstream::start(move |_, reply| {
            reply.respond(200, &[], &vec![b'x'; LARGE]);
            sent.store(reply.is_open(), Ordering::Relaxed);
        })
    };
    let sent: [Arc<AtomicBool>; 2] = Default::default();
    let upstreams = sent.each_ref().map(|sent| serve(sent.clone()));
    let (nginx, envoy) = (section.nginx(&[upstreams[0].port]), section.envoy(&[upstreams[1].port]));
    let mut clients = [nginx.port, envoy.port].map(Client::connect);
    for client in &mut clients {
        client.send("GET", "/large", &[]);
    }
    let is_sent = |who: usize| sent[who].load(Ordering::Relaxed);
    eventually("nginx to buffer what its client does not read", || is_sent(0).then_some(()));
    sleep(Duration::from_secs(1));
    assert!(!is_sent(1), "Envoy stops reading from the upstream");
    for client in &mut clients {
        let body = client.receive().body;
        assert_eq!((body.complete, body.bytes.len()), (true, LARGE));
    }
}

pub(super) fn proxy_buffer_size(section: &Section) {
    let script = |request: &Request, reply: &mut Reply| {
        let size = request.path()[1..].parse().expect("a size");
        reply.respond(200, &[("x-large", &"x".repeat(size))], b"ok");
    };
    let statuses = |section: &Section, size: usize| {
        let path = format!("/{size}");
        section.both(script).map(|proxy| Client::get_once(proxy.port, &path).status)
    };
    assert_eq!(statuses(section, 2000), [200, 200]);
    assert_eq!(statuses(section, 6000), [502, 502]);
    assert_eq!(statuses(&section.unsaid(), 75_000), [502, 200], "nginx and Envoy");
    assert_eq!(statuses(&section.unsaid(), 90_000), [502, 502]);
}

pub(super) fn x_accel_buffering(section: &Section) {
    let headers = section.both(halves).map(|proxy| {
        assert!(!streams(proxy.port, "/length/10"));
        assert!(!streams(proxy.port, "/length/10?x-accel-buffering=yes"));
        let response = Client::get_once(proxy.port, "/length/10?x-accel-buffering=no");
        assert!(ahead(&response) > 0);
        response.header("x-accel-buffering").map(str::to_owned)
    });
    assert_eq!(headers, [None, Some("no".to_owned())], "nginx and Envoy");
}

pub(super) fn proxy_ignore_headers_x_accel_buffering(section: &Section) {
    let headers = section.both(halves).map(|proxy| {
        let response = Client::get_once(proxy.port, "/length/10?x-accel-buffering=no");
        assert_eq!(ahead(&response), 0);
        response.header("x-accel-buffering").map(str::to_owned)
    });
    assert_eq!(headers, [None, Some("no".to_owned())], "nginx and Envoy");
}
