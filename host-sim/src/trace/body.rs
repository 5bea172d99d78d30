//! A body in a trace: chunks with the pause before each, written out or generated.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::text::{Span, Text};

/// The most bytes that one body may describe; a slip such as `"bytes": 1e12` must not fill the memory.
pub const MOST_BYTES: u64 = 1 << 30;

/// The chunks of a body, in order.
pub type Body<'a> = Vec<Chunk<'a>>;

/// One chunk, possibly repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The pause before the chunk, from the one before it or from the headers.
    pub after: Duration,
    /// What the chunk contains.
    pub content: Content<'a>,
    /// How often the chunk is sent, each time after the same pause; at least 1.
    pub times: u32,
}

/// The bytes of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// As written.
    Text(Cow<'a, str>),
    /// That many bytes of the pattern of [`fill_pattern`].
    Bytes(usize),
}

impl Content<'_> {
    /// The chunk's length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(count) => *count,
        }
    }

    /// Whether the chunk has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the chunk's bytes to `out`, for a chunk that begins `offset` bytes into its body.
    pub fn write_to(&self, offset: u64, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Bytes(count) => fill_pattern(offset, *count, out),
        }
    }
}

/// Appends `count` bytes of the pattern that stands for `"bytes": n`: byte `i` of a body is `i % 251`.
///
/// 251 is prime, so that a slice that was lost, doubled or moved changes the body's hash whatever the
/// sizes of its chunks.
pub fn fill_pattern(offset: u64, count: usize, out: &mut Vec<u8>) {
    out.extend((offset..).take(count).map(|i| (i % 251) as u8));
}

impl<'de: 'a, 'a> Deserialize<'de> for Chunk<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields<'a> {
            #[serde(default)]
            after: Span,
            #[serde(borrow)]
            text: Option<Text<'a>>,
            bytes: Option<u64>,
            times: Option<u32>,
        }
        let fields = Fields::deserialize(deserializer)?;
        let content = match (fields.text, fields.bytes) {
            (Some(text), None) => Content::Text(text.0),
            (None, Some(count)) if count <= MOST_BYTES => Content::Bytes(count as usize),
            (None, Some(count)) => {
                return Err(D::Error::custom(format_args!(
                    "bytes is {count}; expected at most {MOST_BYTES}"
                )));
            }
            _ => return Err(D::Error::custom("expected either \"text\" or \"bytes\"")),
        };
        let times = fields.times.unwrap_or(1);
        if times == 0 || (content.len() as u64).saturating_mul(times.into()) > MOST_BYTES {
            return Err(D::Error::custom(format_args!(
                "times is {times}; expected at least 1, and at most {MOST_BYTES} bytes in all"
            )));
        }
        Ok(Self { after: fields.after.0, content, times })
    }
}
