//! The program `sluice`.

use std::process::ExitCode;

/// A replay allocates and frees many small values for each exchange; see `docs/benchmarks.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sluice_cli::main()
}
