//! Building the module: the filter as one file that a proxy loads.
//!
//! A toolchain for wasm32 is not part of a fresh Rust installation. We add it where rustup can; in
//! a network without rustup's server Debian's packages do, because they carry the sources of the
//! standard library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::debian::BINARYEN;
use crate::shell::{announce, ask, cargo, command, root, run, target};

const TRIPLE: &str = "wasm32-unknown-unknown";
/// Every proxy of a fleet fetches the module and compiles it at start.
const LARGEST: u64 = 300 * 1024;
/// What the compiler may use of wasm beside its first version; every proxy-wasm host has it.
const FEATURES: [&str; 6] = [
    "bulk-memory",
    "multivalue",
    "mutable-globals",
    "nontrapping-float-to-int",
    "reference-types",
    "sign-ext",
];
/// What the optimiser does: takes the control flow apart and puts it together again, then makes it small twice.
const PASSES: [&str; 5] = ["--flatten", "--rereloop", "-Oz", "-Oz", "--strip-debug"];
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Builds the filter to `target/sluice_filter.wasm` and says how large it is.
pub(crate) fn build() -> Result<()> {
    build_as("sluice_filter.wasm", &[])
}

/// Builds a filter that crashes when a request asks for it, for the test of what survives.
pub(crate) fn build_crashing() -> Result<()> {
    build_as("sluice_filter.crash.wasm", &["--features", "crash"])
}

fn build_as(name: &str, features: &[&str]) -> Result<()> {
    let artefacts = artefacts()?;
    let built = if has_target() || add_target() {
        announce(&format!("building {name}"));
        run(cargo(arguments(&artefacts, features)))?;
        artefacts
    } else {
        let artefacts = artefacts.join("build-std");
        build_with_debian(&artefacts, features)?;
        artefacts
    };
    publish(&built.join(TRIPLE).join("wasm/sluice_filter.wasm"), name)
}

/// Whether the toolchain that runs us can compile for wasm32 as it is.
pub(crate) fn has_target() -> bool {
    ask(command("rustc", ["--print", "target-libdir", "--target", TRIPLE]))
        .is_some_and(|folder| Path::new(&folder).is_dir())
}

fn arguments(artefacts: &Path, features: &[&str]) -> Vec<String> {
    let words = ["build", "--quiet", "--package", "sluice-filter", "--lib", "--target", TRIPLE];
    let mut words: Vec<String> = words.map(str::to_owned).into();
    words.extend(features.iter().map(|&word| word.to_owned()));
    words.extend(["--profile", "wasm", "--target-dir"].map(str::to_owned));
    words.push(artefacts.display().to_string());
    words
}

/// Where cargo keeps what it builds, which the environment may place elsewhere.
fn artefacts() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => Ok(root().join(folder)),
        None => Ok(target()),
    }
}

fn add_target() -> bool {
    announce(&format!("adding the {TRIPLE} target to the Rust toolchain (rustup target add)"));
    let added = run(command("rustup", ["target", "add", TRIPLE])).is_ok() && has_target();
    if !added {
        println!("rustup could not add it");
    }
    added
}

/// The way without rustup's server: Debian's compiler builds the standard library from its own
/// sources, and any linker for wasm finishes the module.
fn build_with_debian(artefacts: &Path, features: &[&str]) -> Result<()> {
    let compiler = Path::new("/usr/bin/rustc");
    if !has_debian(compiler) && install_debian().is_err() {
        bail!(
            "no compiler for wasm32: run `rustup target add {TRIPLE}`, or as root on Debian 12 \
             `apt-get install --no-install-recommends {}`",
            DEBIAN.join(" ")
        );
    }
    let linker = linker().context("no linker for wasm32: install Debian's package lld")?;
    announce("building the filter for wasm32 with Debian's compiler");
    let mut build = command("/usr/bin/cargo", arguments(artefacts, features));
    build.arg("-Zbuild-std=std,panic_abort");
    build.arg("--config").arg(format!("target.{TRIPLE}.linker={:?}", linker.display().to_string()));
    build.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", compiler);
    leave_rustup(&mut build);
    run(build)
}

/// Whether Debian's compiler is there with its sources and new enough for the filter.
fn has_debian(compiler: &Path) -> bool {
    let compiler = compiler.display().to_string();
    let Some(sysroot) = ask(command(&compiler, ["--print", "sysroot"])) else {
        return false;
    };
    let version = ask(command(&compiler, ["--version"])).unwrap_or_default();
    let version = version.split_whitespace().nth(1).unwrap_or_default();
    numbers(version) >= numbers(env!("CARGO_PKG_RUST_VERSION"))
        && Path::new(&sysroot).join("lib/rustlib/src/rust/library/std").is_dir()
        && Path::new("/usr/bin/cargo").is_file()
}

pub(crate) fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|number| number.parse().ok()).collect()
}

fn install_debian() -> Result<()> {
    announce(&format!("installing Debian's packages {} (apt-get)", DEBIAN.join(", ")));
    run(command("apt-get", ["update", "-qq"]))?;
    run(command("apt-get", ["install", "-qq", "--no-install-recommends"].into_iter().chain(DEBIAN)))
}

/// The linker that comes with rustup's toolchain, else Debian's.
fn linker() -> Option<PathBuf> {
    let sysroot = ask(command("rustc", ["--print", "sysroot"]))?;
    let version = ask(command("rustc", ["--version", "--verbose"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
    let ours = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/rust-lld");
    let debians = PathBuf::from("/usr/bin/wasm-ld");
    [ours, debians].into_iter().find(|path| path.is_file())
}

/// What rustup and cargo set for the programs they start would lead Debian's back to them.
pub(crate) fn leave_rustup(command: &mut Command) {
    for name in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTDOC", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
}

fn publish(module: &Path, name: &str) -> Result<()> {
    let (bytes, is_small) = match made_small(module) {
        Ok(bytes) => (bytes, true),
        Err(error) => {
            println!("{error:#}; the module works without, but stays a fifth larger");
            let bytes =
                fs::read(module).with_context(|| format!("no module at {}", module.display()))?;
            (bytes, false)
        }
    };
    let size = bytes.len() as u64;
    let place = target().join(name);
    let shown = format!("target/{name}: {:.1} KiB", size as f64 / 1024.0);
    if fs::read(&place).ok().as_deref() != Some(&bytes) {
        fs::create_dir_all(target())?;
        fs::write(&place, bytes).with_context(|| format!("cannot write {}", place.display()))?;
    }
    ensure!(
        size <= LARGEST || !is_small,
        "{shown}, more than the {} KiB that a proxy should have to fetch",
        LARGEST / 1024
    );
    println!("{shown}");
    Ok(())
}

/// The module after Binaryen's optimiser, which sees what the compiler's one does not: repeated code
/// and locals of the stack machine.
fn made_small(module: &Path) -> Result<Vec<u8>> {
    BINARYEN.bring()?;
    let optimiser = BINARYEN.path().context("no wasm-opt")?;
    let small = module.with_extension("small.wasm");
    let mut arguments = PASSES.map(str::to_owned).to_vec();
    arguments.extend(FEATURES.map(|feature| format!("--enable-{feature}")));
    arguments.extend([module, Path::new("-o"), &small].map(|path| path.display().to_string()));
    run(command(&optimiser.display().to_string(), arguments))?;
    Ok(fs::read(&small)?)
}
