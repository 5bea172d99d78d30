//! `cargo xtask test`: everything that must pass before a change is merged, the fastest checks
//! first.

mod checks;
mod tally;

use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::guests::LeftOut;
use crate::process::{announce, cargo, command_line, root, run as run_command};
use crate::{debian, envoy, fuzz, guests, module};
use checks::Checks;
use tally::Tally;

/// The modules of the Envoy tests that must pass on every supported version of Envoy.
const ON_OLDER_ENVOYS: [&str; 13] = [
    "drains",
    "drain_faults",
    "timeouts",
    "bodies",
    "buffering",
    "import",
    "idle_timeouts",
    "event_timeouts",
    "stream_bounds",
    "errors",
    "filter_order",
    "grpc_health",
    "refused_uploads",
];

/// Runs all checks and tests, also after a failure. The last line has the number of tests.
pub(crate) fn run() -> Result<()> {
    module::build()?;
    module::build_crashing()?;
    for package in [
        debian::CHROMIUM,
        debian::ETCD,
        debian::GRPCIO,
        debian::HAPROXY,
        debian::NGINX,
        debian::PROMETHEUS,
    ] {
        package.provide()?;
    }
    let left_out = guests::build()?;
    let names: Vec<_> = left_out.iter().map(|left_out| left_out.guest).collect();
    let suites = suites(&names.join(","))?;
    let Checks { commands, mut skipped } = checks::all();
    skipped.extend(
        left_out
            .into_iter()
            .map(|LeftOut { guest, reason }| format!("{guest} of the guests, because {reason}")),
    );
    let mut failed = Vec::new();
    for check in commands {
        let line = command_line(&check);
        announce(&line);
        if run_command(check).is_err() {
            failed.push(line);
        }
    }
    let mut tally = Tally::default();
    for (name, tests) in suites {
        announce(&name);
        if !tally.add_run(tests)? {
            failed.push(name);
        }
    }
    match fuzz::missing() {
        Some(reason) if !fuzz::is_required() => {
            skipped.push(format!("the fuzz targets, because {reason}"));
        }
        _ => {
            if let Err(error) = fuzz::quick() {
                eprintln!("error: {error:#}");
                failed.push("cargo xtask fuzz --quick".to_owned());
            }
        }
    }
    conclude(&tally, &failed, &skipped)
}

/// All tests on the current Envoy, then some of them on each older version.
fn suites(guests_left_out: &str) -> Result<Vec<(String, Command)>> {
    let mut tests = cargo("test", ["--workspace", "--no-fail-fast"]);
    tests.env("SLUICE_ENVOY", envoy::provide()?);
    tests.env("SLUICE_GUESTS_LEFT_OUT", guests_left_out);
    let mut suites = vec![("all tests".to_owned(), tests)];
    if envoy::from_environment()?.is_some() {
        println!("SLUICE_ENVOY is set: the tests do not run on other versions of Envoy");
        return Ok(suites);
    }
    for module in ON_OLDER_ENVOYS {
        // Without this check, a renamed module would silently test nothing.
        let file = root().join("tests/tests/envoy").join(module).with_extension("rs");
        ensure!(file.is_file(), "{} is missing: correct ON_OLDER_ENVOYS", file.display());
    }
    for version in &envoy::OLDER {
        // With `--workspace`, cargo reuses the dependencies that the first suite has compiled. For
        // one package alone it would select other features and compile them again.
        let mut tests = cargo("test", ["--workspace", "--test", "envoy", "--"]);
        tests.args(ON_OLDER_ENVOYS).env("SLUICE_ENVOY", version.provide()?);
        suites.push((format!("{} on Envoy {}", ON_OLDER_ENVOYS.join(", "), version.number), tests));
    }
    Ok(suites)
}

fn conclude(tally: &Tally, failed: &[String], skipped: &[String]) -> Result<()> {
    println!();
    for reason in skipped {
        println!("Skipped: {reason}.");
    }
    if failed.is_empty() {
        println!("All checks and tests passed.");
    } else {
        println!("Failed: {}.", failed.join("; "));
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("{} of the checks and test runs failed", failed.len()),
    }
}
