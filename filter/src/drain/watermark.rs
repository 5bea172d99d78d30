//! The highest connection that was known when an epoch was learned, as it stands in shared data.
//!
//! Workers remember their own; this copy is for the VM that replaces a crashed one, which would otherwise take every connection for a
//! new one and close none of the old.

use crate::config::{Epoch, Fields, Place, UnixMs, parse_json};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Watermark {
    pub(super) epoch: u64,
    pub(super) connection: u64,
}

impl Watermark {
    /// `None` for anything that is not a watermark: there is nothing to learn from it then, and it is overwritten.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= 1024)?;
        let node = parse_json(text).ok()?;
        let fields = Fields::tolerant(&node, &Place::Root).ok()?;
        Some(Self {
            epoch: fields.required::<Epoch>("epoch").ok()?.value(),
            // A count of connections has the limits of any whole number in JSON.
            connection: fields.required::<UnixMs>("connection").ok()?.value(),
        })
    }

    pub(super) fn to_json(self) -> String {
        format!("{{\"epoch\":{},\"connection\":{}}}", self.epoch, self.connection)
    }
}
