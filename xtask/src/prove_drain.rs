//! `cargo xtask prove-drain`: provides the proxies, then runs the program `prove-drain` of the
//! tests.

use anyhow::{Context, Result};

use crate::process::{self, cargo};
use crate::{debian, envoy, module, nginx};

/// Runs `prove-drain` with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    module::build()?;
    let envoy = envoy::provide()?;
    for package in [debian::HAPROXY, debian::NGINX] {
        package.provide()?;
    }
    nginx::provide()?;
    // Without `--package`, cargo reuses the dependencies that the tests have compiled.
    let program = ["--quiet", "--bin", "prove-drain", "--"].map(str::to_owned);
    let mut proof = cargo("run", program.iter().chain(arguments));
    proof.env("SLUICE_ENVOY", envoy);
    process::run(proof).context("prove-drain failed")
}
