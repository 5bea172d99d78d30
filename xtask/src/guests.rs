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
    /// The name of the module.
    name: &'static str,
    /// The folder in `tests/guests`.
    folder: &'static str,
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

const GUESTS: [Guest; 6] = [
    Guest { name: "c", folder: "c", provide: c::provide },
    Guest { name: "go", folder: "go", provide: go::provide },
    Guest { name: "assemblyscript", folder: "assemblyscript", provide: assemblyscript::provide },
    Guest { name: "rust", folder: "rust", provide: rust::provide_unknown },
    Guest { name: "rust-wasip1", folder: "rust", provide: rust::provide_wasip1 },
    Guest { name: "rate-limit", folder: "rate-limit", provide: rust::provide_rate_limit },
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
                    "the guest {} cannot be built, and {REQUIRED} requires it",
                    guest.name
                )));
            }
            Err(reason) => {
                println!("The guest {} is left out: {reason:#}.", guest.name);
                left_out.push(LeftOut { guest: guest.name, reason: format!("{reason:#}") });
            }
        }
    }
    Ok(left_out)
}

impl Guest {
    #[expect(clippy::disallowed_methods, reason = "a compilation takes real time")]
    fn build(&self, toolchain: &Toolchain) -> Result<()> {
        let sources = root().join("tests/guests").join(self.folder);
        let folder = target().join("guests");
        fs::create_dir_all(&folder)?;
        let place = folder.join(self.name).with_extension("wasm");
        let key_file = place.with_extension("key");
        let key = key(&sources, &toolchain.version)?;
        if place.is_file() && fs::read_to_string(&key_file).is_ok_and(|known| known == key) {
            println!("target/guests/{}.wasm: cached", self.name);
            return Ok(());
        }
        announce(&format!("compiling target/guests/{}.wasm", self.name));
        let begin = Instant::now();
        // Another process may read the module.
        let next = folder.join(self.name).with_extension("next");
        (toolchain.compile)(&sources, &next)
            .with_context(|| format!("the guest {} does not compile", self.name))?;
        fs::rename(&next, &place).context("the compiler wrote no module")?;
        fs::write(&key_file, key)?;
        let size = fs::metadata(&place)?.len() as f64 / 1024.0;
        println!(
            "target/guests/{}.wasm: {size:.1} KiB, compiled in {:.1} s",
            self.name,
            begin.elapsed().as_secs_f64()
        );
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
