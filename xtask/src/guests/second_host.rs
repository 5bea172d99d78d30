//! The program that runs the guests in `proxy-wasm-host`. That crate needs a newer Rust than the
//! workspace; Debian's package `rustc-web` has it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Toolchain;
use crate::debian;
use crate::module::{compiler_version, remove_rustup_environment};
use crate::process::{cargo, command, output_of, run, target};

const MINIMUM_RUST: [u32; 2] = [1, 96];

pub(super) fn provide() -> Result<Toolchain> {
    let compiler = Compiler::provide()?;
    let version = output_of(compiler.rustc()).context("the compiler does not run")?;
    let compile = move |folder: &Path, program: &Path| {
        let artifacts = target().join("second-host");
        let mut build = compiler.cargo();
        build.arg("--manifest-path").arg(folder.join("Cargo.toml"));
        build.args(["--quiet", "--release", "--target-dir"]).arg(&artifacts);
        run(build)?;
        std::fs::copy(artifacts.join("release/second-host"), program)?;
        Ok(())
    };
    Ok(Toolchain { version, compile: Box::new(compile) })
}

/// A compiler that is new enough.
enum Compiler {
    /// The toolchain in use.
    InUse,
    /// Debian's, installed or unpacked to this folder.
    Debian(PathBuf),
}

impl Compiler {
    fn provide() -> Result<Self> {
        if compiler_version("rustc") >= MINIMUM_RUST.to_vec() {
            return Ok(Self::InUse);
        }
        debian::RUSTC.provide()?;
        let unpacked = target().join(debian::RUSTC.folder);
        let root = if unpacked.join("usr/bin/rustc").exists() { unpacked } else { "/".into() };
        let compiler = Self::Debian(root);
        let version = output_of(compiler.rustc()).unwrap_or_default();
        let mut numbers =
            version.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        let found = [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)];
        ensure!(
            found >= MINIMUM_RUST,
            "proxy-wasm-host needs Rust 1.96, and Debian's rustc-web is {version:?}; run \
             `rustup toolchain install 1.96` and `cargo +1.96 xtask test`"
        );
        Ok(compiler)
    }

    fn rustc(&self) -> std::process::Command {
        self.program("rustc", &["--version"])
    }

    fn cargo(&self) -> std::process::Command {
        match self {
            Self::InUse => cargo::<&str>("build", []),
            Self::Debian(root) => {
                let mut cargo = self.program("cargo", &["build", "--locked"]);
                cargo.env("RUSTC", root.join("usr/bin/rustc"));
                cargo
            }
        }
    }

    fn program(&self, name: &str, arguments: &[&str]) -> std::process::Command {
        let Self::Debian(root) = self else { return command(name, arguments) };
        let program = root.join("usr/bin").join(name);
        let mut command = command(&program.display().to_string(), arguments);
        remove_rustup_environment(&mut command);
        // The libraries of unpacked packages.
        let libraries = root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
        command.env("LD_LIBRARY_PATH", libraries);
        command
    }
}
