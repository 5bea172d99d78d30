//! The proof that a drain loses nothing: brings the real parts, then hands over to the program that
//! starts them and counts.

use anyhow::{Context, Result};

use crate::shell::{self, cargo};
use crate::{debian, envoy, module};

/// Runs the program `prove-drain` of the tests with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    module::build()?;
    let envoy = envoy::bring()?;
    for package in [debian::HAPROXY, debian::NGINX] {
        package.bring()?;
    }
    // Without a package's name cargo uses what the tests have built, see `test`.
    let program = ["run", "--quiet", "--bin", "prove-drain", "--"].map(str::to_owned);
    let mut proof = cargo(program.iter().chain(arguments));
    proof.env("SLUICE_ENVOY", envoy);
    shell::run(proof).context("the proof failed")
}
