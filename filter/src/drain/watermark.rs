//! The watermark in shared data: the highest connection id that existed when a drain started.
//!
//! The first VM that learns an epoch writes its watermark, and every other VM adopts it. All VMs,
//! also those that start later, therefore agree on which connections are old.

use serde::Serialize;

use super::connections::MAX_CONNECTION;
use crate::config::{Epoch, Fields, Node, Place, parse_json};

/// The longest watermark that is read, in bytes.
const MAX_WATERMARK: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Watermark {
    pub(super) epoch: u64,
    /// `None`: the process had no connection.
    pub(super) connection: Option<u64>,
}

impl Watermark {
    /// `None` for bytes that are not a watermark: the caller overwrites them.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_WATERMARK)?;
        let node = parse_json(text).ok()?;
        let fields = Fields::tolerant(&node, &Place::Root).ok()?;
        let epoch = fields.required::<Epoch>("epoch").ok()?.value();
        let connection = match fields.node("connection")? {
            Node::Unsigned(id @ ..=MAX_CONNECTION) => Some(*id),
            Node::Null => None,
            _ => return None,
        };
        Some(Self { epoch, connection })
    }

    pub(super) fn to_json(self) -> String {
        serde_json::to_string(&self).unwrap_or_default()
    }
}
