//! The host library against small hand-written guests: every callback and every host call of ABI
//! 0.2.1, with each status that its text documents. Where Envoy differs from the text, a test's name
//! says how.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod buffers;
mod calls;
mod endings;
mod exchange;
mod guest;
mod headers;
mod hostile;
mod lifecycle;
mod live;
mod loading;
mod metrics;
mod pausing;
mod properties;
mod replies;
mod shared;
mod system;
mod tcp;
