//! Rust: the toolchain in use, with the `proxy-wasm` SDK from the registry.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Toolchain;
use crate::install::install;
use crate::module::{self, Builder};
use crate::process::{cargo, command, output_of, run, target};

const WASIP1: &str = "wasm32-wasip1";

/// The specification's guest for a host without WASI.
pub(super) fn provide_unknown() -> Result<Toolchain> {
    unknown("guest")
}

/// The filter that limits rates with the high-level functions of the SDK.
pub(super) fn provide_rate_limit() -> Result<Toolchain> {
    unknown("rate_limit")
}

fn unknown(library: &'static str) -> Result<Toolchain> {
    let builder = module::builder()?;
    let version = match builder {
        Builder::Rustup => version("rustc"),
        Builder::Debian => version(module::DEBIAN_RUSTC),
    };
    let compile = move |folder: &Path, module: &Path| {
        let manifest = folder.join("Cargo.toml").display().to_string();
        let options = ["--manifest-path", &manifest, "--target", module::TRIPLE];
        let mut build = match builder {
            Builder::Rustup => cargo("build", options.iter()),
            Builder::Debian => module::debian_cargo(options.iter())?,
        };
        build.args(["--quiet", "--release", "--target-dir"]).arg(artifacts());
        run(build)?;
        publish(module::TRIPLE, library, module)
    };
    Ok(Toolchain { version: version?, compile: Box::new(compile) })
}

/// The specification's guest with WASI.
pub(super) fn provide_wasip1() -> Result<Toolchain> {
    if !module::has_target_for(WASIP1) {
        install(&format!("the Rust target {WASIP1}"), &[&["rustup", "target", "add", WASIP1]])?;
        ensure!(module::has_target_for(WASIP1), "the toolchain in use has no target {WASIP1}");
    }
    let compile = |folder: &Path, module: &Path| {
        let manifest = folder.join("Cargo.toml").display().to_string();
        let options = ["--manifest-path", &manifest, "--target", WASIP1];
        let mut build = cargo("build", options);
        build.args(["--quiet", "--release", "--target-dir"]).arg(artifacts());
        run(build)?;
        publish(WASIP1, "guest", module)
    };
    Ok(Toolchain { version: version("rustc")?, compile: Box::new(compile) })
}

fn version(rustc: &str) -> Result<String> {
    output_of(command(rustc, ["--version", "--verbose"])).context("rustc does not run")
}

/// Outside `target/debug`, so that the guests do not share a lock with the workspace.
fn artifacts() -> std::path::PathBuf {
    target().join("guests/rust")
}

fn publish(triple: &str, library: &str, module: &Path) -> Result<()> {
    let built = artifacts().join(triple).join("release").join(library).with_extension("wasm");
    fs::copy(&built, module).with_context(|| format!("no module at {}", built.display()))?;
    Ok(())
}
