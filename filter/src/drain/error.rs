//! Why bytes are not a drain record or a command.

use super::epoch::EpochTooHigh;
use crate::config::{ConfigError, Problem};

/// The largest record that is read, in bytes.
pub const MAX_RECORD: usize = 1024 * 1024;

/// Why bytes are not a drain record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Longer than [`MAX_RECORD`].
    #[error("the drain record has {found} bytes; expected at most {MAX_RECORD}")]
    TooLarge {
        /// Bytes.
        found: usize,
    },
    /// Not UTF-8.
    #[error("the drain record is not valid UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("the drain record is {0}")]
    NotJson(Box<Problem>),
    /// A field is missing or invalid.
    #[error("invalid drain record: {0}")]
    Invalid(ConfigError),
    /// The epoch is too high.
    #[error("the drain record is ignored: {0}")]
    Epoch(EpochTooHigh),
}
