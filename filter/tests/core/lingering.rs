//! `lingering`: the reply to a refused upload waits for the rest, if the host delivers it.

use serde_json::{Value, json};
use sluice_filter::stream::Action;

use crate::host::{MemoryHost, Open, Worker};
use crate::streams::wait;

const TOKEN: (&str, &str) = ("authorization", "Bearer open sesame");

fn configuration() -> Value {
    let hash = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
    json!({
        "version": 1,
        "defaults": { "buffering": { "request": "on", "max_bytes": 10 } },
        "routes": [{ "name": "streamed", "match": { "path": { "exact": "/streamed" } },
                     "buffering": { "request": "off" } }],
        "lingering": { "max_bytes": 1000, "timeout": "2s" },
        "drain": { "refresh": "100ms", "admin": { "path": "/admin", "token_sha256": hash } },
    })
}

fn start() -> (MemoryHost, Worker) {
    let mut host = MemoryHost::envoy();
    let worker = Worker::new(&mut host, &configuration());
    (host, worker)
}

/// An upload that is too large and declares this size.
fn refused(host: &mut MemoryHost, worker: &mut Worker, size: &str) -> Open {
    let open = worker.request(host, "POST", "/", &[("content-length", size)], false);
    assert_eq!(open.action, Action::Pause);
    open
}

/// The statuses of the replies so far, and for which stream each was sent from outside.
fn replies(host: &MemoryHost) -> Vec<(u16, Option<u32>)> {
    host.replies.iter().map(|reply| (reply.status, reply.context)).collect()
}

#[test]
fn the_reply_follows_the_last_chunk() {
    let (mut host, mut worker) = start();
    for ends_with_trailers in [false, true] {
        host.replies.clear();
        let mut open = refused(&mut host, &mut worker, "300");
        for _ in 0..2 {
            assert_eq!(worker.upload(&mut host, &mut open, &[0; 100], false), Action::Discard);
            assert!(host.request_body.is_empty() && host.replies.is_empty());
        }
        if ends_with_trailers {
            assert_eq!(open.stream.on_request_trailers(&mut worker.vm, &mut host), Action::Pause);
        } else {
            worker.upload(&mut host, &mut open, &[0; 100], true);
        }
        assert_eq!(replies(&host), [(413, None)]);
        wait(&mut worker, &mut host, 3_000);
        assert_eq!(host.replies.len(), 1);
        worker.end(&mut host, open, None);
    }
    assert_eq!(host.metric_value("sluice.route.default.ended.body_too_large"), Some(2));
}

#[test]
fn bytes_and_time_are_limited() {
    let (mut host, mut worker) = start();
    refused(&mut host, &mut worker, "1001");
    assert_eq!(replies(&host), [(413, None)], "more than the limit is declared");

    host.replies.clear();
    let mut open = worker.request(&mut host, "POST", "/admin", &[TOKEN], false);
    assert_eq!(worker.upload(&mut host, &mut open, &[0; 4_000], false), Action::Pause);
    worker.upload(&mut host, &mut open, &[0; 4_000], false);
    assert_eq!(replies(&host), [(413, None)], "more than the limit arrives");

    host.replies.clear();
    let mut open = refused(&mut host, &mut worker, "300");
    worker.upload(&mut host, &mut open, &[0; 100], false);
    wait(&mut worker, &mut host, 1_800);
    assert!(host.replies.is_empty());
    wait(&mut worker, &mut host, 400);
    assert_eq!(replies(&host), [(413, Some(open.context))]);
}

/// A host that has not delivered a body while headers are held may not be able to.
#[test]
fn without_a_body_the_reply_waits_for_one_refresh() {
    let (mut host, mut worker) = start();
    let open = refused(&mut host, &mut worker, "300");
    assert!(host.replies.is_empty());
    wait(&mut worker, &mut host, 250);
    assert_eq!(replies(&host), [(413, Some(open.context))]);

    let mut able = refused(&mut host, &mut worker, "300");
    worker.upload(&mut host, &mut able, b"x", false);
    let patient = refused(&mut host, &mut worker, "300");
    worker.end(&mut host, able, None);
    wait(&mut worker, &mut host, 1_800);
    assert_eq!(host.replies.len(), 1, "the host is known to deliver bodies");
    worker.end(&mut host, patient, None);
    wait(&mut worker, &mut host, 1_800);
    assert_eq!(host.replies.len(), 1, "the clients have left");
}

/// An ordinary upload shows it, if a route of the filter does not.
#[test]
fn a_host_that_keeps_bodies_back_gets_replies_at_once() {
    let (mut host, mut worker) = start();
    let mut open = worker.request(&mut host, "POST", "/streamed", &[], false);
    assert_eq!(open.action, Action::Pause);
    wait(&mut worker, &mut host, 100);
    assert_eq!(worker.upload(&mut host, &mut open, b"x", true), Action::Continue);
    assert_eq!(host.logged("set allow_on_headers_stop_iteration: true").len(), 1);
    refused(&mut host, &mut worker, "300");
    assert_eq!(replies(&host), [(413, None)]);
}

#[test]
fn replies_of_the_admin_path_wait_too() {
    let (mut host, mut worker) = start();
    for (method, path, status) in
        [("GET", "/admin", 200), ("POST", "/admin?mode=off", 200), ("POST", "/admin?mode=x", 400)]
    {
        host.replies.clear();
        let mut open = worker.request(&mut host, method, path, &[TOKEN], false);
        assert!(host.replies.is_empty(), "{path}");
        worker.upload(&mut host, &mut open, b"not read", true);
        assert_eq!(replies(&host), [(status, None)], "{path}");
        worker.end(&mut host, open, None);
    }
    host.replies.clear();
    worker.request(&mut host, "GET", "/admin", &[TOKEN], true);
    assert_eq!(replies(&host), [(200, None)], "a request without a body");
}

#[test]
fn without_a_clock_replies_do_not_wait() {
    let (mut host, mut worker) = start();
    host.now_ms = None;
    refused(&mut host, &mut worker, "300");
    assert_eq!(replies(&host), [(413, None)]);
}
