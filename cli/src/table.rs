//! The table that `sluice replay` prints: a row for each exchange, failed expectations below it, and one
//! line at the end that says whether everything held.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Deserialize;
use sluice_sim::replay::{ExchangeReport, Mismatch, Report};
use sluice_sim::trace::Outcome;

use super::check::plural;
use super::style::{Short, Style, printable};

/// Rows beyond this many are left out unless asked for; those with failures never are.
const MOST_ROWS: usize = 100;

/// The longest request that is printed whole.
const WIDEST_REQUEST: usize = 44;

const TITLES: [&str; 9] = [
    "time",
    "connection",
    "request",
    "route",
    "decision",
    "status",
    "first byte",
    "close",
    "expected",
];

/// Prints the tables of all replays.
pub(crate) fn write(
    out: &mut dyn Write,
    replays: &[Report<'_>],
    style: Style,
    all: bool,
) -> io::Result<()> {
    for (index, report) in replays.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        one(out, report, style, all)?;
    }
    if replays.len() > 1 {
        let expected = replays.iter().map(Report::expected).sum();
        let failed = replays.iter().map(|report| report.failures().count()).sum();
        writeln!(out, "\n{} traces: {}", replays.len(), verdict(expected, failed, style))?;
    }
    Ok(())
}

fn one(out: &mut dyn Write, report: &Report<'_>, style: Style, all: bool) -> io::Result<()> {
    let filter = if report.filter { "" } else { ", without a filter" };
    let title = format!(
        "{} workers, seed {}, profile {}{filter}",
        report.workers, report.seed, report.profile
    );
    writeln!(out, "{}  {}", style.strong(report.trace), style.dim(&title))?;

    let rows: Vec<Row> = rows(report, all);
    let mut widths = TITLES.map(str::len);
    for cells in rows.iter().filter_map(|row| row.cells.as_ref()) {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let titles = line(&TITLES.map(str::to_owned), &widths, |_, cell| cell);
    writeln!(out, "{}", style.dim(titles.trim_end()))?;
    for row in &rows {
        match &row.cells {
            Some(cells) => {
                let painted = line(cells, &widths, |column, cell| paint(column, &cell, row, style));
                writeln!(out, "{}", painted.trim_end())?;
            }
            None => {
                let time = format!("{:>width$}", seconds(row.at), width = widths[0]);
                writeln!(out, "{}  {}", style.dim(&time), style.dim(&printable(&row.note)))?;
            }
        }
        for failure in row.failures {
            let Mismatch { field, want, got, .. } = failure;
            let got = if got.is_empty() { "none" } else { got };
            let text = format!("expected {field} {want}, got {got}");
            writeln!(out, "{:>width$}  {}", "", style.bad(&printable(&text)), width = widths[0])?;
        }
    }
    let left_out = report.exchanges.len() - rows.iter().filter(|row| row.exchange).count();
    if left_out > 0 {
        writeln!(out, "{}", style.dim(&format!("… {left_out} more exchanges; --all prints them")))?;
    }
    for log in &report.log {
        let time = format!("{:>width$}", seconds(log.at), width = widths[0]);
        let level = format!("{:?}", log.level).to_lowercase();
        writeln!(
            out,
            "{}  {} {}",
            style.dim(&time),
            style.bad(&level),
            printable(log.text.trim_end())
        )?;
    }
    let (expected, failed) = (report.expected(), report.failures().count());
    let closed = report
        .connections
        .iter()
        .filter(|connection| connection.by == Some(sluice_sim::replay::ClosedBy::Proxy));
    writeln!(
        out,
        "{} exchange{}, {} connection{}, {} closed by the proxy: {}",
        report.exchanges.len(),
        plural(report.exchanges.len()),
        report.connections.len(),
        plural(report.connections.len()),
        closed.count(),
        verdict(expected, failed, style)
    )
}

fn verdict(expected: usize, failed: usize, style: Style) -> String {
    match failed {
        0 if expected == 0 => "nothing was expected".to_owned(),
        0 => style.good(&format!("all {expected} expectations held")),
        _ => style.bad(&format!("{failed} of {expected} expectations did not hold")),
    }
}

struct Row<'r> {
    at: std::time::Duration,
    line: u32,
    /// The cells of an exchange, or of an event that has a time only.
    cells: Option<[String; TITLES.len()]>,
    /// What is printed where there are no cells.
    note: String,
    exchange: bool,
    failures: &'r [Mismatch],
}

fn rows<'r>(report: &'r Report<'_>, all: bool) -> Vec<Row<'r>> {
    let shown =
        |index: usize, failures: &[Mismatch]| all || index < MOST_ROWS || !failures.is_empty();
    let exchanges = report
        .exchanges
        .iter()
        .enumerate()
        .filter(|(index, exchange)| shown(*index, &exchange.failures))
        .map(|(_, exchange)| Row {
            at: exchange.sent,
            line: exchange.line,
            cells: Some(cells(exchange)),
            note: String::new(),
            exchange: true,
            failures: &exchange.failures,
        });
    let configurations = report.configurations.iter().map(|push| {
        let text = match (&push.message, push.accepted) {
            (Some(message), _) => message.clone(),
            (None, true) => "configuration accepted".to_owned(),
            (None, false) => "configuration refused".to_owned(),
        };
        note(push.at, push.line, text, &push.failures)
    });
    let metrics = report.metric_checks.iter().map(|check| {
        let held = check.expected - check.failures.len();
        let sign = if check.failures.is_empty() { "✓" } else { "✗" };
        let text = format!("{sign} {held} of {} metric{}", check.expected, plural(check.expected));
        note(check.at, check.line, text, &check.failures)
    });
    let notes =
        report.notes.iter().map(|other| note(other.at, other.line, other.text.clone(), &[]));
    let mut rows: Vec<Row> = exchanges.chain(configurations).chain(metrics).chain(notes).collect();
    rows.sort_by_key(|row| (row.at, row.line));
    rows
}

fn note(at: std::time::Duration, line: u32, text: String, failures: &[Mismatch]) -> Row<'_> {
    Row { at, line, cells: None, note: text, exchange: false, failures }
}

fn cells(exchange: &ExchangeReport<'_>) -> [String; TITLES.len()] {
    let opening = match exchange.opening {
        0 | 1 => String::new(),
        opening => format!("#{opening}"),
    };
    let held = exchange.expected - exchange.failures.len();
    let expected = match (exchange.expected, exchange.failures.len()) {
        (0, _) => String::new(),
        (all, 0) => format!("✓ {all}"),
        (all, _) => format!("✗ {held} of {all}"),
    };
    [
        seconds(exchange.sent),
        format!("{}{opening}", printable(exchange.connection_name)),
        shortened(&format!("{} {}", exchange.method, exchange.path)),
        exchange.route.as_deref().unwrap_or("-").to_owned(),
        decision(&exchange.decisions),
        status(exchange),
        exchange.first_byte.map_or_else(|| "-".to_owned(), |span| Short(span).to_string()),
        if exchange.closed { "close".to_owned() } else { String::new() },
        expected,
    ]
}

/// The trace's own time, in seconds, as logs have it.
fn seconds(at: std::time::Duration) -> String {
    format!("{}.{:03}", at.as_secs(), at.subsec_millis())
}

fn shortened(text: &str) -> String {
    let text = &printable(text);
    if text.chars().count() <= WIDEST_REQUEST {
        return text.to_owned();
    }
    text.chars().take(WIDEST_REQUEST - 1).chain(['…']).collect()
}

fn status(exchange: &ExchangeReport<'_>) -> String {
    let mut text = exchange.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    match (exchange.end, exchange.ended_by) {
        (Outcome::Complete, _) => {}
        (Outcome::Cut, Some(by)) => text.push_str(&format!(" cut by {by}")),
        (other, _) => text.push_str(&format!(" {other}")),
    }
    match exchange.reason.as_deref() {
        Some(reason) => format!("{text} {}", printable(reason)),
        None => text,
    }
}

/// The filter's decisions in a few words: `stream, 60s`.
fn decision(objects: &[Arc<str>]) -> String {
    #[derive(Deserialize, Default)]
    struct Decision {
        timeout_ms: Option<u64>,
        per_try_ms: Option<u64>,
        attempts: Option<u32>,
        #[serde(default)]
        hold: bool,
        body: Option<String>,
    }
    let mut words = Vec::new();
    for decision in objects.iter().filter_map(|text| serde_json::from_str::<Decision>(text).ok()) {
        let limit = |ms| Short(std::time::Duration::from_millis(ms)).to_string();
        if decision.hold {
            words.push("hold upload".to_owned());
        }
        match decision.timeout_ms {
            Some(0) => words.push("no limit".to_owned()),
            Some(ms) => words.push(limit(ms)),
            None => {}
        }
        if let Some(ms) = decision.per_try_ms {
            words.push(format!("{} a try", limit(ms)));
        }
        if let Some(attempts) = decision.attempts {
            words.push(format!("{attempts} tries"));
        }
        words.extend(decision.body);
    }
    words.join(", ")
}

fn line(
    cells: &[String; TITLES.len()],
    widths: &[usize; TITLES.len()],
    paint: impl Fn(usize, String) -> String,
) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let pad = " ".repeat(width - cell.chars().count());
        // Times and first bytes are compared with the rows above: numbers end at the same column.
        let padded = match column {
            0 | 6 => pad + cell,
            _ => cell.clone() + &pad,
        };
        text.push_str(&paint(column, padded));
        text.push_str("  ");
    }
    text
}

fn paint(column: usize, cell: &str, row: &Row<'_>, style: Style) -> String {
    match column {
        0 => style.dim(cell),
        8 if row.failures.is_empty() => style.good(cell),
        8 => style.bad(cell),
        7 => style.strong(cell),
        _ => cell.to_owned(),
    }
}
