//! What tests and benchmarks of several packages share: generated configurations and traces, the built
//! module, and the program `sluice` as a child process. It depends on no other package, so every package can use it.

pub mod inputs;
pub mod program;
pub mod trace;
