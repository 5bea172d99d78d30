//! Everything that must hold before a change is good, in the order in which it fails fastest.

mod tally;

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{self, announce, cargo, shown};
use crate::{debian, envoy, module};
use tally::Tally;

/// What must hold on every Envoy that the filter supports: the modules of its tests.
const ON_OLDER_PROXIES: [&str; 7] =
    ["drains", "timeouts", "bodies", "buffering", "import", "idle_timeouts", "errors"];

/// Runs every check to its end, then says what failed; the last line counts the tests.
pub(crate) fn run() -> Result<()> {
    module::build()?;
    module::build_crashing()?;
    for package in [debian::ETCD, debian::HAPROXY, debian::NGINX, debian::PROMETHEUS] {
        package.bring()?;
    }
    let suites = suites()?;
    let mut broken = Vec::new();
    for check in checks() {
        let name = shown(&check);
        announce(&name);
        if shell::run(check).is_err() {
            broken.push(name);
        }
    }
    let mut tally = Tally::default();
    for (name, tests) in suites {
        announce(&name);
        if !tally.add_run(tests)? {
            broken.push(name);
        }
    }
    conclude(&tally, &broken)
}

/// All tests on the current Envoy, then those that must hold on older ones.
fn suites() -> Result<Vec<(String, Command)>> {
    let mut tests = cargo(["test", "--workspace", "--no-fail-fast"]);
    tests.env("SLUICE_ENVOY", envoy::bring()?);
    let mut suites = vec![("every test".to_owned(), tests)];
    if envoy::named()?.is_some() {
        println!("only on the Envoy that SLUICE_ENVOY names, not on the older ones");
        return Ok(suites);
    }
    for version in &envoy::OLDER {
        // The whole workspace is named so that cargo uses what it has built: for one package alone it
        // would choose other features of the dependencies and build them anew.
        let mut tests = cargo(["test", "--workspace", "--test", "envoy", "--"]);
        tests.args(ON_OLDER_PROXIES).env("SLUICE_ENVOY", version.bring()?);
        suites.push((
            format!("drains, limits, errors and bodies on Envoy {}", version.number),
            tests,
        ));
    }
    Ok(suites)
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
