//! Our host library against another one. The other needs a newer compiler than ours, so the comparison is a package of its own and
//! runs only where there is one.

use std::process::Command;

use anyhow::Result;

use super::figures::Figures;
use crate::module::{leave_rustup, numbers};
use crate::shell::{announce, ask, cargo, command};

const NEEDS: [u32; 2] = [1, 96];

/// Runs the comparison; `None` where no compiler can build it, which is then said.
pub(super) fn measure() -> Result<Option<Figures>> {
    let Some(compare) = program() else {
        println!(
            "No comparison with proxy-wasm-host, which needs Rust 1.96: get it by `rustup toolchain install 1.96` and run `cargo \
             +1.96 xtask bench`, or on Debian 12 by `apt-get install rustc-web cargo-web`."
        );
        return Ok(None);
    };
    announce("comparing with proxy-wasm-host (the first time, two wasmtimes are compiled)");
    Figures::from(compare).map(Some)
}

/// The comparison, run by the toolchain that runs us, or else by the distribution's.
fn program() -> Option<Command> {
    let words = ["run", "--quiet", "--release", "--manifest-path", "bench-compare/Cargo.toml"];
    if is_new_enough("rustc") {
        return Some(cargo(words));
    }
    let rustc = "/usr/bin/rustc";
    is_new_enough(rustc).then(|| {
        let mut cargo = command("/usr/bin/cargo", words);
        cargo.env("RUSTC", rustc);
        leave_rustup(&mut cargo);
        cargo
    })
}

fn is_new_enough(rustc: &str) -> bool {
    let version = ask(command(rustc, ["--version"])).unwrap_or_default();
    numbers(version.split_whitespace().nth(1).unwrap_or_default()) >= NEEDS.to_vec()
}
