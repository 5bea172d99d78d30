//! One request and its response, from the request headers to the end of the stream.
//!
//! A [`Stream`] keeps what later callbacks need, because a host no longer has the request when the
//! response arrives. Every callback takes the state of the VM and the host. `request` and
//! `response` decide, `replied` receives uploads that the filter replies to, and `report` reports
//! what was decided.

mod replied;
mod report;
mod request;
mod response;
mod state;

pub use request::{RequestDecision, decide_request};
pub use state::{Action, Stream};
