//! A trace: what happens to a proxy over time, one event a line, and what its clients should see.
//!
//! Traces are JSON Lines so that they can be written by hand, generated, cut with `head` and compared
//! with `diff`. A whole file is read and checked before any of it runs: a mistake on line 7 of 10 is
//! reported as `file:7: field: what was expected`, and nothing is half-run.
//!
//! The events borrow from the text that they were read from; reading a line allocates little more than
//! the event itself.

mod body;
mod check;
mod event;
mod expect;
mod message;
mod text;

pub use body::{Body, Chunk, Content, MOST_BYTES, fill_pattern};
pub use check::TraceError;
pub use event::{
    Close, ConnectionIndex, End, Event, Exchange, Headers, Kind, Open, Protocol, Request, Respond,
    SharedData, Upstream, body_len,
};
pub use expect::{Bound, ConfigureExpect, EndedBy, Expect, Outcome, UpstreamExpect};
pub use message::{is_control, is_target, is_token};
pub use text::{Span, Text};

/// A trace that was read and checked.
#[derive(Debug)]
pub struct Trace<'a> {
    /// The name that error messages and reports use, usually the file's.
    pub name: String,
    /// The events, in the order of their time.
    pub events: Vec<Event<'a>>,
    /// The names of the connections that the events speak of, by [`ConnectionIndex`]; a request
    /// without a connection has one of its own, which is named after the request.
    pub connections: Vec<String>,
}

impl<'a> Trace<'a> {
    /// Reads `text`, one JSON object a line; empty lines are skipped.
    ///
    /// # Errors
    /// The first mistake, with its line and field.
    pub fn parse(name: &str, text: &'a str) -> Result<Self, TraceError> {
        check::trace(name, text)
    }
}
