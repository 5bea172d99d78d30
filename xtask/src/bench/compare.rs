//! Compares the host library with proxy-wasm-host. That crate needs a newer compiler than Sluice;
//! the comparison is therefore a package outside the workspace and optional.

use std::process::Command;

use anyhow::Result;

use super::figures::Figures;
use crate::module::{compiler_version, remove_rustup_environment};
use crate::process::{announce, cargo, command};

const MINIMUM_RUST: [u32; 2] = [1, 96];

/// Runs the comparison. Returns `None`, and prints why, if no compiler can build it.
pub(super) fn measure() -> Result<Option<Figures>> {
    let Some(comparison) = comparison() else {
        println!(
            "No comparison with proxy-wasm-host: it needs Rust 1.96. Run `rustup toolchain install \
             1.96` and `cargo +1.96 xtask bench`, or on Debian 12 `apt-get install rustc-web \
             cargo-web`."
        );
        return Ok(None);
    };
    announce("comparing with proxy-wasm-host; the first run compiles wasmtime twice");
    Figures::of(comparison).map(Some)
}

/// The comparison, run by the toolchain in use or by Debian's.
fn comparison() -> Option<Command> {
    let options = ["--quiet", "--release", "--manifest-path", "bench-compare/Cargo.toml"];
    if is_new_enough("rustc") {
        return Some(cargo("run", options));
    }
    let rustc = "/usr/bin/rustc";
    is_new_enough(rustc).then(|| {
        let mut cargo = command("/usr/bin/cargo", ["run", "--locked"].iter().chain(&options));
        cargo.env("RUSTC", rustc);
        remove_rustup_environment(&mut cargo);
        cargo
    })
}

fn is_new_enough(rustc: &str) -> bool {
    compiler_version(rustc) >= MINIMUM_RUST.to_vec()
}
