//! Closing connections so that nobody loses a request: which ones, and when.
//!
//! A [`Record`] says what the whole process drains; it only ever moves to a higher epoch. A [`Worker`] is what one VM knows of it, and decides
//! for each connection. The [`spread`] gives every connection its own moment, so that a fleet does not reconnect at once. Whoever wants a drain
//! says so in a [`Command`]: the configuration, an operator, or a [`store`] that a [`Poller`] asks.

pub mod command;
pub mod poller;
pub mod record;
pub mod spread;
pub mod store;
mod watermark;
mod worker;

pub use command::Command;
pub use poller::Poller;
pub use record::{Record, RecordError};
pub use worker::{Look, Standing, Worker};

/// The key of the [`Record`] in shared data.
pub const RECORD_KEY: &str = "sluice.drain";

/// The key in shared data of the highest connection that was known when an epoch was learned.
pub const WATERMARK_KEY: &str = "sluice.drain.watermark";
