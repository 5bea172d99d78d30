//! Where a drain cuts a stream: never within an event or a line, however the stream is divided into pieces.

use proptest::prelude::*;
use sluice_filter::config::Span;
use sluice_filter::cut::{Cut, Framing, Piece};
use sluice_filter::live::{Kind, Live, Slot, Waits};
use sluice_filter::policy::IdleTimeouts;
use sluice_filter::reason::Reason;
use sluice_filter::rules::TICKS_PER_REFRESH;

const CONNECTION: u64 = 42;
const TICK_MS: u64 = 80;

/// A stream in a plugin whose ticks come when the test says.
struct Client {
    live: Live<()>,
    slot: Slot,
    now_ms: u64,
    got: Vec<u8>,
}

impl Client {
    fn new(framing: Framing) -> Self {
        let mut live = Live::default();
        live.ticks_every(Span::from_millis(TICK_MS), Some(0));
        let slot = live.begin(1, IdleTimeouts::default(), Waits::ForUpstream, ());
        live.answered(slot, Kind::Endless);
        live.may_cut(slot, Cut::new(CONNECTION, framing));
        Self { live, slot, now_ms: 0, got: Vec::new() }
    }

    fn piece(&mut self, piece: &[u8]) {
        let cut = self.live.cut(self.slot).expect("it has not been cut");
        let needed = cut.needs(piece.len());
        match cut.piece(&piece[piece.len() - needed..], piece.len()) {
            Piece::Pass => self.got.extend_from_slice(piece),
            Piece::Keep(size) => self.got.extend_from_slice(&piece[..size]),
        }
    }

    /// A tick some time after the last one, with a drain in which the connection is due or without one; whether the stream was cut.
    fn tick(&mut self, after_ms: u64, drains: bool) -> bool {
        self.now_ms += after_ms;
        assert_eq!(self.live.tick(Some(self.now_ms), 1), []);
        let is_due = drains.then_some(|connection: u64, (): &()| connection == CONNECTION);
        let cut = self.live.drain(is_due, 1);
        assert!(cut.iter().all(|over| over.reason == Reason::DrainCut && over.begun));
        !cut.is_empty()
    }

    /// Ticks until it is cut, in milliseconds.
    fn cut_after(&mut self, every_ms: u64, drains: bool) -> Option<u64> {
        let begun = self.now_ms;
        let cut = (0..1000).any(|_| self.tick(every_ms, drains));
        cut.then_some(self.now_ms - begun)
    }
}

/// Sends the pieces through a stream whose moment comes before the piece at `due`; what its client got, and whether it was cut.
fn client_gets(framing: Framing, pieces: &[&[u8]], due: usize) -> (Vec<u8>, bool) {
    let mut client = Client::new(framing);
    for (index, piece) in pieces.iter().enumerate() {
        if index == due {
            client.tick(TICK_MS, true);
        }
        client.piece(piece);
    }
    let cut = client.cut_after(TICK_MS, true);
    (client.got, cut.is_some())
}

#[test]
fn a_drain_that_is_taken_back_leaves_no_stream_behind_that_is_neither_open_nor_cut() {
    let mut within = Client::new(Framing::Events);
    within.piece(b"id: 1\n");
    within.tick(TICK_MS, true);
    within.tick(TICK_MS, false);
    within.piece(b"data: x\n\nid: 2\n\n");
    assert_eq!(within.cut_after(TICK_MS, false), None);
    assert_eq!(within.got, b"id: 1\ndata: x\n\nid: 2\n\n");

    let mut at_rest = Client::new(Framing::Events);
    at_rest.piece(b"id: 1\n\n");
    at_rest.tick(TICK_MS, true);
    at_rest.piece(b"id: 2\n\n");
    assert!(at_rest.cut_after(TICK_MS, false).is_some(), "a piece of it is missing already");
    assert_eq!(at_rest.got, b"id: 1\n\n");
}

#[test]
fn what_was_passed_has_a_refresh_to_reach_the_client_however_fast_the_worker_ticks() {
    let refresh = TICK_MS * TICKS_PER_REFRESH;
    for every_ms in [1, TICK_MS] {
        let mut client = Client::new(Framing::Events);
        client.piece(b"id: 1\n");
        client.tick(every_ms, true);
        client.piece(b"\nid: 2");
        let cut = client.cut_after(every_ms, true).expect("a boundary was passed");
        assert!((refresh..=refresh + 2 * TICK_MS).contains(&cut), "{cut} at {every_ms}");
        assert_eq!(client.got, b"id: 1\n\n");
    }
}

#[test]
fn the_rest_of_a_piece_after_its_last_event_is_left_to_the_next_connection() {
    let cases: [(&[&[u8]], &str); 6] = [
        (&[b"id: 1\n\n", b"id: 2\n\nid: 3\nda"], "id: 1\n\n"),
        (&[b"id: 1\nda", b"ta: x\n\nid: 2\n"], "id: 1\ndata: x\n\n"),
        (&[b"id: 1\nda", b"ta: x\n", b"\nid: 2"], "id: 1\ndata: x\n\n"),
        (&[b"id: 1\r\nda", b"ta: x\r\n", b"\r\nid: 2"], "id: 1\r\ndata: x\r\n\r\n"),
        (&[b"id: 1\r\n\r", b"\nid: 2\r\n\r\nid", b": 3"], "id: 1\r\n\r"),
        (&[b":", b" comment\n", b"\n:", b"\n\n"], ": comment\n\n"),
    ];
    for (pieces, expected) in cases {
        let (got, cut) = client_gets(Framing::Events, pieces, 1);
        assert_eq!((String::from_utf8_lossy(&got).as_ref(), cut), (expected, true));
    }
    let (got, cut) = client_gets(Framing::Lines, &[b"{\"a\":", b"1}\n{\"a\":2}\n{"], 1);
    assert_eq!((&got[..], cut), (&b"{\"a\":1}\n{\"a\":2}\n"[..], true));
}

#[test]
fn without_an_end_of_an_event_the_stream_goes_on() {
    let pieces: [&[u8]; 3] = [b"id: 1\n", b"data: x\n", b"data: y\n"];
    let (got, cut) = client_gets(Framing::Events, &pieces, 1);
    assert_eq!((got, cut), (pieces.concat(), false));
}

proptest! {
    #[test]
    fn what_a_client_has_got_are_whole_parts_from_the_begin(
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
        let (mut rest, mut pieces) = (stream.as_bytes(), Vec::new());
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, others) = rest.split_at((*size).min(rest.len()));
            (rest, pieces) = (others, [pieces, vec![piece]].concat());
        }
        let due = due.min(pieces.len() - 1);
        let (got, cut) = client_gets(framing, &pieces, due);
        prop_assert!(stream.as_bytes().starts_with(&got));
        prop_assert!(cut, "the last part is whole, so the stream has a place to be cut");
        let mut ends = whole.iter().scan(0, |sum, part| { *sum += part.len(); Some(*sum) });
        // A lone CR ends a line, so an event may end before the LF that belongs to its last CR.
        let is_end = |end: usize| got.len() == end || (!lines && got.len() + 1 == end && got.ends_with(b"\r"));
        prop_assert!(got.is_empty() || ends.any(is_end), "{:?} of {stream:?}", String::from_utf8_lossy(&got));
    }
}
