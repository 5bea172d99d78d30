//! Closes connections without losing a request: which ones, and when.
//!
//! A [`Record`] describes the drain of the whole process; only a record with a higher epoch
//! replaces it. The filter parses a record (`record`, `command`), compares it
//! ([`Record::compare`]), applies it ([`DrainView::merge`]) and reports it (in the VM). [`spread`]
//! gives each connection its own time to close, so that the clients of a fleet do not all reconnect
//! at once. A [`Command`] starts a drain. Commands come from the configuration, from the admin
//! path, or from a control [`store`] that a [`Poller`] reads. A [`Bound`] limits how long the streams of
//! a route may last in a drain.

pub mod bound;
pub mod command;
mod connections;
pub mod epoch;
mod error;
pub mod poller;
pub mod record;
pub mod spread;
pub mod store;
mod view;
mod watermark;

pub use bound::Bound;
pub use command::{Command, CommandOutcome};
pub use connections::CONNECTIONS_KEY;
pub use epoch::EpochTooHigh;
pub use error::{MAX_RECORD, RecordError};
pub use poller::{KeyState, Poller};
pub use record::{DEFAULT_WINDOW_MS, EpochOrdering, Record};
pub use view::{DrainView, Merge};

/// The key of the [`Record`] in shared data.
pub const RECORD_KEY: &str = "sluice.drain";

/// The key in shared data of the highest connection id that existed when the drain started.
pub const WATERMARK_KEY: &str = "sluice.drain.watermark";
