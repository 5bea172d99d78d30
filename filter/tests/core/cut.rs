//! A drain cuts a stream only between two messages, however the stream is divided into chunks.

use proptest::prelude::*;
use sluice_filter::config::Span;
use sluice_filter::cut::{ChunkPart, Cut, Framing};
use sluice_filter::idle_timers::{IdleTimers, ResponseKind, TimerId, WaitsFor};
use sluice_filter::policy::IdleTimeouts;
use sluice_filter::reason::Reason;
use sluice_filter::rules::TICKS_PER_REFRESH;

const CONNECTION: u64 = 42;
const TICK_MS: u64 = 80;

/// A stream in a plugin that ticks when the test decides.
struct Client {
    timers: IdleTimers<()>,
    timer: TimerId,
    now_ms: u64,
    got: Vec<u8>,
}

impl Client {
    fn new(framing: Framing) -> Self {
        let mut timers = IdleTimers::default();
        timers.set_tick_period(Span::from_millis(TICK_MS), Some(0));
        let timer = timers.start(1, IdleTimeouts::default(), WaitsFor::Response, ());
        timers.response_started(timer, ResponseKind::Unbounded);
        timers.allow_cut(timer, Cut::new(CONNECTION, framing));
        Self { timers, timer, now_ms: 0, got: Vec::new() }
    }

    fn chunk(&mut self, chunk: &[u8]) {
        let cut = self.timers.cut_mut(self.timer).expect("it has not been cut");
        let needed = cut.needed_bytes(chunk.len());
        match cut.chunk(&chunk[chunk.len() - needed..], chunk.len()) {
            ChunkPart::All => self.got.extend_from_slice(chunk),
            ChunkPart::First(size) => self.got.extend_from_slice(&chunk[..size]),
        }
    }

    /// Ticks this long after the last tick, with or without a drain. Returns whether the tick cut
    /// the stream.
    fn tick(&mut self, after_ms: u64, drains: bool) -> bool {
        self.now_ms += after_ms;
        assert_eq!(self.timers.expire(Some(self.now_ms), 1), []);
        let is_due = drains.then_some(|connection: u64, (): &()| connection == CONNECTION);
        let cut = self.timers.cut(is_due, 1);
        assert!(cut.iter().all(|cut| cut.reason == Reason::DrainCut && cut.has_response));
        !cut.is_empty()
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
