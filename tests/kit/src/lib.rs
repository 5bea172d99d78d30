//! Shared by the tests and benchmarks of several packages: generated configurations and traces, the
//! built module, the program `sluice` as a child process, the functions that guests import, and
//! which files import each other. It depends on no other package of the workspace, so every package
//! can use it.
//!
//! Everything that needs sockets or a real Envoy is in `sluice-tests`.

pub mod host_functions;
pub mod imports;
pub mod inputs;
pub mod program;
pub mod trace;
