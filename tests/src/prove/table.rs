//! Compares restart methods in a Markdown table, as it appears in the documentation.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanCount;

use super::client_stats::ClientKind;
use super::rolling::Outcome;

/// A figure in which restart methods compete; lower is better.
struct Figure {
    name: &'static str,
    of: fn(&Outcome) -> f64,
    show: fn(f64) -> String,
}

const FIGURES: [Figure; 6] = [
    Figure {
        name: "failed per drain",
        of: |outcome| per_drain(outcome, outcome.clients.failed() as f64),
        show: |count| format!("{count:.1}"),
    },
    Figure {
        name: "reconnects per drain",
        of: |outcome| per_drain(outcome, outcome.clients.reconnects().len() as f64),
        show: |count| format!("{count:.0}"),
    },
    Figure {
        name: "peak",
        of: |outcome| busiest_second(&outcome.clients.reconnects()) as f64,
        show: |count| format!("{count:.0}/s"),
    },
    Figure { name: "p50", of: |outcome| latency(outcome, 0.5), show: milliseconds },
    Figure { name: "p99", of: |outcome| latency(outcome, 0.99), show: milliseconds },
    Figure {
        name: "mean drain",
        of: |outcome| per_drain(outcome, outcome.drains.iter().map(Duration::as_secs_f64).sum()),
        show: |seconds| format!("{seconds:.1} s"),
    },
];

/// One row for each run. Figures that are better than those of the first run are bold.
pub fn table(outcomes: &[Outcome]) -> String {
    let counts = ["restart method", "requests", "drains", "failed", "checking", "blind", "HTTP/2"];
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(counts.into_iter().chain(FIGURES.map(|figure| figure.name)));
    for outcome in outcomes {
        let figures = FIGURES.map(|figure| cell(&figure, outcome, &outcomes[0]));
        table.add_row(counts_of(outcome).into_iter().chain(figures));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn cell(Figure { of, show, .. }: &Figure, outcome: &Outcome, first: &Outcome) -> String {
    let (text, first_text) = (show(of(outcome)), show(of(first)));
    match of(outcome) < of(first) && text != first_text {
        true => format!("**{text}**"),
        false => text,
    }
}

fn counts_of(outcome: &Outcome) -> [String; 7] {
    let clients = &outcome.clients;
    let count = |count: usize| HumanCount(count as u64).to_string();
    let failed = |kind| count(clients.of(kind).failed());
    [
        outcome.method.name().to_owned(),
        HumanCount(clients.requests()).to_string(),
        count(outcome.drains.len()),
        count(clients.failed()),
        failed(ClientKind::Checking),
        failed(ClientKind::Blind),
        failed(ClientKind::Http2),
    ]
}

fn per_drain(outcome: &Outcome, total: f64) -> f64 {
    total / outcome.drains.len().max(1) as f64
}

fn latency(outcome: &Outcome, quantile: f64) -> f64 {
    let all = outcome.clients.merged(|client| &client.latency);
    all.value_at_quantile(quantile) as f64 / 1000.0
}

fn milliseconds(value: f64) -> String {
    format!("{value:.1} ms")
}

/// The largest number of times within one second.
fn busiest_second(times: &[Duration]) -> usize {
    let within = |&first: &Duration| {
        let end = first + Duration::from_secs(1);
        times.partition_point(|&time| time < end) - times.partition_point(|&time| time < first)
    };
    times.iter().map(within).max().unwrap_or(0)
}
