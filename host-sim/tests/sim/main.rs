//! The tests of the host library. They are one binary because each binary has to link wasmtime.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue panics")]

mod abi;
mod guest;
mod layers;
mod module_cache;
mod replay;
mod traces;
