//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/`, with the nightly compiler.
//!
//! The targets are those of `cargo fuzz`, which can run them too. This command needs no further
//! program: the manifest has the compiler options that instrument our crates, and only ours, so that
//! wasmtime is compiled without them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::process::{announce, command, output_of, root, run, target};

/// The time of each target in `--quick`.
const QUICK_SECONDS: u32 = 10;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Target to run; all without it
    target: Option<String>,
    /// Seconds for each target, after its corpus
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// Ten seconds for each target, after its corpus
    #[arg(long, conflicts_with = "seconds")]
    quick: bool,
}

pub(crate) fn execute(options: &Options) -> Result<()> {
    let seconds = if options.quick { QUICK_SECONDS } else { options.seconds };
    let all = targets()?;
    let chosen = match &options.target {
        None => all,
        Some(name) => {
            ensure!(
                all.contains(name),
                "unknown target {name}, expected one of {}",
                all.join(", ")
            );
            vec![name.clone()]
        }
    };
    build()?;
    chosen.iter().try_for_each(|name| fuzz(name, seconds))
}

/// Runs the corpus of each target, and the target for ten seconds.
pub(crate) fn quick() -> Result<()> {
    execute(&Options { target: None, seconds: QUICK_SECONDS, quick: true })
}

/// Why the targets cannot run on this machine.
pub(crate) fn missing() -> Option<String> {
    let version = output_of(command("rustup", ["run", "nightly", "cargo", "--version"]));
    version.is_none().then(|| {
        "there is no nightly compiler; install it with `rustup toolchain install nightly`"
            .to_owned()
    })
}

/// Whether the targets must run, as in CI.
pub(crate) fn is_required() -> bool {
    std::env::var_os("SLUICE_REQUIRE_FUZZ").is_some_and(|value| value == "1")
}

fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        let name =
            path.file_stem().and_then(|name| name.to_str()).context("a target has a name")?;
        names.push(name.to_owned());
    }
    names.sort();
    Ok(names)
}

fn artifacts() -> PathBuf {
    target().join("fuzz")
}

fn build() -> Result<()> {
    if let Some(reason) = missing() {
        anyhow::bail!("{reason}");
    }
    announce("building the fuzz targets");
    let mut build = command("rustup", ["run", "nightly", "cargo", "build", "--quiet", "--locked"]);
    build.args(["--release", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"]);
    build.arg(artifacts());
    run(build)
}

/// Runs one target. libFuzzer runs the committed corpus first, and writes what it finds elsewhere.
fn fuzz(name: &str, seconds: u32) -> Result<()> {
    announce(&format!("fuzzing {name} for {seconds} s"));
    let found = artifacts().join("corpus").join(name);
    let failures = artifacts().join("failures").join(name);
    let committed = root().join("fuzz/corpus").join(name);
    for folder in [&found, &failures, &committed] {
        fs::create_dir_all(folder)?;
    }
    let program = artifacts().join("release").join(name);
    let mut fuzzer =
        command(&program.display().to_string(), [format!("-max_total_time={seconds}")]);
    fuzzer.args(["-timeout=20", "-rss_limit_mb=2048", "-max_len=65536", "-verbosity=0"]);
    fuzzer.arg(format!("-artifact_prefix={}/", failures.display()));
    fuzzer.args([found, committed]);
    run(fuzzer).with_context(|| {
        format!("the fuzz target {name} failed; its input is in {}", failures.display())
    })
}
