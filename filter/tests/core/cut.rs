//! A drain ends a stream only between two messages, however the stream is divided into chunks.

use proptest::prelude::*;
use sluice_filter::boundary::{BoundaryReader, Framing};
use sluice_filter::config::Span;
use sluice_filter::cut::{ChunkPart, Cut};
use sluice_filter::drain::Bound;
use sluice_filter::idle_timers::{IdleTimers, ResponseKind, TimerId, WaitsFor};
use sluice_filter::load;
use sluice_filter::policy::IdleTimeouts;
use sluice_filter::reason::Reason;
use sluice_filter::rules::TICKS_PER_REFRESH;

const CONNECTION: u64 = 42;
const TICK_MS: u64 = 80;

/// A stream in a plugin that ticks when the test decides.
struct Client {
    timers: IdleTimers<()>,
    timer: TimerId,
    bound: Bound,
    now_ms: u64,
    due_since_ms: Option<u64>,
    got: Vec<u8>,
    is_broken: bool,
}

/// The bound of a route with this `drain`.
fn bound(drain: &str) -> Bound {
    let document = format!(r#"{{"version":1,"defaults":{{"drain":{drain}}}}}"#);
    let rules = load(document.as_bytes()).expect("a valid configuration").rules;
    rules.policy(None).bound.clone().expect("a drain ends streams")
}

impl Client {
    fn new(framing: Framing) -> Self {
        Self::bounded(framing, r#""cut""#)
    }

    fn bounded(framing: Framing, drain: &str) -> Self {
        let mut timers = IdleTimers::default();
        timers.set_tick_period(Span::from_millis(TICK_MS), Some(0));
        let timer = timers.start(1, IdleTimeouts::default(), WaitsFor::Response, ());
        timers.response_started(timer, ResponseKind::Unbounded);
        let mut cut = Cut::new(CONNECTION, 0);
        cut.response_started(framing);
        timers.allow_cut(timer, cut);
        Self {
            timers,
            timer,
            bound: bound(drain),
            now_ms: 0,
            due_since_ms: None,
            got: Vec::new(),
            is_broken: false,
        }
    }

    fn chunk(&mut self, chunk: &[u8]) {
        let cut = self.timers.cut_mut(self.timer).expect("it has not been cut");
        let needed = cut.needed_bytes(chunk.len());
        match cut.chunk(&chunk[chunk.len() - needed..], chunk.len(), &self.bound) {
            ChunkPart::All => self.got.extend_from_slice(chunk),
            ChunkPart::First(size, last) => {
                self.got.extend_from_slice(&chunk[..size]);
                self.got.extend_from_slice(&last);
            }
        }
        self.is_broken |= cut.has_broken();
    }

    /// Ticks this long after the last tick, with or without a drain. Returns whether the tick cut
    /// the stream.
    fn tick(&mut self, after_ms: u64, drains: bool) -> bool {
        let reason = self.tick_for(after_ms, drains);
        assert!(matches!(reason, None | Some(Reason::DrainCut)));
        reason.is_some()
    }

    fn tick_for(&mut self, after_ms: u64, drains: bool) -> Option<Reason> {
        self.now_ms += after_ms;
        assert_eq!(self.timers.expire(Some(self.now_ms), 1), []);
        let since = self.due_since_ms.filter(|_| drains).unwrap_or(self.now_ms);
        self.due_since_ms = drains.then_some(since);
        let due_for = drains.then_some(self.now_ms - since);
        let cut = self.timers.cut(drains, 1, |cut, (), time| {
            cut.tick(time, &self.bound, |connection| due_for.filter(|_| connection == CONNECTION))
        });
        assert!(cut.iter().all(|cut| cut.has_response));
        cut.first().map(|cut| cut.reason)
    }

    /// Ticks for this long during a drain that does not end the stream.
    fn wait(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while self.now_ms < until {
            let step = TICK_MS.min(until - self.now_ms);
            assert!(!self.tick(step, true));
        }
    }

    /// Ticks until the drain ends the stream. Returns after how long since the connection was due,
    /// and why.
    fn end(&mut self) -> Option<(u64, Reason)> {
        let reason = (0..10_000).find_map(|_| self.tick_for(TICK_MS, true))?;
        Some((self.now_ms - self.due_since_ms?, reason))
    }

    /// Ticks until the stream is cut. Returns how long that took, in milliseconds.
    fn cut_after(&mut self, every_ms: u64, drains: bool) -> Option<u64> {
        let begun = self.now_ms;
        let cut = (0..1000).any(|_| self.tick(every_ms, drains));
        cut.then_some(self.now_ms - begun)
    }
}

/// Sends chunks through a stream whose connection is due before the chunk at `due`. Returns what
/// the client got, and whether the stream was cut.
fn client_gets(framing: Framing, chunks: &[&[u8]], due: usize) -> (Vec<u8>, bool) {
    let mut client = Client::new(framing);
    for (index, chunk) in chunks.iter().enumerate() {
        if index == due {
            client.tick(TICK_MS, true);
        }
        client.chunk(chunk);
    }
    let cut = client.cut_after(TICK_MS, true);
    (client.got, cut.is_some())
}

#[test]
fn after_the_end_of_a_drain_each_stream_is_either_open_or_cut() {
    let mut within = Client::new(Framing::Events);
    within.chunk(b"id: 1\n");
    within.tick(TICK_MS, true);
    within.tick(TICK_MS, false);
    within.chunk(b"data: x\n\nid: 2\n\n");
    assert_eq!(within.cut_after(TICK_MS, false), None);
    assert_eq!(within.got, b"id: 1\ndata: x\n\nid: 2\n\n");

    let mut at_rest = Client::new(Framing::Events);
    at_rest.chunk(b"id: 1\n\n");
    at_rest.tick(TICK_MS, true);
    at_rest.chunk(b"id: 2\n\n");
    assert!(at_rest.cut_after(TICK_MS, false).is_some(), "the client already misses a chunk");
    assert_eq!(at_rest.got, b"id: 1\n\n");
}

#[test]
fn the_last_bytes_have_a_refresh_to_reach_the_client_at_any_tick_period() {
    let refresh = TICK_MS * TICKS_PER_REFRESH;
    for every_ms in [1, TICK_MS] {
        let mut client = Client::new(Framing::Events);
        client.chunk(b"id: 1\n");
        client.tick(every_ms, true);
        client.chunk(b"\nid: 2");
        let cut = client.cut_after(every_ms, true).expect("a boundary was passed");
        assert!((refresh..=refresh + 2 * TICK_MS).contains(&cut), "{cut} at {every_ms}");
        assert_eq!(client.got, b"id: 1\n\n");
    }
}

#[test]
fn a_cut_chunk_ends_after_its_last_complete_message() {
    let cases: [(&[&[u8]], &str); 6] = [
        (&[b"id: 1\n\n", b"id: 2\n\nid: 3\nda"], "id: 1\n\n"),
        (&[b"id: 1\nda", b"ta: x\n\nid: 2\n"], "id: 1\ndata: x\n\n"),
        (&[b"id: 1\nda", b"ta: x\n", b"\nid: 2"], "id: 1\ndata: x\n\n"),
        (&[b"id: 1\r\nda", b"ta: x\r\n", b"\r\nid: 2"], "id: 1\r\ndata: x\r\n\r\n"),
        (&[b"id: 1\r\n\r", b"\nid: 2\r\n\r\nid", b": 3"], "id: 1\r\n\r"),
        (&[b":", b" comment\n", b"\n:", b"\n\n"], ": comment\n\n"),
    ];
    for (chunks, expected) in cases {
        let (got, cut) = client_gets(Framing::Events, chunks, 1);
        assert_eq!((String::from_utf8_lossy(&got).as_ref(), cut), (expected, true));
    }
    let (got, cut) = client_gets(Framing::Lines, &[b"{\"a\":", b"1}\n{\"a\":2}\n{"], 1);
    assert_eq!((&got[..], cut), (&b"{\"a\":1}\n{\"a\":2}\n"[..], true));
}

#[test]
fn a_stream_without_a_boundary_continues() {
    let chunks: [&[u8]; 3] = [b"id: 1\n", b"data: x\n", b"data: y\n"];
    let (got, cut) = client_gets(Framing::Events, &chunks, 1);
    assert_eq!((got, cut), (chunks.concat(), false));
}

const FINISH: &str = r#"{"streams":"finish","within":"5s"}"#;

fn grpc(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short message").to_be_bytes();
    [&[0], &length[..], bytes].concat()
}

/// A frame of a server. `first` has the opcode and the flags.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let header = match u16::try_from(length) {
        Ok(short @ ..126) => vec![first, short as u8],
        Ok(length) => [vec![first, 126], length.to_be_bytes().to_vec()].concat(),
        Err(_) => [vec![first, 127], (length as u64).to_be_bytes().to_vec()].concat(),
    };
    [header, payload.to_vec()].concat()
}

/// The Close frame of the filter.
const RESTART: [u8; 4] = [0x88, 2, 0x03, 0xf4];

#[test]
fn a_stream_has_its_time_and_ends_at_the_next_boundary() {
    for (framing, message) in [
        (Framing::Events, b"data: 1\n\n".to_vec()),
        (Framing::Lines, b"{}\n".to_vec()),
        (Framing::Grpc, grpc(b"one")),
        (Framing::WebSocket, frame(0x81, b"one")),
    ] {
        let mut client = Client::bounded(framing, FINISH);
        client.tick(0, true);
        client.wait(4_990);
        client.chunk(&[&message[..], &message[..2]].concat());
        let before = client.got.len();
        assert_eq!(before, message.len() + 2, "{framing:?}: it may last for 5 s");
        client.tick(TICK_MS, true);
        client.chunk(&[&message[2..], &message[..], &message[..1]].concat());
        let last: &[u8] = if framing == Framing::WebSocket { &RESTART } else { b"" };
        assert_eq!(client.got, [&message.repeat(3), last].concat(), "{framing:?}");
        client.chunk(&message);
        let (after, reason) = client.end().expect("it ends");
        assert_eq!((client.got.len(), reason), (message.len() * 3 + last.len(), Reason::DrainCut));
        assert!(after < 6_000, "{after}");
    }
}

#[test]
fn a_stream_without_a_boundary_ends_a_second_after_its_bound() {
    for (framing, chunk) in [
        (Framing::Opaque, &b"anything\n\n"[..]),
        (Framing::Events, b"data: the start of an event"),
        (Framing::Grpc, &[0, 0, 0, 1, 0, 7, 7]),
        (Framing::WebSocket, &[0x82, 126, 1, 0, 7]),
    ] {
        let mut client = Client::bounded(framing, FINISH);
        client.chunk(chunk);
        let (after, reason) = client.end().expect("it ends");
        assert_eq!((reason, &client.got[..]), (Reason::DrainDeadline, chunk), "{framing:?}");
        assert!((6_000..=6_000 + 2 * TICK_MS).contains(&after), "{framing:?}: {after}");
        let mut client = Client::new(framing);
        client.chunk(chunk);
        assert_eq!(client.end(), None, "{framing:?}: cut waits for a boundary");
    }
}

/// The filter can add bytes only to bytes of the upstream.
#[test]
fn a_silent_stream_gets_no_last_event_and_no_close_frame() {
    let events = r#"{"streams":"finish","within":"5s","last_event":"data: bye\n\n"}"#;
    for (framing, drain) in [(Framing::Events, events), (Framing::WebSocket, FINISH)] {
        let mut client = Client::bounded(framing, drain);
        let (after, reason) = client.end().expect("it ends");
        assert_eq!((reason, &client.got[..]), (Reason::DrainCut, &b""[..]));
        assert!((6_000..6_000 + 6 * TICK_MS).contains(&after), "{framing:?}: {after}");
    }
    let mut client = Client::bounded(Framing::Events, FINISH);
    let (after, reason) = client.end().expect("it ends");
    assert_eq!(reason, Reason::DrainCut);
    assert!(after < 6_000, "without a last event there is nothing to wait for: {after}");
}

#[test]
fn the_last_event_and_the_close_frame_come_first_if_the_stream_is_at_a_boundary() {
    for drain in [
        r#"{"streams":"finish","within":"0s","last_event":"event: bye\ndata: {}\n\n"}"#,
        r#"{"streams":"cut","last_event":"event: bye\ndata: {}\n\n"}"#,
    ] {
        let mut client = Client::bounded(Framing::Events, drain);
        client.chunk(b"data: 1\n\n");
        client.tick(TICK_MS, true);
        client.chunk(b"data: 2");
        assert_eq!(client.got, b"data: 1\n\nevent: bye\ndata: {}\n\n");
        assert!(client.end().is_some());
    }
    let code = r#"{"streams":"finish","within":"0s","close_code":4001}"#;
    let mut client = Client::bounded(Framing::WebSocket, code);
    client.tick(TICK_MS, true);
    client.chunk(&frame(0x89, b"ping")[..3]);
    assert_eq!(client.got, [0x88, 2, 0x0f, 0xa1]);
}

#[test]
fn a_websocket_that_closes_by_itself_gets_no_second_close_frame() {
    let mut client = Client::bounded(Framing::WebSocket, FINISH);
    client.chunk(&frame(0x88, &[3, 0xe8]));
    client.end();
    assert_eq!(client.got, frame(0x88, &[3, 0xe8]));
}

#[test]
fn compressed_and_fragmented_messages_keep_their_framing() {
    let message =
        [frame(0x41, b"a"), frame(0x89, b""), frame(0x00, &[7; 200]), frame(0x80, &[9; 70_000])];
    let mut client = Client::bounded(Framing::WebSocket, FINISH);
    client.chunk(&message.concat());
    client.tick(0, true);
    client.wait(5_000);
    client.chunk(&frame(0xc1, b"next"));
    assert_eq!(client.got, [&message.concat()[..], &frame(0xc1, b"next"), &RESTART].concat());
    assert!(!client.is_broken);
}

#[test]
fn broken_framing_passes_untouched_and_ends_without_a_close_frame() {
    let broken: [(Framing, &[u8]); 10] = [
        (Framing::WebSocket, b"GET / HTTP/1.1"),
        (Framing::WebSocket, &[0x83, 1, 0]),
        (Framing::WebSocket, &[0x81, 0x81, 1, 2, 3, 4, 5]),
        (Framing::WebSocket, &[0x80, 1, 0]),
        (Framing::WebSocket, &[0x01, 1, 0, 0x81, 1, 0]),
        (Framing::WebSocket, &[0x09, 1, 0]),
        (Framing::WebSocket, &[0x89, 126, 0, 200]),
        (Framing::WebSocket, &[0x82, 126, 0, 125]),
        (Framing::WebSocket, &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        (Framing::Grpc, b"HTTP/1.1"),
    ];
    for (framing, bytes) in broken {
        let mut client = Client::bounded(framing, FINISH);
        for byte in bytes {
            client.chunk(&[*byte]);
        }
        client.chunk(b"more");
        assert!(client.is_broken, "{bytes:?}");
        let reason = client.end().map(|(_, reason)| reason);
        assert_eq!((reason, client.got), (Some(Reason::DrainDeadline), [bytes, b"more"].concat()));
    }
    let mut late = Client::bounded(Framing::WebSocket, r#"{"streams":"finish","within":"0s"}"#);
    late.chunk(&[0x81, 1]);
    late.tick(TICK_MS, true);
    late.chunk(b"anot a frame");
    assert!(late.is_broken);
    assert_eq!(
        late.got, b"\x81\x01anot a frame",
        "the boundary before it came too late to be sure"
    );
}

proptest! {
    /// Whatever the chunks, the client gets whole messages, and a WebSocket gets its Close frame.
    #[test]
    fn a_client_gets_whole_frames(
        payloads in proptest::collection::vec(0_usize..400, 1..12),
        sizes in proptest::collection::vec(1_usize..300, 1..60),
        due in 0_usize..40,
        is_grpc: bool,
    ) {
        let framing = if is_grpc { Framing::Grpc } else { Framing::WebSocket };
        let message = |size: &usize| match is_grpc {
            true => grpc(&vec![0x81; *size]),
            false => frame(0x82, &vec![0x81; *size]),
        };
        let messages: Vec<_> = payloads.iter().map(message).collect();
        let stream = messages.concat();
        let mut client = Client::bounded(framing, r#"{"streams":"finish","within":"0s"}"#);
        let (mut rest, mut index) = (&stream[..], 0);
        for size in sizes.iter().cycle() {
            if index == due {
                client.tick(TICK_MS, true);
            }
            if rest.is_empty() {
                break;
            }
            let (chunk, others) = rest.split_at((*size).min(rest.len()));
            client.chunk(chunk);
            (rest, index) = (others, index + 1);
        }
        let ends: Vec<usize> = messages.iter().scan(0, |sum, part| { *sum += part.len(); Some(*sum) }).collect();
        let got = client.got.strip_suffix(&RESTART[..]).filter(|_| !is_grpc).unwrap_or(&client.got);
        prop_assert!(stream.starts_with(got));
        prop_assert!(got.is_empty() || ends.contains(&got.len()));
        prop_assert!(!client.is_broken);
        prop_assert_eq!(client.end().map(|(_, reason)| reason), Some(Reason::DrainCut));
    }
}

proptest! {
    #[test]
    fn a_client_gets_complete_messages_from_the_start(
        parts in proptest::collection::vec("[a-c:]{1,6}", 1..12),
        ends in proptest::collection::vec(0_usize..3, 12),
        sizes in proptest::collection::vec(1_usize..9, 1..60),
        due in 0_usize..20,
        lines: bool,
    ) {
        let (framing, ends_of): (_, [&str; 3]) = match lines {
            true => (Framing::Lines, ["\n", "\r\n", "\n"]),
            false => (Framing::Events, ["\n\n", "\r\n\r\n", "\n\r\n"]),
        };
        let whole: Vec<String> =
            parts.iter().zip(&ends).map(|(part, end)| format!("{part}{}", ends_of[*end])).collect();
        let stream = whole.concat();
        let (mut rest, mut chunks) = (stream.as_bytes(), Vec::new());
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, others) = rest.split_at((*size).min(rest.len()));
            (rest, chunks) = (others, [chunks, vec![chunk]].concat());
        }
        let due = due.min(chunks.len() - 1);
        let (got, cut) = client_gets(framing, &chunks, due);
        prop_assert!(stream.as_bytes().starts_with(&got));
        prop_assert!(cut, "the last message is complete, so the stream has a boundary");
        let mut ends = whole.iter().scan(0, |sum, part| { *sum += part.len(); Some(*sum) });
        // A lone CR ends a line, so an event may end before the LF that belongs to its last CR.
        let is_end = |end: usize| got.len() == end || (!lines && got.len() + 1 == end && got.ends_with(b"\r"));
        prop_assert!(got.is_empty() || ends.any(is_end), "{:?} of {stream:?}", String::from_utf8_lossy(&got));
    }
}

/// Reads the bytes in chunks of these sizes, only as far as the reader needs them.
fn read_in_chunks(framing: Framing, bytes: &[u8], sizes: &[usize]) -> BoundaryReader {
    let mut reader = BoundaryReader::new(framing);
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while let (false, Some(size)) = (rest.is_empty(), sizes.next()) {
        let (chunk, others) = rest.split_at((*size).min(rest.len()));
        let tail = &chunk[chunk.len() - reader.needed_bytes(chunk.len())..];
        reader.read(tail, chunk.len());
        rest = others;
    }
    reader
}

proptest! {
    /// Any bytes of an upstream are read without a panic, and their division into chunks does not
    /// matter.
    #[test]
    fn chunks_do_not_change_where_a_stream_may_end(
        bytes in proptest::collection::vec(prop_oneof![0_u8..12, Just(b'\n'), Just(b'\r'), 0x80_u8..0x8b, any::<u8>()], 0..200),
        sizes in proptest::collection::vec(1_usize..40, 1..20),
        framing in prop_oneof![Just(Framing::Events), Just(Framing::Lines), Just(Framing::Grpc), Just(Framing::WebSocket)],
    ) {
        let state = |reader: BoundaryReader| (reader.is_at_boundary(), reader.is_broken(), reader.has_closed());
        let one = read_in_chunks(framing, &bytes, &[1]);
        prop_assert_eq!(state(read_in_chunks(framing, &bytes, &sizes)), state(one));
        prop_assert_eq!(state(read_in_chunks(framing, &bytes, &[usize::MAX])), state(one));
    }
}
