//! Shared by the tests and benchmarks of several packages: generated configurations and traces, the
//! built module, and the program `sluice` as a child process. It depends on no other package, so
//! every package can use it.
//!
//! Everything that needs sockets or a real Envoy is in `sluice-tests`.

pub mod inputs;
pub mod program;
pub mod trace;
