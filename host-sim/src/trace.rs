//! A trace: what happens to a proxy over time, and what its clients and upstreams should see.
//!
//! A trace is a JSON Lines file with one event on each line. It can be written by hand, generated,
//! cut with `head` and compared with `diff`. Its events are in the order of time, so it can be read
//! while it is replayed. A mistake is reported as `file:7: field: what was expected`.
//!
//! Events borrow from the text of their line, so reading a line allocates little more than the
//! event.
//!
//! ```text
//! reader   an input → owned events, one after the other      whole   a text → all its events
//!      └──────────────► owned ──► read (Lines) ◄──────────────────────┘
//!                                 parses a line, and checks the rules between lines
//! ```

#![allow(missing_docs, reason = "a field whose name says everything has no comment")]

mod ahead;
mod body;
mod checker;
mod data;
mod error;
mod event;
mod expect;
mod json;
mod line;
mod list;
mod message;
mod names;
mod owned;
mod read;
mod reader;
mod text;
mod whole;

pub(crate) use ahead::ReadAhead;
pub use body::{Body, Chunk, Content, MAX_BODY_BYTES, body_len, fill_pattern};
pub use checker::LineChecker;
pub use data::Data;
pub use error::{FieldError, ReadError, TraceError};
pub use event::{
    AttemptEnd, Close, ClusterResponse, ConnectionIndex, Event, EventKind, Exchange, Headers, Open,
    Protocol, Request, SharedData, UpstreamAttempt,
};
pub use expect::{Bound, ConfigureExpect, EndedBy, Expect, Outcome, TrapExpect, UpstreamExpect};
pub(crate) use json::parse as parse_json;
pub use message::{is_control, is_target, is_token};
pub use owned::{OwnedEvent, OwnedExchange};
pub use reader::TraceReader;
pub use text::{Text, parse_time};
pub(crate) use text::{duration, optional_duration, optional_time};
pub use whole::Trace;
