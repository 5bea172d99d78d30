//! Timeouts that count events: what counts as an event, and when a stream without one ends.

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_filter::boundary::Framing;
use sluice_filter::events::EventReader;
use sluice_filter::stream::Action;

use crate::decisions::route;
use crate::host::{MemoryHost, Open, Worker};
use crate::streams::{EVENTS, OK, proxy, reply, wait};

const LINES: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/x-ndjson")];

/// Whether the text contains an event that counts. `ping` does not.
fn counts(framing: Framing, text: &str) -> bool {
    EventReader::new(framing).read(text.as_bytes(), |name| name == b"ping")
}

#[test]
fn an_event_with_data_counts() {
    for text in [
        "data: x\n\n",
        "data:x\r\n\r\n",
        "data\r\r",
        ": comment\nid: 1\ndata: x\n\n",
        "event: pong\ndata: {}\n\n",
        "event: pings\ndata: {}\n\n",
        "event:  ping\ndata: {}\n\n",
        "event: ping\nevent: answer\ndata: {}\n\n",
        "event: ping\nevent:\ndata: {}\n\n",
        "event: ping\ndata: {}\n\ndata: x\n\n",
        "\u{feff}data: x\n\n",
    ] {
        assert!(counts(Framing::Events, text), "{text:?}");
    }
}

#[test]
fn comments_empty_lines_and_ignored_events_do_not_count() {
    for text in [
        "",
        "\n\n\r\n\r\n",
        ": keep-alive\n\n",
        "data: incomplete\n",
        "data: incomplete\r\n",
        "event: answer\nid: 7\nretry: 10\n\n",
        "datas: x\n\n",
        " data: x\n\n",
        "event: ping\ndata: {}\n\n",
        "event:ping\r\ndata\r\n\r\n",
        "data: {}\nevent: answer\nevent: ping\n\n",
        "\u{feff}event: ping\ndata: x\n\n",
        "\n\u{feff}data: the mark is no longer the first\n\n",
    ] {
        assert!(!counts(Framing::Events, text), "{text:?}");
    }
}

#[test]
fn a_long_name_that_starts_like_an_ignored_one_counts() {
    let ignored = "p".repeat(64);
    let text = format!("event: {ignored}p\ndata: x\n\n");
    let mut reader = EventReader::new(Framing::Events);
    assert!(reader.read(text.as_bytes(), |name| name == ignored.as_bytes()));
}

#[test]
fn the_name_message_ignores_events_without_a_name() {
    let mut reader = EventReader::new(Framing::Events);
    assert!(!reader.read(b"data: x\n\n", |name| name == b"message"));
    assert!(reader.read(b"event: answer\ndata: x\n\n", |name| name == b"message"));
}

#[test]
fn lines_that_are_not_blank_count() {
    for (text, expected) in [
        ("{}\n", true),
        ("\n{}\r\n", true),
        ("\u{1e}{}\n", true),
        ("{}", false),
        ("\n\r\n \t\n\u{1e}\n", false),
    ] {
        assert_eq!(counts(Framing::Lines, text), expected, "{text:?}");
    }
}

#[test]
fn elsewhere_each_byte_counts() {
    for framing in [Framing::Grpc, Framing::WebSocket, Framing::Opaque] {
        assert!(counts(framing, "\n") && !counts(framing, ""), "{framing:?}");
    }
}

proptest! {
    /// The division into chunks does not change what counts.
    #[test]
    fn chunks_do_not_change_the_events(
        parts in proptest::collection::vec("data: ?|event: ?|ping|x|: c|id: 1|\r\n|\n|\r|\u{feff}", 0..24),
        sizes in proptest::collection::vec(1_usize..6, 1..40),
        lines: bool,
    ) {
        let framing = if lines { Framing::Lines } else { Framing::Events };
        let stream = parts.concat();
        let mut reader = EventReader::new(framing);
        let (mut rest, mut has_event) = (stream.as_bytes(), false);
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, others) = rest.split_at((*size).min(rest.len()));
            has_event |= reader.read(chunk, |name| name == b"ping");
            rest = others;
        }
        prop_assert_eq!(has_event, counts(framing, &stream), "{:?}", stream);
    }

    /// A reader that parses the whole stream at once, by the words of the specification, agrees.
    #[test]
    fn the_reader_agrees_with_a_parser_of_whole_streams(
        parts in proptest::collection::vec("data: ?|event: ?|ping|x|: c|id: 1|\r\n|\n|\r", 0..24),
    ) {
        let stream = parts.concat();
        let unified = stream.replace("\r\n", "\n").replace('\r', "\n");
        // The last line is complete only if a line end follows it.
        let complete = unified.rsplit_once('\n').map_or("", |(complete, _)| complete);
        let (mut has_data, mut name, mut expected) = (false, String::new(), false);
        for line in complete.split('\n').filter(|_| unified.contains('\n')) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() => {
                    expected |= has_data && name != "ping";
                    (has_data, name) = (false, String::new());
                }
                "data" => has_data = true,
                "event" => value.clone_into(&mut name),
                _ => {}
            }
        }
        prop_assert_eq!(counts(Framing::Events, &stream), expected, "{:?}", stream);
    }
}

/// Timeouts of 1 s for the first event and 2 s for each gap; `ping` is ignored.
pub(crate) fn timeouts() -> Value {
    route(json!({
        "buffering": "off",
        "timeouts": { "first_event": "1s", "event_gap": "2s", "ignore_events": ["ping"] },
    }))
}

fn chunk(worker: &mut Worker, host: &mut MemoryHost, open: &mut Open, text: &str) {
    let passed = worker.download(host, open, text.as_bytes(), false);
    assert_eq!(passed, (Action::Continue, text.as_bytes().to_vec()), "chunks pass unchanged");
}

#[test]
fn a_response_that_does_not_begin_gets_504() {
    let (mut host, mut worker) = proxy(&timeouts());
    let open = worker.get(&mut host, "/x");
    wait(&mut worker, &mut host, 900);
    assert_eq!(host.replies, []);
    wait(&mut worker, &mut host, 400);
    let text = "first_event_timeout: no first event from the upstream for 1s\n";
    assert_eq!(reply(&host), (Some(1), 504, text));
    worker.end(&mut host, open, None);
    wait(&mut worker, &mut host, 1_000);
    assert_eq!(host.metric_value("sluice.route.r.ended.first_event_timeout"), Some(1));
}

#[test]
fn a_stream_with_comments_only_is_cut() {
    for (fields, silence) in
        [(EVENTS, ": wait\n\n"), (EVENTS, "event: ping\ndata: {}\n\n"), (LINES, "\n")]
    {
        let (mut host, mut worker) = proxy(&timeouts());
        let mut open = worker.get(&mut host, "/x");
        worker.respond(&mut host, &mut open, &fields, false);
        for _ in 0..3 {
            wait(&mut worker, &mut host, 300);
            chunk(&mut worker, &mut host, &mut open, silence);
        }
        assert_eq!(host.resets, [0; 0]);
        wait(&mut worker, &mut host, 400);
        assert_eq!((&host.resets[..], host.replies.len()), (&[1][..], 0), "{silence:?}");
        worker.end(&mut host, open, None);
        wait(&mut worker, &mut host, 1_000);
        let counted = host.metric_value("sluice.route.r.ended.first_event_timeout");
        assert_eq!(counted, Some(1), "{silence:?}");
    }
}

#[test]
fn each_event_restarts_the_gap() {
    for (fields, event, silence) in
        [(EVENTS, "data: x\n\n", ": wait\n\n"), (LINES, "{}\n", "\n"), (OK_TEXT, "x", "")]
    {
        let (mut host, mut worker) = proxy(&timeouts());
        let mut open = worker.get(&mut host, "/x");
        worker.respond(&mut host, &mut open, &fields, false);
        for _ in 0..4 {
            chunk(&mut worker, &mut host, &mut open, event);
            wait(&mut worker, &mut host, 1_900);
        }
        assert_eq!(host.resets, [0; 0]);
        chunk(&mut worker, &mut host, &mut open, silence);
        wait(&mut worker, &mut host, 500);
        assert_eq!(host.resets, [1], "{event:?}");
        worker.end(&mut host, open, None);
        wait(&mut worker, &mut host, 1_000);
        let counted = host.metric_value("sluice.route.r.ended.event_gap_timeout");
        assert_eq!(counted, Some(1), "{event:?}");
    }
}

const OK_TEXT: [(&str, &str); 2] = [(":status", "200"), ("content-type", "text/plain")];

#[test]
fn the_first_event_is_due_after_the_end_of_the_request() {
    let (mut host, mut worker) = proxy(&timeouts());
    let mut open = worker.request(&mut host, "POST", "/x", &[], false);
    wait(&mut worker, &mut host, 5_000);
    worker.upload(&mut host, &mut open, b"a", false);
    wait(&mut worker, &mut host, 5_000);
    assert_eq!(host.replies, [], "the upload may take as long as it likes");
    worker.upload(&mut host, &mut open, b"b", true);
    wait(&mut worker, &mut host, 900);
    assert_eq!(host.replies, []);
    wait(&mut worker, &mut host, 400);
    assert_eq!(reply(&host).1, 504);
}

#[test]
fn an_upload_during_the_response_restarts_the_gap() {
    let (mut host, mut worker) = proxy(&timeouts());
    let mut open = worker.request(&mut host, "POST", "/x", &[], false);
    worker.respond(&mut host, &mut open, &EVENTS, false);
    wait(&mut worker, &mut host, 5_000);
    chunk(&mut worker, &mut host, &mut open, "data: x\n\n");
    for _ in 0..3 {
        wait(&mut worker, &mut host, 1_900);
        worker.upload(&mut host, &mut open, b"a", false);
    }
    assert_eq!(host.resets, [0; 0]);
    wait(&mut worker, &mut host, 2_400);
    assert_eq!(host.resets, [1]);
}

#[test]
fn a_response_that_ends_has_no_late_event() {
    let (mut host, mut worker) = proxy(&timeouts());
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &EVENTS, false);
    worker.download(&mut host, &mut open, b"", true);
    wait(&mut worker, &mut host, 5_000);
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &OK, true);
    wait(&mut worker, &mut host, 5_000);
    assert_eq!((host.resets.len(), host.replies.len()), (0, 0));
}

#[test]
fn an_upgrade_has_no_events() {
    let (mut host, mut worker) = proxy(&timeouts());
    let upgrade = [("upgrade", "websocket")];
    let mut open = worker.request(&mut host, "GET", "/x", &upgrade, true);
    worker.respond(&mut host, &mut open, &[(":status", "101"), upgrade[0]], false);
    wait(&mut worker, &mut host, 5_000);
    assert_eq!((host.resets.len(), host.replies.len()), (0, 0));
}

/// A client that reads slowly looks like an upstream that sends nothing.
#[test]
fn the_rest_of_a_long_download_has_no_gap() {
    let configuration = route(json!({
        "buffering": { "max_bytes": 100 }, "timeouts": { "event_gap": "1s" },
    }));
    for (bytes, resets) in [(99, 1), (100, 0)] {
        let (mut host, mut worker) = proxy(&configuration);
        let mut open = worker.get(&mut host, "/x");
        let sized = [(":status", "200"), ("content-length", "1000")];
        worker.respond(&mut host, &mut open, &sized, false);
        chunk(&mut worker, &mut host, &mut open, &"x".repeat(bytes));
        wait(&mut worker, &mut host, 5_000);
        assert_eq!(host.resets.len(), resets, "after {bytes} bytes");
    }
}

#[test]
fn a_compressed_event_stream_counts_bytes() {
    let (mut host, mut worker) = proxy(&timeouts());
    let mut open = worker.get(&mut host, "/x");
    let fields = [EVENTS[0], EVENTS[1], ("content-encoding", "gzip")];
    worker.respond(&mut host, &mut open, &fields, false);
    for _ in 0..3 {
        chunk(&mut worker, &mut host, &mut open, "\u{1}\u{2}");
        wait(&mut worker, &mut host, 900);
    }
    assert_eq!(host.resets, [0; 0]);
}

/// If the host does not lend the body, each chunk counts: a stream that works must not end.
#[test]
fn chunks_that_cannot_be_read_count() {
    let (mut host, mut worker) = proxy(&timeouts());
    host.refused.insert("buffer");
    let mut open = worker.get(&mut host, "/x");
    worker.respond(&mut host, &mut open, &EVENTS, false);
    for _ in 0..3 {
        chunk(&mut worker, &mut host, &mut open, ": wait\n\n");
        wait(&mut worker, &mut host, 900);
    }
    assert_eq!(host.resets, [0; 0]);
}

#[test]
fn a_buffered_body_counts_as_it_arrives() {
    let (mut host, mut worker) = proxy(&route(json!({
        "buffering": "on", "timeouts": { "first_event": "1s", "event_gap": "1s" },
    })));
    let mut open = worker.get(&mut host, "/x");
    let sized = [(":status", "200"), ("content-length", "3")];
    worker.respond(&mut host, &mut open, &sized, false);
    for _ in 0..2 {
        wait(&mut worker, &mut host, 900);
        assert_eq!(worker.download(&mut host, &mut open, b"x", false).0, Action::Pause);
    }
    assert_eq!(host.resets, [0; 0]);
    wait(&mut worker, &mut host, 1_500);
    assert_eq!(host.resets, [1]);
}

#[test]
fn a_chunk_of_an_event_stream_costs_one_read_and_other_chunks_none() {
    for (fields, calls) in [(EVENTS, vec!["buffer"]), (LINES, vec!["buffer"]), (OK_TEXT, vec![])] {
        let (mut host, mut worker) = proxy(&timeouts());
        let mut open = worker.get(&mut host, "/x");
        host.called.clear();
        worker.respond(&mut host, &mut open, &fields, false);
        assert_eq!(host.called, ["read_headers", "set_header"], "buffering is off");
        host.called.clear();
        chunk(&mut worker, &mut host, &mut open, "data: x\n\n");
        assert_eq!(host.called, calls, "{fields:?}");
    }
}
