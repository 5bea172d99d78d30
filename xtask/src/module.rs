//! Builds the module: the filter as one WebAssembly file that a proxy loads.
//!
//! A fresh Rust installation cannot compile for wasm32. rustup adds the target if it can reach its
//! server. Otherwise Debian's packages provide a compiler and the sources of the standard library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::install::install;
use crate::process::{announce, cargo, command, output_of, root, run, target};

pub(crate) const TRIPLE: &str = "wasm32-unknown-unknown";
/// Every proxy of a fleet fetches the module and compiles it when it starts.
pub(crate) const SIZE_LIMIT_KIB: u64 = 450;
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Builds `target/sluice_filter.wasm` and prints its size.
pub(crate) fn build() -> Result<()> {
    build_as("sluice_filter.wasm", &[])
}

/// Builds a module that panics when a request has the header `x-crash`. Tests use it.
pub(crate) fn build_crashing() -> Result<()> {
    build_as("sluice_filter.crash.wasm", &["--features", "crash"])
}

fn build_as(name: &str, features: &[&str]) -> Result<()> {
    let builder = builder()?;
    announce(&format!("building target/{name}"));
    let artifacts = artifacts();
    let artifacts = match builder {
        Builder::Rustup => artifacts,
        Builder::Debian => artifacts.join("build-std"),
    };
    let options = ["--quiet", "--package", "sluice-filter", "--lib", "--target", TRIPLE];
    let options = options.iter().chain(&["--profile", "wasm"]).chain(features);
    match builder {
        Builder::Rustup => run(finish(cargo("build", options), &artifacts))?,
        Builder::Debian => run(finish(debian_cargo(options)?, &artifacts))?,
    }
    publish(&artifacts.join(TRIPLE).join("wasm/sluice_filter.wasm"), name)
}

/// Adds the options that both toolchains take.
fn finish(mut build: Command, artifacts: &Path) -> Command {
    let flags =
        remapped_paths().iter().map(|flag| format!("{flag:?}")).collect::<Vec<_>>().join(",");
    build.arg("--config").arg(format!("target.{TRIPLE}.rustflags=[{flags}]"));
    build.arg("--target-dir").arg(artifacts);
    build
}

/// Compiler options that replace the paths of this machine, which the messages of panics contain.
/// The module is then the same on every machine.
fn remapped_paths() -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let sources = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let folders = sources.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let registry = folders.map(|folder| (folder, "registry".to_owned()));
    registry
        .chain(standard_library())
        .map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()))
        .collect()
}

/// The sources of the standard library, if installed, and the path that a compiler without them
/// writes.
fn standard_library() -> Option<(PathBuf, String)> {
    let sysroot = output_of(command("rustc", ["--print", "sysroot"]))?;
    let version = output_of(command("rustc", ["--version", "--verbose"]))?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "))?;
    Some((Path::new(&sysroot).join("lib/rustlib/src/rust"), format!("/rustc/{commit}")))
}

/// The folder in which cargo builds. The environment can place it outside the repository.
fn artifacts() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(target, |folder| root().join(folder))
}

/// A toolchain that can compile for wasm32.
#[derive(Clone, Copy)]
pub(crate) enum Builder {
    /// The toolchain in use, with the wasm32 target.
    Rustup,
    /// Debian's compiler, which builds the standard library from its sources.
    Debian,
}

/// Makes sure that a compiler for wasm32 is installed.
pub(crate) fn prepare() -> Result<()> {
    builder().map(drop)
}

/// A toolchain that can compile for wasm32. Installs one if there is none.
pub(crate) fn builder() -> Result<Builder> {
    if has_target() {
        return Ok(Builder::Rustup);
    }
    let rustup = ["rustup", "target", "add", TRIPLE];
    let added = install(&format!("the Rust target {TRIPLE}"), &[&rustup]);
    let Err(reason) = added.and_then(|()| {
        ensure!(has_target(), "the toolchain in use has no target {TRIPLE}");
        Ok(())
    }) else {
        return Ok(Builder::Rustup);
    };
    if !has_debian_compiler() {
        let update = ["apt-get", "update", "-qq"];
        let packages = ["apt-get", "install", "-qq", "--no-install-recommends"];
        let packages = [&packages[..], &DEBIAN_PACKAGES].concat();
        let installed = install("Debian's Rust compiler", &[&update, &packages]);
        if installed.is_err() || !has_debian_compiler() {
            bail!(
                "{reason:#}; or, as root on Debian 12, run `apt-get install \
                 --no-install-recommends {}`",
                DEBIAN_PACKAGES.join(" ")
            );
        }
    }
    Ok(Builder::Debian)
}

/// Whether the toolchain in use can compile for wasm32.
pub(crate) fn has_target() -> bool {
    has_target_for(TRIPLE)
}

/// Whether the toolchain in use can compile for a target.
pub(crate) fn has_target_for(triple: &str) -> bool {
    output_of(command("rustc", ["--print", "target-libdir", "--target", triple]))
        .is_some_and(|folder| Path::new(&folder).is_dir())
}

/// Whether Debian's compiler is installed with its sources and is new enough for the filter.
fn has_debian_compiler() -> bool {
    let Some(sysroot) = output_of(command(DEBIAN_RUSTC, ["--print", "sysroot"])) else {
        return false;
    };
    compiler_version(DEBIAN_RUSTC) >= version_numbers(env!("CARGO_PKG_RUST_VERSION"))
        && Path::new(&sysroot).join("lib/rustlib/src/rust/library/std").is_dir()
        && Path::new(DEBIAN_CARGO).is_file()
}

/// A build with Debian's toolchain.
pub(crate) fn debian_cargo<'a>(options: impl Iterator<Item = &'a &'a str>) -> Result<Command> {
    let linker = linker().context("no linker for wasm32; install Debian's package lld")?;
    let mut cargo = command(DEBIAN_CARGO, ["build", "--locked", "-Zbuild-std=std,panic_abort"]);
    cargo.args(options);
    cargo.arg("--config").arg(format!("target.{TRIPLE}.linker={:?}", linker.display().to_string()));
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", DEBIAN_RUSTC);
    remove_rustup_environment(&mut cargo);
    Ok(cargo)
}

/// The linker of rustup's toolchain, else Debian's.
fn linker() -> Option<PathBuf> {
    let sysroot = output_of(command("rustc", ["--print", "sysroot"]))?;
    let version = output_of(command("rustc", ["--version", "--verbose"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
    let rustup = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/rust-lld");
    let debian = PathBuf::from("/usr/bin/wasm-ld");
    [rustup, debian].into_iter().find(|path| path.is_file())
}

/// Removes the variables that rustup and cargo set. With them, Debian's cargo would start the
/// compiler of rustup's toolchain.
pub(crate) fn remove_rustup_environment(command: &mut Command) {
    for name in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTDOC", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
}

/// The version that a compiler prints; empty if the compiler does not run.
pub(crate) fn compiler_version(rustc: &str) -> Vec<u32> {
    let version = output_of(command(rustc, ["--version"])).unwrap_or_default();
    version_numbers(version.split_whitespace().nth(1).unwrap_or_default())
}

fn version_numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|number| number.parse().ok()).collect()
}

fn publish(module: &Path, name: &str) -> Result<()> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let size = bytes.len() as f64 / 1024.0;
    let place = target().join(name);
    // Tests that run at the same time must not see the file disappear.
    if fs::read(&place).ok().as_deref() != Some(&bytes) {
        fs::create_dir_all(target())?;
        fs::write(&place, bytes).with_context(|| format!("cannot write {}", place.display()))?;
    }
    println!("target/{name}: {size:.1} KiB");
    ensure!(
        size <= SIZE_LIMIT_KIB as f64,
        "target/{name}: expected at most {SIZE_LIMIT_KIB} KiB, found {size:.1} KiB"
    );
    Ok(())
}
