//! The host library against small hand-written guests: every callback and every host call of ABI
//! 0.2.1, with each status that its text documents. Where Envoy differs from the text, a test's name
//! says how.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod exchange;
mod guest;
