//! Everything that must hold before a change is good, in the order in which it fails fastest.

mod tally;

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{self, announce, cargo, shown};
use crate::{envoy, module};
use tally::Tally;

/// Runs every check to its end, then says what failed; the last line counts the tests.
pub(crate) fn run() -> Result<()> {
    module::build()?;
    let envoy = envoy::bring()?;
    let mut broken = Vec::new();
    for check in checks() {
        let name = shown(&check);
        announce(&name);
        if shell::run(check).is_err() {
            broken.push(name);
        }
    }
    let mut tests = cargo(["test", "--workspace", "--no-fail-fast"]);
    tests.env("SLUICE_ENVOY", envoy);
    announce(&shown(&tests));
    let (tally, ran) = Tally::of(tests)?;
    if !ran {
        broken.push("cargo test".to_owned());
    }
    conclude(&tally, &broken)
}

fn checks() -> Vec<Command> {
    let mut checks = vec![
        cargo(["fmt", "--all", "--check"]),
        cargo(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ];
    // The filter's shell is compiled for wasm32 alone; Debian's compiler brings no clippy for it.
    if module::has_target() {
        let target = ["--target", "wasm32-unknown-unknown", "--", "-D", "warnings"];
        checks
            .push(cargo(["clippy", "--quiet", "--package", "sluice-filter"].iter().chain(&target)));
    }
    checks
}

fn conclude(tally: &Tally, broken: &[String]) -> Result<()> {
    println!();
    if broken.is_empty() {
        println!("Formatting, lints and every test are good.");
    } else {
        println!("Not good: {}.", broken.join("; "));
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    match broken.is_empty() {
        true => Ok(()),
        false => bail!("{} of the checks failed", broken.len()),
    }
}
