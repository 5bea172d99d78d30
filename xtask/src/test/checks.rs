//! The checks other than tests: formatting, lints, documentation, packages and dependencies.

use std::process::Command;

use crate::process::{cargo, cargo_path, command};
use crate::{deny, module};

pub(super) struct Checks {
    pub(super) commands: Vec<Command>,
    /// Why a check cannot run on this machine, one sentence each, without the period.
    pub(super) skipped: Vec<String>,
}

/// All checks, in the order in which they run.
pub(super) fn all() -> Checks {
    let mut commands = vec![command(&cargo_path(), ["fmt", "--all", "--check"])];
    let mut skipped = Vec::new();
    match deny::provide() {
        Ok(program) => {
            commands.push(deny::policy_check(&program));
            match deny::advisories_check(&program) {
                Ok(check) => commands.push(check),
                Err(reason) => {
                    skipped.push(format!("the check for advisories, because {reason:#}"))
                }
            }
        }
        Err(reason) => skipped.push(format!("cargo deny, because {reason:#}")),
    }
    commands.push(package());
    commands.push(clippy(&["--workspace", "--all-targets"]));
    // Code for wasm32 alone is not part of the native check. Debian's compiler has no clippy.
    if module::has_target() {
        commands.push(clippy(&["--package", "sluice-filter", "--target", module::TRIPLE]));
    } else {
        skipped.push("clippy for wasm32, because this toolchain has no such target".to_owned());
    }
    commands.push(documentation());
    Checks { commands, skipped }
}

fn clippy(selection: &[&str]) -> Command {
    let options = ["--quiet"].iter().chain(selection);
    cargo("clippy", options.chain(&["--", "-D", "warnings"]))
}

/// Builds the documentation of the libraries. `--workspace` selects the same features as clippy
/// does; the dependencies are then not checked again.
fn documentation() -> Command {
    let mut doc = cargo("doc", ["--quiet", "--workspace", "--no-deps", "--lib"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    doc
}

/// Packages the crates that others can use. It does not compile them again from the packages: that
/// would compile wasmtime once more.
fn package() -> Command {
    let crates = ["--package", "sluice-filter", "--package", "sluice-sim"];
    let options = ["--quiet", "--offline", "--allow-dirty", "--no-verify"];
    cargo("package", options.iter().chain(&crates))
}
