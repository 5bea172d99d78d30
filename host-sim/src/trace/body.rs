//! A body in a trace: chunks with the pause before each one, written out or generated.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::text::{Text, duration};

/// The largest body of a trace in bytes, so that a mistake such as `"bytes": 1e12` cannot exhaust
/// the memory.
pub const MAX_BODY_BYTES: u64 = 1 << 30;

/// The chunks of a body, in order.
pub type Body<'a> = Vec<Chunk<'a>>;

/// A chunk that is sent once or several times.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk<'a> {
    /// The pause before each repetition, from the previous chunk or from the headers.
    pub after: Duration,
    pub content: Content<'a>,
    /// The number of repetitions, at least 1.
    pub times: u32,
}

/// The bytes of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// Text that the trace contains.
    Text(Cow<'a, str>),
    /// This number of bytes from [`fill_pattern`].
    Bytes(usize),
}

impl Content<'_> {
    /// The length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(count) => *count,
        }
    }

    /// Whether the length is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the bytes to `out`. The chunk begins at byte `offset` of its body.
    pub fn write_to(&self, offset: u64, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Bytes(count) => fill_pattern(offset, *count, out),
        }
    }
}

/// Appends the `count` bytes at `offset` of a generated body to `out`: byte `i` is `i % 251`.
///
/// 251 is prime, so a lost, repeated or moved slice changes the hash of the body for all sizes of
/// chunks.
pub fn fill_pattern(offset: u64, count: usize, out: &mut Vec<u8>) {
    let mut at = (offset % 251) as usize;
    let mut left = count;
    while left > 0 {
        let length = left.min(PATTERN.len() - at);
        out.extend_from_slice(&PATTERN[at..at + length]);
        left -= length;
        // The table ends with a whole period.
        at = 0;
    }
}

/// Several periods of the pattern.
static PATTERN: [u8; 251 * 16] = {
    let mut pattern = [0; 251 * 16];
    let mut at = 0;
    while at < pattern.len() {
        pattern[at] = (at % 251) as u8;
        at += 1;
    }
    pattern
};

/// The length of a body in bytes.
pub fn body_len(body: &[Chunk<'_>]) -> u64 {
    body.iter().map(|chunk| chunk.content.len() as u64 * u64::from(chunk.times)).sum()
}

impl<'de: 'a, 'a> Deserialize<'de> for Chunk<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, expecting = "a chunk such as {\"text\":\"ok\"}")]
        struct Fields<'a> {
            #[serde(default, deserialize_with = "duration")]
            after: Duration,
            #[serde(borrow)]
            text: Option<Text<'a>>,
            bytes: Option<u64>,
            times: Option<u32>,
        }
        let fields = Fields::deserialize(deserializer)?;
        let content = match (fields.text, fields.bytes) {
            (Some(text), None) => Content::Text(text.0),
            (None, Some(count)) if count <= MAX_BODY_BYTES => Content::Bytes(count as usize),
            (None, Some(count)) => {
                return Err(D::Error::custom(format_args!(
                    "bytes is {count}; expected at most {MAX_BODY_BYTES}"
                )));
            }
            _ => return Err(D::Error::custom("expected either \"text\" or \"bytes\"")),
        };
        let times = fields.times.unwrap_or(1);
        if times == 0 || (content.len() as u64).saturating_mul(times.into()) > MAX_BODY_BYTES {
            return Err(D::Error::custom(format_args!(
                "times is {times}; expected at least 1, and at most {MAX_BODY_BYTES} bytes in total"
            )));
        }
        Ok(Self { after: fields.after, content, times })
    }
}

#[cfg(test)]
mod tests {
    use super::fill_pattern;

    #[test]
    fn pattern_depends_on_the_offset_only() {
        for (offset, count) in [(0, 0), (0, 251), (250, 2), (4000, 10_000), (u64::MAX - 9, 9)] {
            let mut out = Vec::new();
            fill_pattern(offset, count, &mut out);
            let expected = (offset..).take(count).map(|i| (i % 251) as u8);
            assert!(out.iter().copied().eq(expected), "{count} bytes at {offset}");
        }
    }
}
