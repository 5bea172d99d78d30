//! Runs benchmarks that print figures: a name and a number on each line.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::process::{cargo, command_line};

/// The figures that a benchmark printed, by name.
pub(super) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Runs a bench target of a package.
    pub(super) fn of_bench(package: &str, bench: &str) -> Result<Figures> {
        Figures::of(cargo("bench", ["--quiet", "--package", package, "--bench", bench]))
    }

    /// Runs a command that prints figures.
    pub(super) fn of(mut command: Command) -> Result<Figures> {
        let line = command_line(&command);
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot start `{line}`"))?;
        ensure!(output.status.success(), "`{line}` failed ({})", output.status);
        let printed = String::from_utf8_lossy(&output.stdout);
        let figures = printed.lines().map(|line| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        });
        let figures = figures.collect::<Option<_>>();
        figures.map(Figures).with_context(|| {
            format!("`{line}`: expected a name and a number on each line, found {printed:?}")
        })
    }

    pub(super) fn get(&self, name: &str) -> Result<f64> {
        self.0.get(name).copied().with_context(|| format!("the benchmark printed no {name}"))
    }
}
