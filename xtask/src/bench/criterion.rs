//! Running the criterion benchmarks in turns, and reading the medians that criterion writes down.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::median;
use crate::shell::{announce, cargo, run, shown, target};

/// How often everything is measured.
const ROUNDS: usize = 3;

/// Nanoseconds of each benchmark of a bench target, round by round.
pub(super) struct Rounds(Vec<BTreeMap<String, f64>>);

impl Rounds {
    /// Runs a bench target of a package.
    pub(super) fn of(package: &str, bench: &str) -> Result<Rounds> {
        announce(&format!("building the benchmarks of {package}"));
        let select = ["--package", package, "--bench", bench];
        run(cargo(["bench", "--quiet", "--no-run"].iter().chain(&select)))?;
        let figures = target().join("bench/criterion").join(package);
        let rounds = (1..=ROUNDS).map(|round| {
            announce(&format!("measuring {package}, round {round} of {ROUNDS}"));
            let options = ["--", "--noplot", "--warm-up-time", "0.3", "--measurement-time", "1"];
            let mut benches = cargo(["bench", "--quiet"].iter().chain(&select).chain(&options));
            // Criterion says much, and everything that counts stands in its files.
            let output = benches.env("CRITERION_HOME", &figures).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "`{}` failed:\n{said}", shown(&benches));
            let mut medians = BTreeMap::new();
            collect(&figures, &figures, &mut medians)?;
            Ok(medians)
        });
        Ok(Rounds(rounds.collect::<Result<_>>()?))
    }

    /// The median over the rounds.
    pub(super) fn nanoseconds(&self, id: &str) -> Result<f64> {
        let figures = self.0.iter().map(|round| figure(round, id));
        Ok(median(figures.collect::<Result<_>>()?))
    }

    /// How many times as long as `to` the benchmark `of` takes; the median of the rounds' ratios.
    pub(super) fn ratio(&self, of: &str, to: &str) -> Result<f64> {
        let ratios = self.0.iter().map(|round| Ok(figure(round, of)? / figure(round, to)?));
        Ok(median(ratios.collect::<Result<_>>()?))
    }
}

fn figure(round: &BTreeMap<String, f64>, id: &str) -> Result<f64> {
    round.get(id).copied().with_context(|| format!("the benchmarks have measured no {id}"))
}

/// Finds the estimates, each in a folder named after its benchmark.
fn collect(root: &Path, folder: &Path, medians: &mut BTreeMap<String, f64>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let estimates = path.join("new/estimates.json");
        if estimates.is_file() {
            let id = path.strip_prefix(root).expect("it was found below the root");
            medians.insert(id.display().to_string(), estimate(&estimates)?);
        } else {
            collect(root, &path, medians)?;
        }
    }
    Ok(())
}

fn estimate(path: &Path) -> Result<f64> {
    let estimates: Value = serde_json::from_slice(&fs::read(path)?)?;
    estimates["median"]["point_estimate"]
        .as_f64()
        .with_context(|| format!("no median in {}", path.display()))
}
