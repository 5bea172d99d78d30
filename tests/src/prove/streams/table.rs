//! Compares restart methods in a Markdown table, as it appears in the documentation.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanCount;

use super::Outcome;

const COLUMNS: [&str; 8] = [
    "restart method",
    "drains",
    "streams cut",
    "ended at a boundary",
    "completions",
    "completions lost",
    "requests failed",
    "mean drain",
];

/// One row for each run.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(COLUMNS);
    for outcome in outcomes {
        table.add_row(row(outcome));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn row(outcome: &Outcome) -> [String; COLUMNS.len()] {
    let count = |count: usize| HumanCount(count as u64).to_string();
    let cut = outcome.streams.cut();
    let drains = &outcome.drains;
    let total: f64 = drains.iter().map(Duration::as_secs_f64).sum();
    [
        outcome.method.name().to_owned(),
        count(drains.len()),
        count(cut.at_boundary + cut.torn),
        count(cut.at_boundary),
        count(outcome.streams.completions),
        count(outcome.streams.lost),
        count(outcome.clients.failed()),
        format!("{:.1} s", total / drains.len().max(1) as f64),
    ]
}
