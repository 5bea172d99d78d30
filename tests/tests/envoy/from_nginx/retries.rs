//! Directives for retries: which failures, how many attempts, and for how long.

use std::time::Duration;

use sluice_tests::http1::Client;
use sluice_tests::upstream::{Reply, Request, Upstream};

use super::page::Section;

/// Fails on the first attempt in the way that the path names, then responds; `/always` always
/// fails.
fn fail_first(request: &Request, reply: &mut Reply) {
    match (request.path(), reply.earlier_requests) {
        ("/closes" | "/post", 0) | ("/always", _) => reply.close(),
        ("/silent", 0) => reply.pause(3000),
        ("/late", 0) => {
            reply.pause(3000);
            reply.close();
        }
        ("/long", _) => {
            reply.send_headers(200, &[("content-length", "10")]);
            reply.write(b"begin");
            reply.pause(3000);
            reply.write(b"-end.");
        }
        _ => reply.respond(200, &[], b"ok"),
    }
}

pub(super) fn proxy_next_upstream(section: &Section) {
    let proxies = section.with_servers(2, fail_first);
    for proxy in &proxies {
        for path in ["/closes", "/silent"] {
            assert_eq!(Client::get_once(proxy.port, path).status, 200, "{path}");
            assert_eq!(proxy.upstream.requests(path).len(), 2, "{path}");
        }
    }
    for path in ["/post", "/always"] {
        let failed = proxies.each_ref().map(|proxy| match path {
            "/post" => Client::connect(proxy.port).post(path, b"once").status,
            _ => Client::get_once(proxy.port, path).status,
        });
        assert_eq!(failed, [502, 503], "nginx and Envoy: {path}");
    }
    for proxy in &proxies {
        assert_eq!(proxy.upstream.requests("/post").len(), 1, "POST is not idempotent");
    }

    let upstream = Upstream::ok();
    let servers = [sluice_tests::unused_port(), upstream.port];
    let (nginx, envoy) = (section.nginx(&servers), section.envoy(&servers));
    for port in [nginx.port, envoy.port] {
        for _ in 0..4 {
            assert_eq!(Client::get_once(port, "/").status, 200, "one of the two servers responds");
        }
    }
}

pub(super) fn proxy_next_upstream_tries(section: &Section) {
    for (servers, expected) in [(3, [2, 2]), (1, [1, 2])] {
        let proxies = section.with_servers(servers, fail_first);
        let attempts = proxies.map(|proxy| {
            Client::get_once(proxy.port, "/always");
            proxy.upstream.requests("/always").len()
        });
        assert_eq!(attempts, expected, "nginx and Envoy, with {servers} servers");
    }
}

pub(super) fn proxy_next_upstream_timeout(section: &Section) {
    let proxies = section.with_servers(2, fail_first);
    let late = proxies.each_ref().map(|proxy| {
        assert_eq!(Client::get_once(proxy.port, "/closes").status, 200);
        assert_eq!(proxy.upstream.requests("/closes").len(), 2, "retried within the timeout");
        let response = Client::get_once(proxy.port, "/late");
        assert_eq!(proxy.upstream.requests("/late").len(), 1, "not retried after the timeout");
        (response.status, response.end_after < Duration::from_millis(2900))
    });
    assert_eq!(late, [(502, false), (504, true)], "nginx and Envoy");
    let long = proxies.map(|proxy| Client::get_once(proxy.port, "/long").body.complete);
    assert_eq!(long, [true, false], "nginx and Envoy");
}
