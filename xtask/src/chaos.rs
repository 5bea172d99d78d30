//! `cargo xtask chaos`: provides the proxies, etcd and the module that crashes on request, then
//! runs the program `chaos` of the tests.

use anyhow::{Context, Result};

use crate::process::{self, cargo};
use crate::{debian, envoy, module};

/// Runs `chaos` with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    module::build_crashing()?;
    let envoy = envoy::provide()?;
    debian::ETCD.provide()?;
    // Without `--package`, cargo reuses the dependencies that the tests have compiled.
    let program = ["--quiet", "--bin", "chaos", "--"].map(str::to_owned);
    let mut chaos = cargo("run", program.iter().chain(arguments));
    chaos.env("SLUICE_ENVOY", envoy);
    process::run(chaos).context("chaos failed")
}
