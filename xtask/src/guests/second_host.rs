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
        let mut compiler = Self::provided();
        if compiler.version() < MINIMUM_RUST && debian::RUSTC.renew().is_ok() {
            compiler = Self::provided();
        }
        ensure!(
            compiler.version() >= MINIMUM_RUST,
            "proxy-wasm-host needs Rust 1.96, and Debian's rustc-web is {:?}; run \
             `rustup toolchain install 1.96` and `cargo +1.96 xtask test`",
            output_of(compiler.rustc()).unwrap_or_default()
        );
        Ok(compiler)
    }

    /// Debian's compiler, which was installed or unpacked.
    fn provided() -> Self {
        let unpacked = target().join(debian::RUSTC.folder);
        Self::Debian(if unpacked.join("usr/bin/rustc").exists() { unpacked } else { "/".into() })
    }

    fn version(&self) -> [u32; 2] {
        let version = output_of(self.rustc()).unwrap_or_default();
        let numbers = version.split(|c: char| !c.is_ascii_digit());
        let mut numbers = numbers.filter_map(|number| number.parse().ok());
        [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)]
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
