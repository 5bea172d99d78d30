//! C: Debian's clang and wasi-libc.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Toolchain, sources};
use crate::debian;
use crate::process::{command, output_of, run, target};

pub(super) fn provide() -> Result<Toolchain> {
    debian::CLANG.provide()?;
    let clang = clang();
    let version = output_of(clang_command(&clang, &["--version"])).context("clang does not run")?;
    let compile = move |folder: &Path, module: &Path| {
        // `reactor` exports `_initialize`, which a host calls before any callback.
        let mut options = vec!["--target=wasm32-wasi", "-mexec-model=reactor", "-O1", "-Wall"];
        options.extend(["-Werror", "-Wl,--allow-undefined"]);
        let mut compiler = clang_command(&clang, &options);
        compiler.arg(format!("--sysroot={}", sysroot().display()));
        compiler.args(sources(folder, "c")?).arg("-o").arg(module);
        run(compiler)
    };
    Ok(Toolchain { version, compile: Box::new(compile) })
}

/// The compiler that `SLUICE_CLANG` names, else Debian's.
fn clang() -> PathBuf {
    let named = std::env::var_os("SLUICE_CLANG").map(PathBuf::from);
    named.unwrap_or_else(|| debian_root().join("usr/bin/clang"))
}

/// The folder of wasi-libc.
fn sysroot() -> PathBuf {
    let named = std::env::var_os("SLUICE_WASI_SYSROOT").map(PathBuf::from);
    named.unwrap_or_else(|| debian_root().join("usr"))
}

/// `/` if the packages are installed, else the folder to which they are unpacked.
fn debian_root() -> PathBuf {
    let unpacked = target().join(debian::CLANG.folder);
    if unpacked.join("usr/bin/clang").exists() { unpacked } else { PathBuf::from("/") }
}

fn clang_command(clang: &Path, options: &[&str]) -> std::process::Command {
    let mut command = command(&clang.display().to_string(), options);
    // The libraries of unpacked packages.
    let libraries = debian_root().join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    command.env("LD_LIBRARY_PATH", libraries);
    command
}
