//! Bodies in pieces, each with a pause before it.

use proptest::prelude::*;
use serde_json::{Value, json};

/// A piece of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// The pause before it, in milliseconds.
    pause: u64,
    content: Content,
}

#[derive(Debug, Clone, Copy)]
enum Content {
    Bytes(usize),
    Text(&'static str),
}

/// What streams are made of: events and lines, whole and in parts, with every end of a line.
const TEXTS: [&str; 10] = [
    "data: a\n\n",
    "data: b\r\n\r\n",
    "id: 7\ndata: c\r\r",
    "data: ha",
    "lf\n",
    "\n",
    "\r",
    "{\"n\":1}\n",
    "{\"n\":1}\n{\"n\"",
    ":2}\n{\"n\":3}",
];

impl Piece {
    /// The same after another pause.
    pub(super) fn after(self, pause: u64) -> Self {
        Self { pause, ..self }
    }

    pub(super) fn len(&self) -> usize {
        match self.content {
            Content::Bytes(size) => size,
            Content::Text(text) => text.len(),
        }
    }
}

/// Pieces of every size.
pub(super) fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let size = prop_oneof![1usize..100, Just(16_384usize), 30_000usize..70_000, Just(300_000usize)];
    let pause = prop::sample::select(vec![0, 0, 1, 20]);
    let piece =
        (pause, size).prop_map(|(pause, size)| Piece { pause, content: Content::Bytes(size) });
    prop::collection::vec(piece, 0..5)
}

/// Pieces of a stream; at least one.
pub(super) fn texts() -> impl Strategy<Value = Vec<Piece>> {
    let piece = (prop::sample::select(vec![0, 5]), prop::sample::select(TEXTS.to_vec()))
        .prop_map(|(pause, text)| Piece { pause, content: Content::Text(text) });
    prop::collection::vec(piece, 1..4)
}

/// How many milliseconds they take, when no pause counts for more than `most`.
pub(super) fn pauses(pieces: &[Piece], most: u64) -> u64 {
    pieces.iter().map(|piece| piece.pause.min(most)).sum()
}

/// The body of an event.
pub(super) fn body(pieces: &[Piece]) -> Value {
    let piece = |piece: &Piece| {
        let after = format!("{}ms", piece.pause);
        match piece.content {
            Content::Bytes(size) => json!({ "after": after, "bytes": size }),
            Content::Text(text) => json!({ "after": after, "text": text }),
        }
    };
    pieces.iter().map(piece).collect()
}

/// Its length, with `missing` bytes that never come.
pub(super) fn length(pieces: &[Piece], missing: usize) -> String {
    (pieces.iter().map(Piece::len).sum::<usize>() + missing).to_string()
}
