//! Closing connections so that nobody loses a request: which ones, and when.
//!
//! A [`Record`] says what the whole process drains; it only ever moves to a higher epoch. A [`Worker`] is what one VM knows of it, and decides
//! for each connection. The [`spread`] gives every connection its own moment, so that a fleet does not reconnect at once.

pub mod record;
pub mod spread;
mod watermark;
mod worker;

pub use record::{Record, RecordError};
pub use worker::{Look, Worker};

/// The key of the [`Record`] in shared data.
pub const RECORD_KEY: &str = "sluice.drain";

/// The key in shared data of the highest connection that was known when an epoch was learned.
pub const WATERMARK_KEY: &str = "sluice.drain.watermark";
