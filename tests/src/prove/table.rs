//! Compares restart methods in a Markdown table, as it appears in the documentation.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanCount;

use super::client_stats::ClientKind;
use super::rolling::Outcome;

const HEADER: [&str; 12] = [
    "restart method",
    "requests",
    "failed",
    "checking",
    "blind",
    "HTTP/2",
    "per drain",
    "reconnects",
    "peak",
    "p50, p99",
    "drains",
    "mean drain",
];

/// One row for each run.
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
    let clients = &outcome.clients;
    let count = |count: usize| HumanCount(count as u64).to_string();
    let failed = |kind| count(clients.of(kind).failed());
    let latency = clients.merged(|client| &client.latency);
    let milliseconds = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
    let reconnects = clients.reconnects();
    let drains = outcome.drains.len();
    let mean = outcome.drains.iter().sum::<Duration>().div_f64(drains.max(1) as f64);
    [
        outcome.method.name().to_owned(),
        HumanCount(clients.requests()).to_string(),
        count(clients.failed()),
        failed(ClientKind::Checking),
        failed(ClientKind::Blind),
        failed(ClientKind::Http2),
        format!("{:.1}", clients.failed() as f64 / drains.max(1) as f64),
        count(reconnects.len()),
        format!("{}/s", count(busiest_second(&reconnects))),
        format!("{:.1}, {:.1} ms", milliseconds(0.5), milliseconds(0.99)),
        count(drains),
        format!("{:.1} s", mean.as_secs_f64()),
    ]
}

/// The largest number of times within one second.
fn busiest_second(times: &[Duration]) -> usize {
    let within = |&first: &Duration| {
        let end = first + Duration::from_secs(1);
        times.partition_point(|&time| time < end) - times.partition_point(|&time| time < first)
    };
    times.iter().map(within).max().unwrap_or(0)
}
