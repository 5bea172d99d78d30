//! The restarts side by side, in Markdown, so that the table can go into a document as it is.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanCount;

use super::account::Kind;
use super::rolling::Outcome;

const HEADER: [&str; 12] = [
    "restarted by",
    "requests",
    "failed",
    "looking",
    "blind",
    "HTTP/2",
    "a drain",
    "reconnects",
    "at peak",
    "p50, p99",
    "drains",
    "each took",
];

/// The table of these runs.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(HEADER);
    for outcome in outcomes {
        table.add_row(row(outcome));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn row(outcome: &Outcome) -> [String; HEADER.len()] {
    let accounts = &outcome.accounts;
    let count = |count: usize| HumanCount(count as u64).to_string();
    let failed = |kind| count(accounts.of(kind).failed());
    let latency = accounts.merged(|account| &account.latency);
    let milliseconds = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
    let reconnects = accounts.reconnects();
    let drains = outcome.drains.len();
    let each = outcome.drains.iter().sum::<Duration>().div_f64(drains.max(1) as f64);
    [
        outcome.way.name().to_owned(),
        HumanCount(accounts.requests()).to_string(),
        count(accounts.failed()),
        failed(Kind::Looking),
        failed(Kind::Blind),
        failed(Kind::Http2),
        format!("{:.1}", accounts.failed() as f64 / drains.max(1) as f64),
        count(reconnects.len()),
        format!("{}/s", count(busiest_second(&reconnects))),
        format!("{:.1}, {:.1} ms", milliseconds(0.5), milliseconds(0.99)),
        count(drains),
        format!("{:.1} s", each.as_secs_f64()),
    ]
}

/// How many of the moments lie within the second that holds most of them.
fn busiest_second(moments: &[Duration]) -> usize {
    let within = |&first: &Duration| {
        let end = first + Duration::from_secs(1);
        moments.partition_point(|&moment| moment < end)
            - moments.partition_point(|&moment| moment < first)
    };
    moments.iter().map(within).max().unwrap_or(0)
}
