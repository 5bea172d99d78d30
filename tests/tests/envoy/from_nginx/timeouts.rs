//! Directives for upstream timeouts: connect, read and send.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::thread::{self, sleep};
use std::time::Duration;

use sluice_tests::http1::{Client, Response};
use sluice_tests::upstream::{Reply, Request};

use super::LARGE;
use super::page::Section;

/// Each section sets a timeout of one second. It never fires early; a loaded machine makes it late.
const IN_TIME: Range<Duration> = Duration::from_millis(950)..Duration::from_secs(4);
/// Longer than any timeout of the sections.
const LONGER: Duration = Duration::from_secs(4);

fn assert_in_time(response: &Response) {
    assert!(IN_TIME.contains(&response.end_after), "after {:?}", response.end_after);
}

/// A server with a full accept queue: a new connection is neither accepted nor refused.
fn full() -> (u16, TcpListener, Vec<TcpStream>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let listener = runtime.expect("a runtime").block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        socket.listen(1).expect("a bound socket").into_std().expect("a listener")
    });
    let address = listener.local_addr().expect("a bound socket has an address");
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok();
    let waiting = std::iter::from_fn(connect).collect();
    (address.port(), listener, waiting)
}

pub(super) fn proxy_connect_timeout(section: &Section) {
    let (port, _listener, _waiting) = full();
    let (nginx, envoy) = (section.nginx(&[port]), section.envoy(&[port]));
    let [nginx, envoy] = [nginx.port, envoy.port].map(|port| Client::get_once(port, "/"));
    assert_in_time(&nginx);
    assert_in_time(&envoy);
    assert_eq!([nginx.status, envoy.status], [504, 503]);
    assert_eq!(envoy.body.bytes, b"connect_timeout");
}

pub(super) fn proxy_read_timeout(section: &Section) {
    let script = |request: &Request, reply: &mut Reply| match request.path() {
        "/silent" => reply.pause(6000),
        "/gap" => {
            reply.send_headers(200, &[("transfer-encoding", "chunked")]);
            reply.send_chunk(b"chunk");
            reply.pause(6000);
        }
        "/slow" => {
            reply.send_headers(200, &[("transfer-encoding", "chunked")]);
            for _ in 0..7 {
                reply.pause(300);
                reply.send_chunk(b"chunk");
            }
            reply.send_chunk(b"");
        }
        "/large" => reply.respond(200, &[], &vec![b'x'; LARGE]),
        "/endless" => {
            reply.send_headers(200, &[("transfer-encoding", "chunked")]);
            reply.send_chunk(&vec![b'x'; LARGE]);
            reply.send_chunk(b"");
        }
        _ => reply.respond(200, &[], &request.body),
    };
    let slowly_read = section.both(script).map(|proxy| {
        let silent = Client::get_once(proxy.port, "/silent");
        assert_eq!(silent.status, 504);
        assert_in_time(&silent);
        let gap = Client::get_once(proxy.port, "/gap");
        assert_eq!(
            (gap.status, gap.body.complete, &gap.body.bytes[..]),
            (200, false, &b"chunk"[..])
        );
        assert_in_time(&gap);
        assert!(
            Client::get_once(proxy.port, "/slow").body.complete,
            "each chunk restarts the timeout"
        );

        let mut client = Client::connect(proxy.port);
        client.send("POST", "/upload", &[("content-length", "8")]);
        client.write(b"half");
        sleep(Duration::from_secs(2));
        client.write(b"half");
        assert_eq!(client.receive().status, 200, "the timeout starts after the upload");

        ["/large", "/endless"].map(|path| {
            let mut client = Client::connect(proxy.port);
            client.send("GET", path, &[]);
            sleep(LONGER);
            client.receive().body.complete
        })
    });
    assert_eq!(slowly_read, [[true, true], [true, false]], "nginx and Envoy");
}

pub(super) fn proxy_send_timeout(section: &Section) {
    // The kernel accepts the connection and the first bytes; the server never reads.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    let (nginx, envoy) = (section.nginx(&[port]), section.envoy(&[port]));
    for port in [nginx.port, envoy.port] {
        let mut client = Client::connect(port);
        client.send("POST", "/", &[("content-length", &LARGE.to_string())]);
        let mut other = client.handle();
        let upload = thread::spawn(move || std::io::Write::write_all(&mut other, &vec![7; LARGE]));
        assert_eq!(client.receive().status, 504);
        drop(client);
        let _ = upload.join().expect("the upload thread");
    }

    let mut clients = [nginx.port, envoy.port].map(Client::connect);
    for client in &mut clients {
        client.send("POST", "/", &[("content-length", "8")]);
        client.write(b"half");
    }
    let [mut waits, mut ends] = clients;
    let response = ends.receive();
    assert_eq!(response.status, 504, "Envoy");
    assert_in_time(&response);
    assert!(!waits.closed_within(LONGER), "nginx keeps waiting for the slow client");
}
