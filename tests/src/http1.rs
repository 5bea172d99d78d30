//! HTTP/1.1 on plain sockets.
//!
//! [`message`] decodes messages without I/O; every part of the harness that reads HTTP/1.1 uses it.
//! [`Reader`] feeds it from a blocking socket, and [`Client`] sends requests and reads their
//! responses. A library client would hide what the tests check: where chunks begin, whether a body
//! ended or was cut, which interim responses came first.

mod client;
pub mod message;
mod reader;

pub use client::{Client, Response};
pub use reader::{Body, Reader};
