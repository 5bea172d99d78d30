//! Runs criterion benchmarks several times and reads the medians from criterion's files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::median;
use crate::process::{announce, cargo, command_line, run, target};

const ROUNDS: usize = 3;

/// The nanoseconds of each benchmark of a bench target, for each round.
pub(super) struct Rounds(Vec<BTreeMap<String, f64>>);

impl Rounds {
    /// Runs a bench target of a package.
    pub(super) fn of(package: &str, bench: &str) -> Result<Rounds> {
        announce(&format!("building the benchmarks of {package}"));
        let selection = ["--package", package, "--bench", bench];
        run(cargo("bench", ["--quiet", "--no-run"].iter().chain(&selection)))?;
        let figures = target().join("bench/criterion").join(package);
        let rounds = (1..=ROUNDS).map(|round| {
            announce(&format!("running the benchmarks of {package}, round {round} of {ROUNDS}"));
            let options = ["--", "--noplot", "--warm-up-time", "0.3", "--measurement-time", "1"];
            let selection = ["--quiet"].iter().chain(&selection);
            let mut bench = cargo("bench", selection.chain(&options));
            // The files have all figures. The output is needed only if the run fails.
            let output = bench.env("CRITERION_HOME", &figures).output()?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "`{}` failed:\n{errors}", command_line(&bench));
            let mut medians = BTreeMap::new();
            collect_medians(&figures, &figures, &mut medians)?;
            Ok(medians)
        });
        Ok(Rounds(rounds.collect::<Result<_>>()?))
    }

    /// The median over the rounds.
    pub(super) fn nanoseconds(&self, id: &str) -> Result<f64> {
        let figures = self.0.iter().map(|round| figure(round, id));
        Ok(median(figures.collect::<Result<_>>()?))
    }

    /// The time of benchmark `id` divided by that of `base`; the median of the ratios of the
    /// rounds.
    pub(super) fn ratio(&self, id: &str, base: &str) -> Result<f64> {
        let ratios = self.0.iter().map(|round| Ok(figure(round, id)? / figure(round, base)?));
        Ok(median(ratios.collect::<Result<_>>()?))
    }
}

fn figure(round: &BTreeMap<String, f64>, id: &str) -> Result<f64> {
    round.get(id).copied().with_context(|| format!("criterion has no figure for {id}"))
}

/// Reads the estimates below `folder`. The path of a benchmark, relative to `root`, is its id.
fn collect_medians(root: &Path, folder: &Path, medians: &mut BTreeMap<String, f64>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let estimates = path.join("new/estimates.json");
        if estimates.is_file() {
            let id = path.strip_prefix(root).expect("the folder is below the root");
            medians.insert(id.display().to_string(), read_median(&estimates)?);
        } else {
            collect_medians(root, &path, medians)?;
        }
    }
    Ok(())
}

fn read_median(path: &Path) -> Result<f64> {
    let estimates: Value = serde_json::from_slice(&fs::read(path)?)?;
    estimates["median"]["point_estimate"]
        .as_f64()
        .with_context(|| format!("{}: expected the number median.point_estimate", path.display()))
}
