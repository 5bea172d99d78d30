//! Where a drain cuts a stream: never within an event or a line, however the stream is divided into pieces.

use proptest::prelude::*;
use sluice_filter::cut::{Cut, Framing, Piece};
use sluice_filter::live::{Limits, Live, TICKS_PER_REFRESH, Waits};
use sluice_filter::reason::Reason;

const CONNECTION: u64 = 42;

/// Sends the pieces through a stream whose moment comes before the piece at `due`; what its client got.
fn client_gets(framing: Framing, pieces: &[&[u8]], due: usize) -> (Vec<u8>, bool) {
    let mut live = Live::default();
    let slot = live.begin(1, Limits::default(), Waits::ForUpstream, ());
    live.answered(slot, false);
    live.may_cut(slot, Cut::new(CONNECTION, framing));
    let mut got = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        if index == due {
            live.drain(|connection, ()| connection == CONNECTION, 1);
        }
        let cut = live.cut(slot).expect("it has not been cut");
        let needed = cut.needs(piece.len());
        match cut.piece(&piece[piece.len() - needed..], piece.len()) {
            Piece::Pass => got.extend_from_slice(piece),
            Piece::Keep(size) => got.extend_from_slice(&piece[..size]),
        }
    }
    let cut = (0..=TICKS_PER_REFRESH + 1).flat_map(|_| live.drain(|_, ()| true, 1)).next();
    (got, cut.is_some_and(|over| over.reason == Reason::DrainCut && over.begun))
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
