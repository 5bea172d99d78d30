//! A trace: what happens to a proxy over time, and what its clients and upstreams should see.
//!
//! A trace is a JSON Lines file with one event on each line. It can be written by hand, generated,
//! cut with `head` and compared with `diff`. The whole file is read and checked before any event
//! runs. The first mistake is reported as `file:7: field: what was expected`.
//!
//! Events borrow from the text of the trace, so reading a line allocates little more than the
//! event.

#![allow(missing_docs, reason = "a field whose name says everything has no comment")]

mod body;
mod data;
mod error;
mod event;
mod expect;
mod json;
mod line;
mod message;
mod read;
mod text;

pub use body::{Body, Chunk, Content, MAX_BODY_BYTES, body_len, fill_pattern};
pub use data::Data;
pub use error::{FieldError, TraceError};
pub use event::{
    AttemptEnd, Close, ClusterResponse, ConnectionIndex, Event, EventKind, Exchange, Headers, Open,
    Protocol, Request, SharedData, UpstreamAttempt,
};
pub use expect::{Bound, ConfigureExpect, EndedBy, Expect, Outcome, TrapExpect, UpstreamExpect};
pub(crate) use json::parse as parse_json;
pub use message::{is_control, is_target, is_token};
pub use read::Trace;
pub use text::{Text, parse_time};
pub(crate) use text::{duration, optional_duration, optional_time};
