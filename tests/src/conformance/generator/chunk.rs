//! Bodies in chunks, with a pause before each chunk.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::configuration::LONG_PAUSE;

#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    /// The pause before the chunk, in milliseconds.
    pause: u64,
    content: Content,
}

#[derive(Debug, Clone, Copy)]
enum Content {
    Bytes(usize),
    Text(&'static str),
}

/// Milliseconds between the chunks of the side that sends steadily, and their number. Together they
/// last longer than the other side's pause.
pub(super) const STEADY_PAUSE: u64 = 100;
pub(super) const STEADY_CHUNKS: usize = 14;

/// Chunks of streams: complete and torn events and lines, with all kinds of line ends.
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

impl Chunk {
    /// The chunk with another pause.
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

/// Chunks of all sizes.
pub(super) fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    let size = prop_oneof![1usize..100, Just(16_384usize), 30_000usize..70_000, Just(300_000usize)];
    let pause = prop::sample::select(vec![0, 0, 1, 20]);
    let chunk =
        (pause, size).prop_map(|(pause, size)| Chunk { pause, content: Content::Bytes(size) });
    prop::collection::vec(chunk, 0..5)
}

/// At least one chunk of a stream.
pub(super) fn texts() -> impl Strategy<Value = Vec<Chunk>> {
    let chunk = (prop::sample::select(vec![0, 5]), prop::sample::select(TEXTS.to_vec()))
        .prop_map(|(pause, text)| Chunk { pause, content: Content::Text(text) });
    prop::collection::vec(chunk, 1..4)
}

/// Chunks that a stream sends while it waits, or one after a long pause, or none.
pub(super) fn waiting() -> impl Strategy<Value = Vec<Chunk>> {
    let texts = vec![": wait\n\n", "event: ping\ndata\n\n", "\n", "data: a\n\n", "{}\n"];
    prop_oneof![
        3 => prop::sample::select(texts).prop_map(|text| {
            vec![Chunk { pause: STEADY_PAUSE, content: Content::Text(text) }; STEADY_CHUNKS]
        }),
        1 => Just(vec![Chunk { pause: LONG_PAUSE, content: Content::Text("data: late\n\n") }]),
        1 => Just(Vec::new()),
    ]
}

/// The sum of the pauses in milliseconds, each limited to `most`.
pub(super) fn pauses(chunks: &[Chunk], most: u64) -> u64 {
    chunks.iter().map(|chunk| chunk.pause.min(most)).sum()
}

/// The `body` field of a trace event.
pub(super) fn body(chunks: &[Chunk]) -> Value {
    let chunk = |chunk: &Chunk| {
        let after = format!("{}ms", chunk.pause);
        match chunk.content {
            Content::Bytes(size) => json!({ "after": after, "bytes": size }),
            Content::Text(text) => json!({ "after": after, "text": text }),
        }
    };
    chunks.iter().map(chunk).collect()
}

/// The content length; the body is shorter by `missing` bytes.
pub(super) fn length(chunks: &[Chunk], missing: usize) -> String {
    (chunks.iter().map(Chunk::len).sum::<usize>() + missing).to_string()
}
