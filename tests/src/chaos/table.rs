//! The result of a run as a table and as a sentence.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanCount;

use super::run::Outcome;
use super::verdict::EpochReport;

const HEADER: [&str; 15] = [
    "epoch",
    "drain",
    "old",
    "closed",
    "ended",
    "silent",
    "left",
    "newer",
    "newer closed",
    "requests",
    "failed",
    "by crash",
    "unanswered",
    "learned",
    "counts, too low",
];

impl Outcome {
    /// Whether each epoch closed what it had to close and nothing else, no request failed and no
    /// count was too low.
    pub fn holds(&self) -> bool {
        let is_useful = self.sum(|epoch| epoch.closed) > 0;
        is_useful
            && self.violations.is_empty()
            && self.epochs.iter().all(|epoch| epoch.violations.is_empty())
    }

    fn sum(&self, of: impl Fn(&EpochReport) -> usize) -> usize {
        self.epochs.iter().map(of).sum()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header(HEADER);
        for (index, epoch) in self.epochs.iter().enumerate() {
            table.add_row(row(index + 1, epoch));
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

fn row(number: usize, epoch: &EpochReport) -> [String; HEADER.len()] {
    let count = |count: usize| HumanCount(count as u64).to_string();
    [
        count(number),
        epoch.drain.clone(),
        count(epoch.old),
        count(epoch.closed),
        count(epoch.ended),
        count(epoch.silent),
        count(epoch.left),
        count(epoch.newer),
        count(epoch.newer_closed),
        HumanCount(epoch.requests).to_string(),
        count(epoch.failed),
        count(epoch.crashed),
        HumanCount(epoch.unanswered).to_string(),
        format!("{:.1} s", epoch.learned.as_secs_f64()),
        format!("{}, {}", count(epoch.counts), count(epoch.too_low)),
    ]
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.table())?;
        for (name, growth) in ('a'..).zip(&self.growth) {
            writeln!(f, "{name}: {growth}")?;
        }
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        let verdict = if self.holds() { "Held" } else { "Broken" };
        let late = self.epochs.iter().filter(|epoch| !epoch.violations.is_empty()).count();
        write!(
            f,
            "{verdict}: {} epochs, {} of {} old connections closed, {} left open, {} newer ones \
             closed, {} of {} requests failed, {} of {} counts too low, {late} epochs with a \
             violation",
            self.epochs.len(),
            self.sum(|epoch| epoch.closed),
            self.sum(|epoch| epoch.old),
            self.sum(|epoch| epoch.left),
            self.sum(|epoch| epoch.newer_closed),
            self.sum(|epoch| epoch.failed),
            self.epochs.iter().map(|epoch| epoch.requests).sum::<u64>(),
            self.sum(|epoch| epoch.too_low),
            self.sum(|epoch| epoch.counts)
        )
    }
}
