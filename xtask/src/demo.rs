//! `cargo xtask demo`: replays a short day of a service against the module that a proxy would load.

use std::thread;

use anyhow::{Context, Result};

use crate::module;
use crate::process::{announce, cargo, run};

const CONFIGURATION: &str = "tests/traces/tour.config.json";
// Without `--package`, cargo compiles the dependencies with the features that the tests use.
const PROGRAM: [&str; 2] = ["--bin", "sluice"];
const TRACE: &str = "tests/traces/tour.jsonl";

/// Builds the module and the program `sluice`, then replays the tour.
pub(crate) fn replay_tour() -> Result<()> {
    module::prepare()?;
    // Run both builds at the same time, because the end of each keeps only one core busy. They use
    // different folders.
    let module = thread::spawn(module::build);
    let program = build_program();
    module.join().expect("building the module does not panic")?;
    program?;
    announce(&format!("sluice replay --all --config {CONFIGURATION} {TRACE}"));
    let replay = ["--quiet", "--", "replay", "--all", "--config", CONFIGURATION, TRACE];
    run(cargo("run", PROGRAM.into_iter().chain(replay))).context("the demo failed")?;
    println!("The demo passed. Change {CONFIGURATION} and run `cargo xtask demo` again.");
    Ok(())
}

fn build_program() -> Result<()> {
    announce("building the program sluice; the first build takes a few minutes");
    run(cargo("build", PROGRAM))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::process::{cargo, output_of};

    /// Lines with the name, version and features of each dependency.
    fn dependencies(options: &[&str]) -> BTreeSet<String> {
        let format = ["--offline", "--prefix", "none", "--no-dedupe", "--format", "{p} {f}"];
        let tree =
            output_of(cargo("tree", format.iter().chain(options))).expect("cargo tree works");
        tree.lines().map(str::to_owned).collect()
    }

    fn package(line: &str) -> Vec<&str> {
        line.split(' ').take(2).collect()
    }

    /// If the features differ, `cargo test` compiles wasmtime again after the demo.
    #[test]
    fn demo_and_tests_compile_the_same_dependencies() {
        let program = dependencies(&["--package", "sluice-cli", "--edges", "no-dev"]);
        let packages = program.iter().map(|line| package(line)).collect::<BTreeSet<_>>();
        let demo = dependencies(&["--workspace", "--edges", "no-dev"]);
        let tests = dependencies(&["--workspace", "--edges", "normal,build,dev"]);
        let mut differences = demo.difference(&tests);
        let difference = differences.find(|line| packages.contains(&package(line)));
        assert_eq!(difference, None, "a dev-dependency enables other features of this package");
    }
}
