//! The table that `sluice replay` prints: a row for each exchange, failed expectations below it,
//! and a verdict at the end.
//!
//! comfy-table lays out the rows of exchanges. Other events and failed expectations have no cells,
//! so they are written between the lines of that table.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{Attribute, Cell, CellAlignment, Color, Row, Table, presets};
use sluice_sim::replay::{ClosedBy, ExchangeReport, Mismatch, Report};
use sluice_sim::trace::Outcome;

use crate::decision;
use crate::style::Palette;
use crate::text::{ShortDuration, count, count_items, printable};

/// Without `--all`, later rows are printed only if they have a failure.
const MAX_ROWS: usize = 100;

/// A longer request is shortened, in characters.
const MAX_REQUEST: usize = 44;

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

/// Numbers end at the same column, so that they can be compared with those above.
const RIGHT_ALIGNED: [&str; 2] = ["time", "first byte"];

/// Prints the tables of all replays.
pub(crate) fn write(
    out: &mut dyn Write,
    replays: &[Report<'_>],
    palette: Palette,
    all: bool,
) -> io::Result<()> {
    for (index, report) in replays.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        write_report(out, report, palette, all)?;
    }
    if replays.len() > 1 {
        let expected = replays.iter().map(Report::expected).sum();
        let verdict = verdict(expected, Failed::of(replays), palette);
        writeln!(out, "\n{} traces: {verdict}", replays.len())?;
    }
    Ok(())
}

fn write_report(
    out: &mut dyn Write,
    report: &Report<'_>,
    palette: Palette,
    all: bool,
) -> io::Result<()> {
    let filter = if report.filter { "" } else { ", without a filter" };
    let proxy = report.proxy.as_ref().map(|proxy| format!(", proxy {proxy}")).unwrap_or_default();
    let title = format!(
        "{}, seed {}, profile {}{proxy}{filter}",
        count_items(report.workers as usize, "worker"),
        report.seed,
        report.profile
    );
    writeln!(out, "{}  {}", palette.strong(report.trace), palette.dim(&title))?;

    let entries = entries(report, all);
    let exchanges = entries.iter().filter_map(|entry| match entry.content {
        Content::Exchange(exchange) => Some(exchange),
        Content::Note(_) => None,
    });
    let table = table(exchanges.clone(), palette);
    let time_width = table.column_max_content_widths().first().copied().unwrap_or(0).into();
    let mut lines = table.lines();
    let titles = lines.next().unwrap_or_default();
    writeln!(out, "{}", palette.dim(titles.trim_end()))?;
    for entry in &entries {
        match &entry.content {
            Content::Exchange(_) => {
                writeln!(out, "{}", lines.next().unwrap_or_default().trim_end())?;
            }
            Content::Note(text) => {
                let time = format!("{:>time_width$}", seconds(entry.at));
                writeln!(out, "{}  {}", palette.dim(time), palette.dim(printable(text)))?;
            }
        }
        for Mismatch { field, want, got, .. } in entry.failures {
            let [want, got] = [want, got].map(|text| if text.is_empty() { "none" } else { text });
            let text = format!("expected {field} {want}, got {got}");
            writeln!(out, "{:>time_width$}  {}", "", palette.bad(printable(&text)))?;
        }
    }
    let omitted = report.exchanges.len() - exchanges.count();
    if omitted > 0 {
        writeln!(out, "{}", palette.dim(format!("… {omitted} more exchanges; --all prints them")))?;
    }
    for problem in &report.problems {
        let place = match problem.line {
            Some(line) => format!("{}:{line}", report.trace),
            None => report.trace.to_owned(),
        };
        let time = format!("{:>time_width$}", seconds(problem.at));
        let text = printable(&format!("{place}: {}", problem.text)).to_string();
        writeln!(out, "{}  {}", palette.dim(time), palette.bad(text))?;
    }
    if report.omitted_problems > 0 {
        writeln!(out, "{}", palette.bad(format!("… {} more problems", report.omitted_problems)))?;
    }
    for warning in &report.warnings {
        let place = match warning.line {
            None => report.trace.to_owned(),
            Some(line) => format!("{}:{line}", report.trace),
        };
        let text = printable(&format!("{place}: warning: {}", warning.text)).to_string();
        writeln!(out, "{:>time_width$}  {}", "", palette.bad(text))?;
    }
    for log in &report.log {
        let time = format!("{:>time_width$}", seconds(log.at));
        let level = format!("{:?}", log.level).to_lowercase();
        let text = printable(log.text.trim_end());
        writeln!(out, "{}  {} {text}", palette.dim(time), palette.bad(level))?;
    }
    if report.omitted_log_lines > 0 {
        let lines = count(report.omitted_log_lines, "more line");
        writeln!(out, "{}", palette.dim(format!("… {lines} of the log were dropped")))?;
    }
    let by_proxy = report.connections.iter().filter(|one| one.by == Some(ClosedBy::Proxy));
    writeln!(
        out,
        "{}, {}, {} closed by the proxy: {}",
        count_items(report.exchanges.len(), "exchange"),
        count_items(report.connections.len(), "connection"),
        by_proxy.count(),
        verdict(report.expected(), Failed::of(std::slice::from_ref(report)), palette)
    )
}

/// What failed in some replays.
struct Failed {
    expectations: usize,
    /// Crashes, and other failures that are not expectations.
    problems: usize,
}

impl Failed {
    fn of(replays: &[Report<'_>]) -> Self {
        let expectations = replays.iter().map(|report| report.failures().count()).sum();
        let all: usize = replays.iter().map(Report::failed).sum();
        Self { expectations, problems: all - expectations }
    }
}

fn verdict(expected: usize, failed: Failed, palette: Palette) -> String {
    let Failed { expectations, problems } = failed;
    let mut text = match (expectations, expected) {
        (0, 0) => "the trace has no expectations".to_owned(),
        (0, _) => format!("all {expected} expectations met"),
        _ => format!("{expectations} of {expected} expectations failed"),
    };
    if problems > 0 {
        text = format!("{text}, {}", count_items(problems, "problem"));
    }
    match (expectations + problems, expected) {
        (0, 0) => text,
        (0, _) => palette.good(text),
        _ => palette.bad(text),
    }
}

/// One event of the trace, with its failed expectations.
struct Entry<'r> {
    at: Duration,
    line: u32,
    content: Content<'r>,
    failures: &'r [Mismatch],
}

enum Content<'r> {
    Exchange(&'r ExchangeReport<'r>),
    Note(String),
}

/// The events to print, in the order of time.
fn entries<'r>(report: &'r Report<'_>, all: bool) -> Vec<Entry<'r>> {
    let exchanges = report
        .exchanges
        .iter()
        .enumerate()
        .filter(|(index, exchange)| all || *index < MAX_ROWS || !exchange.failures.is_empty())
        .map(|(_, exchange)| Entry {
            at: exchange.sent,
            line: exchange.line,
            content: Content::Exchange(exchange),
            failures: &exchange.failures,
        });
    let configurations = report.configurations.iter().map(|push| {
        let text = match (&push.message, push.accepted) {
            (Some(message), _) => message.clone(),
            (None, true) => "configuration accepted".to_owned(),
            (None, false) => "configuration rejected".to_owned(),
        };
        note(push.at, push.line, text, &push.failures)
    });
    let metrics = report.metric_checks.iter().map(|check| {
        let sign = if check.failures.is_empty() { "✓" } else { "✗" };
        let met = check.expected - check.failures.len();
        let text = format!("{sign} {met} of {}", count_items(check.expected, "metric"));
        note(check.at, check.line, text, &check.failures)
    });
    let notes =
        report.notes.iter().map(|other| note(other.at, other.line, other.text.clone(), &[]));
    let mut entries: Vec<Entry> =
        exchanges.chain(configurations).chain(metrics).chain(notes).collect();
    entries.sort_by_key(|entry| (entry.at, entry.line));
    entries
}

fn note(at: Duration, line: u32, text: String, failures: &[Mismatch]) -> Entry<'_> {
    Entry { at, line, content: Content::Note(text), failures }
}

/// The table of these exchanges: a line with the titles, and one for each exchange.
fn table<'r>(exchanges: impl Iterator<Item = &'r ExchangeReport<'r>>, palette: Palette) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).style_text_only();
    match palette.enabled() {
        true => table.enforce_styling(),
        false => table.force_no_tty(),
    };
    table.set_header(TITLES);
    table.add_rows(exchanges.map(|exchange| {
        let mut row = Row::from(cells(exchange));
        // A second line would break the assignment of lines to entries.
        row.max_height(1);
        row
    }));
    for (column, title) in table.column_iter_mut().zip(TITLES) {
        column.set_padding((0, 2));
        if RIGHT_ALIGNED.contains(&title) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn cells(exchange: &ExchangeReport<'_>) -> [Cell; TITLES.len()] {
    let opening = match exchange.opening {
        0 | 1 => String::new(),
        opening => format!("#{opening}"),
    };
    let close = if exchange.closed { "close" } else { "" };
    [
        Cell::new(seconds(exchange.sent)).add_attribute(Attribute::Dim),
        Cell::new(format!("{}{opening}", printable(exchange.connection_name))),
        Cell::new(shortened(&format!("{} {}", exchange.method, exchange.path))),
        Cell::new(printable(exchange.route.as_deref().unwrap_or("-"))),
        Cell::new(printable(&decision::words(&exchange.decisions))),
        Cell::new(status(exchange)),
        Cell::new(
            exchange.first_byte.map_or_else(|| "-".to_owned(), |at| ShortDuration(at).to_string()),
        ),
        Cell::new(close).add_attribute(Attribute::Bold),
        expectations(exchange),
    ]
}

fn expectations(exchange: &ExchangeReport<'_>) -> Cell {
    match (exchange.expected, exchange.failures.len()) {
        (0, _) => Cell::new(""),
        (all, 0) => Cell::new(format!("✓ {all}")).fg(Color::DarkGreen),
        (all, failed) => Cell::new(format!("✗ {} of {all}", all - failed)).fg(Color::DarkRed),
    }
}

/// The trace's own time in seconds.
fn seconds(at: Duration) -> String {
    format!("{}.{:03}", at.as_secs(), at.subsec_millis())
}

fn shortened(text: &str) -> String {
    let text = &printable(text);
    if text.chars().count() <= MAX_REQUEST {
        return text.to_owned();
    }
    text.chars().take(MAX_REQUEST - 1).chain(['…']).collect()
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
