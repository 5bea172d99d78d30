//! `buffering.hold_headers`: response headers wait for the first event, if the host can do that.

use serde_json::{Value, json};
use sluice_filter::host::{Direction, LogLevel};
use sluice_filter::plugin::Plugin;
use sluice_filter::stream::Action;

use crate::decisions::route;
use crate::host::{MemoryHost, Open, Worker};
use crate::streams::{EVENTS, OK, proxy, reply, wait};

const MISSING: &str = "allow_on_headers_stop_iteration";

fn configuration() -> Value {
    route(json!({
        "buffering": { "response": "auto", "hold_headers": true, "max_bytes": 100 },
        "timeouts": { "first_event": "2s", "event_gap": "2s" },
    }))
}

/// A worker whose host announces bodies while headers are held, and that has learned it.
fn able() -> (MemoryHost, Worker) {
    let (mut host, mut worker) = proxy(&configuration());
    let mut open = worker.request(&mut host, "POST", "/x", &[], false);
    assert_eq!(open.action, Action::Pause);
    assert_eq!(worker.upload(&mut host, &mut open, b"{}", true), Action::Continue);
    worker.end(&mut host, open, None);
    (host, worker)
}

/// A response whose headers are held.
fn held(worker: &mut Worker, host: &mut MemoryHost, fields: &[(&str, &str)]) -> Open {
    let mut open = worker.get(host, "/x");
    assert_eq!(open.action, Action::Continue);
    assert_eq!(worker.respond(host, &mut open, fields, false), Action::Pause);
    open
}

#[test]
fn headers_wait_for_the_first_event() {
    let (mut host, mut worker) = able();
    let mut open = held(&mut worker, &mut host, &EVENTS);
    let first = worker.download(&mut host, &mut open, b": wait\n\nda", false);
    assert_eq!(first, (Action::Pause, Vec::new()));
    let second = worker.download(&mut host, &mut open, b"ta: x\n\n", false);
    assert_eq!(second, (Action::Continue, b": wait\n\ndata: x\n\n".to_vec()));
    assert_eq!(worker.download(&mut host, &mut open, b": wait\n\n", false).0, Action::Continue);
    wait(&mut worker, &mut host, 2_500);
    assert_eq!((&host.resets[..], host.replies.len()), (&[2][..], 0), "after the headers: a cut");
}

#[test]
fn a_held_response_without_an_event_gets_504() {
    let (mut host, mut worker) = able();
    let mut open = held(&mut worker, &mut host, &EVENTS);
    for _ in 0..4 {
        wait(&mut worker, &mut host, 450);
        assert_eq!(worker.download(&mut host, &mut open, b": wait\n\n", false).0, Action::Pause);
    }
    wait(&mut worker, &mut host, 500);
    let text = "first_event_timeout: no first event from the upstream for 2s\n";
    assert_eq!((reply(&host), &host.resets[..]), ((Some(2), 504, text), &[][..]));
}

#[test]
fn headers_go_on_with_the_end_of_a_response_without_an_event() {
    let (mut host, mut worker) = able();
    let mut open = held(&mut worker, &mut host, &EVENTS);
    let end = worker.download(&mut host, &mut open, b": nothing\n\n", true);
    assert_eq!(end, (Action::Continue, b": nothing\n\n".to_vec()));
    let mut open = held(&mut worker, &mut host, &EVENTS);
    assert_eq!(open.stream.on_response_trailers(&mut worker.vm), Action::Continue);
    let mut open = worker.get(&mut host, "/x");
    assert_eq!(worker.respond(&mut host, &mut open, &OK, true), Action::Continue, "no body");
    wait(&mut worker, &mut host, 5_000);
    assert_eq!((host.resets.len(), host.replies.len()), (0, 0));
}

/// The proxy would lose a body that exceeds its buffer.
#[test]
fn no_more_than_max_bytes_are_held() {
    let (mut host, mut worker) = able();
    let mut open = held(&mut worker, &mut host, &EVENTS);
    let (short, long) = (format!(":{}", "x".repeat(98)), ":x");
    assert_eq!(worker.download(&mut host, &mut open, short.as_bytes(), false).0, Action::Pause);
    let passed = worker.download(&mut host, &mut open, long.as_bytes(), false);
    assert_eq!(passed, (Action::Continue, format!("{short}{long}").into_bytes()));
    wait(&mut worker, &mut host, 2_500);
    assert_eq!((&host.resets[..], host.replies.len()), (&[2][..], 0));
}

#[test]
fn headers_of_a_buffered_response_wait_for_the_whole_body() {
    let (mut host, mut worker) = able();
    let sized = [(":status", "200"), ("content-length", "3")];
    let mut open = held(&mut worker, &mut host, &sized);
    assert_eq!(worker.download(&mut host, &mut open, b"a", false).0, Action::Pause);
    assert_eq!(worker.download(&mut host, &mut open, b"b", false).0, Action::Pause);
    let end = worker.download(&mut host, &mut open, b"c", true);
    assert_eq!(end, (Action::Continue, b"abc".to_vec()));
    worker.end(&mut host, open, None);
    let mut open = held(&mut worker, &mut host, &sized);
    assert_eq!(worker.download(&mut host, &mut open, b"a", false).0, Action::Pause);
    wait(&mut worker, &mut host, 2_500);
    let text = "event_gap_timeout: no further event from the upstream for 2s\n";
    assert_eq!((reply(&host), &host.resets[..]), ((Some(3), 504, text), &[][..]));
}

#[test]
fn other_responses_are_not_held() {
    let (mut host, mut worker) = able();
    let mut open = worker.request(&mut host, "HEAD", "/x", &[], true);
    assert_eq!(worker.respond(&mut host, &mut open, &EVENTS, false), Action::Continue);
    let upgrade = [("upgrade", "websocket")];
    let mut open = worker.request(&mut host, "GET", "/x", &upgrade, true);
    let accepted = [(":status", "101"), upgrade[0]];
    assert_eq!(worker.respond(&mut host, &mut open, &accepted, false), Action::Continue);
    let (mut host, mut worker) = proxy(&route(json!({ "timeouts": { "first_event": "2s" } })));
    let mut open = worker.request(&mut host, "POST", "/x", &[], false);
    assert_eq!(open.action, Action::Continue);
    assert_eq!(worker.respond(&mut host, &mut open, &EVENTS, false), Action::Continue);
}

#[test]
fn uploads_are_held_only_until_the_host_is_known() {
    let (mut host, mut worker) = able();
    let open = worker.request(&mut host, "POST", "/x", &[], false);
    assert_eq!((open.action, host.continued.len()), (Action::Continue, 0));
    assert_eq!(host.logged(MISSING).len(), 0);
}

#[test]
fn one_message_is_tried_at_a_time() {
    let (mut host, mut worker) = proxy(&configuration());
    let first = worker.request(&mut host, "POST", "/x", &[], false);
    let mut second = worker.request(&mut host, "POST", "/x", &[], false);
    assert_eq!((first.action, second.action), (Action::Pause, Action::Continue));
    assert_eq!(worker.respond(&mut host, &mut second, &EVENTS, false), Action::Continue);
    worker.end(&mut host, first, None);
    let third = worker.request(&mut host, "POST", "/x", &[], false);
    assert_eq!(third.action, Action::Pause, "the first ended without a result");
}

/// Ticks until the filter continues the message that it holds. Returns how long that took.
fn until_continued(worker: &mut Worker, host: &mut MemoryHost) -> u64 {
    let (began, count) = (host.now(), host.continued.len());
    while host.continued.len() == count {
        worker.tick(host);
        assert!(host.now() - began <= 250, "it is held for at most one refresh");
    }
    host.now() - began
}

#[test]
fn a_host_that_keeps_an_upload_back_is_not_asked_again() {
    let (mut host, mut worker) = proxy(&configuration());
    let mut open = worker.request(&mut host, "POST", "/x", &[], false);
    until_continued(&mut worker, &mut host);
    assert_eq!(host.continued, [(1, Direction::Request)]);
    assert_eq!(worker.upload(&mut host, &mut open, b"{}", true), Action::Continue);
    let lines = host.logged(MISSING);
    assert_eq!((lines.len(), lines[0].0), (1, LogLevel::Error));
    assert_eq!(worker.respond(&mut host, &mut open, &EVENTS, false), Action::Continue);
    let mut open = worker.request(&mut host, "POST", "/x", &[], false);
    assert_eq!(open.action, Action::Continue);
    assert_eq!(worker.respond(&mut host, &mut open, &EVENTS, false), Action::Continue);
    wait(&mut worker, &mut host, 1_000);
    assert_eq!((host.continued.len(), host.logged(MISSING).len()), (1, 1));
}

#[test]
fn a_host_that_keeps_a_response_back_is_not_asked_again() {
    let (mut host, mut worker) = proxy(&configuration());
    let mut open = worker.get(&mut host, "/x");
    assert_eq!(worker.respond(&mut host, &mut open, &EVENTS, false), Action::Pause);
    until_continued(&mut worker, &mut host);
    assert_eq!(host.continued, [(1, Direction::Response)]);
    let passed = worker.download(&mut host, &mut open, b": kept\n\n", false);
    assert_eq!(passed, (Action::Continue, b": kept\n\n".to_vec()));
    assert_eq!(host.logged(MISSING).len(), 1);
    wait(&mut worker, &mut host, 2_500);
    assert_eq!((&host.resets[..], host.replies.len()), (&[1][..], 0), "a cut, not a reply");
    let mut open = worker.get(&mut host, "/x");
    assert_eq!(worker.respond(&mut host, &mut open, &EVENTS, false), Action::Continue);
}

/// A body that was not there yet shows nothing about the host.
#[test]
fn a_late_body_leaves_the_host_unknown() {
    let (mut host, mut worker) = proxy(&configuration());
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &EVENTS, false);
    until_continued(&mut worker, &mut host);
    host.advance(11);
    assert_eq!(worker.download(&mut host, &mut open, b": a\n\n", false).0, Action::Continue);
    assert_eq!(host.logged(MISSING).len(), 0);
    let mut next = worker.get(&mut host, "/x");
    assert_eq!(worker.respond(&mut host, &mut next, &EVENTS, false), Action::Pause);
    assert_eq!(worker.download(&mut host, &mut next, b": a\n\n", false).0, Action::Pause);
    // The host is known now. The first response is not held any more.
    assert_eq!(worker.download(&mut host, &mut open, b": a\n\n", false).0, Action::Continue);
}

/// A request whose upload is late, and whose response comes before it.
#[test]
fn an_upload_shows_nothing_about_a_held_response() {
    let (mut host, mut worker) = proxy(&configuration());
    let mut open = worker.request(&mut host, "POST", "/x", &[], false);
    until_continued(&mut worker, &mut host);
    worker.tick(&mut host);
    assert_eq!(worker.respond(&mut host, &mut open, &EVENTS, false), Action::Pause);
    assert_eq!(worker.upload(&mut host, &mut open, b"{}", true), Action::Continue);
    until_continued(&mut worker, &mut host);
    assert_eq!(worker.download(&mut host, &mut open, b": kept\n\n", false).0, Action::Continue);
    assert_eq!(host.logged(MISSING).len(), 1);
}

/// In a drain, a held response has not begun.
#[test]
fn a_drain_replies_to_a_held_response() {
    let mut document = configuration();
    document["routes"][0]["drain"] = json!({ "streams": "finish", "within": "500ms" });
    document["drain"] = json!({ "refresh": "30ms" });
    let mut host = MemoryHost::envoy();
    let mut worker = Worker::new(&mut host, &document);
    host.connection(7);
    let mut open = worker.request(&mut host, "POST", "/x", &[], false);
    worker.upload(&mut host, &mut open, b"{}", true);
    assert_eq!(worker.respond(&mut host, &mut open, &EVENTS, false), Action::Pause);
    let record = r#"{"epoch":1,"mode":"terminate","started_ms":1,"window_ms":0}"#;
    host.write_shared("sluice.drain", record);
    wait(&mut worker, &mut host, 700);
    assert_eq!(reply(&host).1, 503);
    assert_eq!(host.resets, [0; 0]);
}

/// Each plugin has its own option, so each is tried. One line is enough for the operator.
#[test]
fn a_missing_option_is_logged_once_in_a_vm() {
    let (mut host, mut worker) = proxy(&configuration());
    for plugin in 1..=2 {
        let mut open = worker.request(&mut host, "POST", "/x", &[], false);
        assert_eq!(open.action, Action::Pause, "plugin {plugin}");
        until_continued(&mut worker, &mut host);
        worker.upload(&mut host, &mut open, b"{}", true);
        assert_eq!(host.logged(MISSING).len(), 1);
        worker.plugin = Plugin::new(&mut worker.vm);
        assert!(worker.configure(&mut host, &configuration().to_string()));
    }
}

/// The timeout is shorter than the time for which the response is held.
#[test]
fn a_tried_response_that_is_late_gets_504() {
    let (mut host, mut worker) = proxy(&route(json!({
        "buffering": { "hold_headers": true }, "timeouts": { "first_event": "1ms" },
    })));
    let mut open = worker.get(&mut host, "/x");
    assert_eq!(worker.respond(&mut host, &mut open, &EVENTS, false), Action::Pause);
    wait(&mut worker, &mut host, 1_000);
    assert_eq!((reply(&host).1, host.continued.len()), (504, 0));
}
