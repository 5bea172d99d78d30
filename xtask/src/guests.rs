//! Builds the guests in `tests/guests`: small filters in the languages that people use. The tests
//! run them on Envoy and on the simulator.
//!
//! A toolchain that is missing is downloaded to `target/`. If that is not possible, the guests in
//! that language are left out, and a line says so; with `SLUICE_REQUIRE_GUESTS=1`, which CI sets,
//! it is an error. A module is compiled again only if its sources or its toolchain have changed.

mod assemblyscript;
mod c;
mod go;
mod rust;
mod second_host;

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::process::{announce, root, target};
use crate::sha256;

/// The variable that makes a missing toolchain an error.
const REQUIRED: &str = "SLUICE_REQUIRE_GUESTS";

/// A guest that cannot be built on this machine.
pub(crate) struct LeftOut {
    pub(crate) guest: &'static str,
    /// The reason, one sentence without the period.
    pub(crate) reason: String,
}

/// A guest: a module that is compiled from a folder.
struct Guest {
    name: &'static str,
    /// The folder in `tests`.
    sources: &'static str,
    /// The path of the compiled file in `target`.
    output: &'static str,
    /// Makes sure that the toolchain exists.
    provide: fn() -> Result<Toolchain>,
}

/// A toolchain that can compile a guest.
struct Toolchain {
    /// Changes if the toolchain changes.
    version: String,
    compile: Box<Compile>,
}

/// Compiles the sources in a folder to a module.
type Compile = dyn Fn(&Path, &Path) -> Result<()>;

const GUESTS: [Guest; 7] = [
    Guest::module("c", "guests/c", "guests/c.wasm", c::provide),
    Guest::module("go", "guests/go", "guests/go.wasm", go::provide),
    Guest::module(
        "assemblyscript",
        "guests/assemblyscript",
        "guests/assemblyscript.wasm",
        assemblyscript::provide,
    ),
    Guest::module("rust", "guests/rust", "guests/rust.wasm", rust::provide_unknown),
    Guest::module("rust-wasip1", "guests/rust", "guests/rust-wasip1.wasm", rust::provide_wasip1),
    Guest::module(
        "rate-limit",
        "guests/rate-limit",
        "guests/rate-limit.wasm",
        rust::provide_rate_limit,
    ),
    // A host for the guests, not a guest; the same rules apply to its compiler.
    Guest::module("second-host", "second-host", "guests/second-host", second_host::provide),
];

/// Builds all guests to `target/guests`; returns those that cannot be built here.
///
/// # Errors
/// If a guest does not compile, or if one is left out although all are required.
pub(crate) fn build() -> Result<Vec<LeftOut>> {
    let is_required = env::var_os(REQUIRED).is_some_and(|value| !value.is_empty() && value != "0");
    let mut left_out = Vec::new();
    for guest in &GUESTS {
        match (guest.provide)() {
            Ok(toolchain) => guest.build(&toolchain)?,
            Err(reason) if is_required => {
                return Err(reason.context(format!(
                    "{} cannot be built, and {REQUIRED} requires it",
                    guest.name
                )));
            }
            Err(reason) => {
                println!("{} is left out: {reason:#}.", guest.name);
                left_out.push(LeftOut { guest: guest.name, reason: format!("{reason:#}") });
            }
        }
    }
    Ok(left_out)
}

impl Guest {
    const fn module(
        name: &'static str,
        sources: &'static str,
        output: &'static str,
        provide: fn() -> Result<Toolchain>,
    ) -> Self {
        Self { name, sources, output, provide }
    }

    #[expect(clippy::disallowed_methods, reason = "a compilation takes real time")]
    fn build(&self, toolchain: &Toolchain) -> Result<()> {
        let sources = root().join("tests").join(self.sources);
        let place = target().join(self.output);
        let shown = format!("target/{}", self.output);
        fs::create_dir_all(place.parent().expect("a file is in a folder"))?;
        let key_file = place.with_extension("key");
        let key = key(&sources, &toolchain.version)?;
        if place.is_file() && fs::read_to_string(&key_file).is_ok_and(|known| known == key) {
            println!("{shown}: cached");
            return Ok(());
        }
        announce(&format!("compiling {shown}"));
        let begin = Instant::now();
        // Another process may read the file.
        let next = place.with_extension("next");
        (toolchain.compile)(&sources, &next)
            .with_context(|| format!("{} does not compile", self.name))?;
        fs::rename(&next, &place).context("the compiler wrote no file")?;
        fs::write(&key_file, key)?;
        let size = fs::metadata(&place)?.len() as f64 / 1024.0;
        let seconds = begin.elapsed().as_secs_f64();
        println!("{shown}: {size:.1} KiB, compiled in {seconds:.1} s");
        Ok(())
    }
}

/// A hash over the sources and the version of the toolchain.
fn key(sources: &Path, version: &str) -> Result<String> {
    let mut content = version.as_bytes().to_vec();
    for path in files(sources)? {
        let name = path.strip_prefix(sources).unwrap_or(&path).display().to_string();
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for part in [name.as_bytes(), &bytes] {
            content.extend((part.len() as u64).to_le_bytes());
            content.extend(part);
        }
    }
    Ok(sha256::of_bytes(&content))
}

/// The files in a folder and its subfolders, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(self::files(&path)?),
            false => files.push(path),
        }
    }
    files.sort();
    Ok(files)
}

/// The sources of a language: the files of `folder` with this extension.
fn sources(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = files(folder)?;
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    if files.is_empty() {
        bail!("{} has no .{extension} files", folder.display());
    }
    Ok(files)
}
