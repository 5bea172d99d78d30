//! The newest connection of the process, as far as this VM knows, and its copy in shared data.
//!
//! Connection ids increase over the whole process, so one number separates the connections that
//! exist when a drain starts from later ones. A VM publishes each higher id as soon as it sees it.
//! A new VM, after a crash or with a new module, therefore knows which connections are old. Another
//! request on a known connection costs nothing.

use crate::config::{Node, parse_json};

/// The key in shared data of the highest connection id that a VM of the process has seen.
pub const CONNECTIONS_KEY: &str = "sluice.connections";

/// The highest connection id: 2^53 - 1, the largest whole number that JSON keeps exactly.
pub(super) const MAX_CONNECTION: u64 = (1 << 53) - 1;

/// The longest value that is read, in bytes.
const MAX_VALUE: usize = 64;

/// The newest connection of the process, as far as this VM knows.
#[derive(Debug, Default)]
pub(super) struct NewestConnection {
    id: Option<u64>,
    /// Whether the value in shared data may be lower.
    is_unpublished: bool,
}

impl NewestConnection {
    pub(super) fn id(&self) -> Option<u64> {
        self.id
    }

    /// Records a connection that carries a request. Returns whether to publish it.
    pub(super) fn observe(&mut self, connection: u64) -> bool {
        let is_newest = Some(connection) > self.id && connection <= MAX_CONNECTION;
        if is_newest {
            self.id = Some(connection);
            self.is_unpublished = true;
        }
        is_newest
    }

    pub(super) fn is_unpublished(&self) -> bool {
        self.is_unpublished
    }

    /// Adopts the shared value if it is higher. Returns the value to write, if any.
    pub(super) fn exchange(&mut self, shared: Option<&[u8]>) -> Option<String> {
        self.is_unpublished = false;
        let shared = shared.and_then(parse);
        if shared >= self.id {
            self.id = shared;
            return None;
        }
        self.id.map(|id| id.to_string())
    }

    /// Records that the value was not written.
    pub(super) fn keep_unpublished(&mut self) {
        self.is_unpublished = true;
    }
}

/// `None` for bytes that are not a connection id: the caller overwrites them.
fn parse(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_VALUE)?;
    match parse_json(text) {
        Ok(Node::Unsigned(id @ ..=MAX_CONNECTION)) => Some(id),
        _ => None,
    }
}
