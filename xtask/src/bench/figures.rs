//! Figures by name, as benchmarks print them that are not criterion's: a name and a number on each line.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::shell::{cargo, shown};

/// What a benchmark printed.
pub(super) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Runs a bench target of a package.
    pub(super) fn of(package: &str, bench: &str) -> Result<Figures> {
        Figures::from(cargo(["bench", "--quiet", "--package", package, "--bench", bench]))
    }

    /// Runs a command.
    pub(super) fn from(mut command: Command) -> Result<Figures> {
        let shown = shown(&command);
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot start `{shown}`"))?;
        ensure!(output.status.success(), "`{shown}` failed ({})", output.status);
        let printed = String::from_utf8_lossy(&output.stdout);
        let lines = printed.lines().map(|line| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        });
        let figures = lines.collect::<Option<_>>();
        figures.map(Figures).with_context(|| {
            format!("`{shown}` should print a name and a number on each line, found {printed:?}")
        })
    }

    /// The figure of this name.
    pub(super) fn figure(&self, name: &str) -> Result<f64> {
        self.0.get(name).copied().with_context(|| format!("the benchmark has measured no {name}"))
    }
}
