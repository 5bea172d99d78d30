//! The watermark in shared data: the highest connection id that existed when a drain started.
//!
//! Workers keep the watermark in memory. The copy in shared data is for the VM that replaces a
//! crashed one. Without the copy, that VM would treat every connection as new and close none of the
//! old ones.

use serde::Serialize;

use crate::config::{Epoch, Fields, Place, UnixMs, parse_json};

/// The longest watermark that is read, in bytes.
const MAX_WATERMARK: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Watermark {
    pub(super) epoch: u64,
    pub(super) connection: u64,
}

impl Watermark {
    /// `None` for bytes that are not a watermark: the caller overwrites them.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_WATERMARK)?;
        let node = parse_json(text).ok()?;
        let fields = Fields::tolerant(&node, &Place::Root).ok()?;
        Some(Self {
            epoch: fields.required::<Epoch>("epoch").ok()?.value(),
            // A connection id has the same range as a time: whole numbers that JSON keeps exactly.
            connection: fields.required::<UnixMs>("connection").ok()?.value(),
        })
    }

    pub(super) fn to_json(self) -> String {
        serde_json::to_string(&self).unwrap_or_default()
    }
}
