//! The text that `sluice replay` prints about a trace: a summary, the failures by route and field,
//! and the exchanges that failed, or with `--all` every event.
//!
//! The widths of the columns are known when the trace has ended. Until then, the rows wait in a
//! [`Sorter`], which also brings them into the order of time.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_sim::replay::{
    ClosedBy, ConfigurationReport, ConnectionReport, ExchangeReport, MetricsReport, Mismatch, Note,
    Sink, Summary,
};
use sluice_sim::trace::Outcome;
use unicode_width::UnicodeWidthStr;

use crate::decision;
use crate::sorter::Sorter;
use crate::style::Palette;
use crate::text::{ShortDuration, count, count_items, printable, shortened, wrapped};

/// The failed events that are printed without `--all`.
const MAX_FAILED: u64 = 20;

/// The groups of failures that are printed without `--all`.
const MAX_GROUPS: usize = 10;

/// The width of a terminal. Longer cells are shortened.
const WIDTH: usize = 80;

const TITLES: [&str; 5] = ["time", "connection", "request", "status", "first byte"];

/// The longest cells, in characters. The request has what the others leave.
const MAX_WIDTHS: [usize; 5] = [12, 12, 44, 28, 10];

/// The column that has what the others leave, and the least that it gets.
const REQUEST: (usize, usize) = (2, 16);

/// Numbers end at the same column, so that they can be compared with those above.
const RIGHT_ALIGNED: [&str; 2] = ["time", "first byte"];

/// The route of exchanges for which the filter reported none.
const NO_ROUTE: &str = "-";

/// A hint for a replay of the filter alone.
const NO_CONFIGURATION: &str =
    "the filter ran without a configuration; --config FILE passes it one";

/// The spaces between two columns.
const GAP: &str = "  ";

/// How much to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The verdict of each trace.
    Quiet,
    /// The summary and what failed.
    Failures,
    /// Every event of the trace.
    All,
}

/// The reports of all traces.
pub(crate) struct TableReport {
    palette: Palette,
    detail: Detail,
    /// Whether the command has a configuration for the filter.
    has_configuration: bool,
    trace: TraceTable,
    /// The totals of the traces before.
    traces: usize,
    expected: usize,
    failed: Failed,
}

/// The table of the trace that is replayed.
#[derive(Default)]
struct TraceTable {
    /// The entries to print, sorted by time and line.
    entries: Sorter,
    widths: Widths,
    exchanges: u64,
    connections: u64,
    closed_by_proxy: u64,
    /// The configurations of the trace that the filter accepted.
    configurations: u64,
    /// The exchanges and other events of which an expectation failed.
    failed: u64,
    /// The number of failed expectations for each route and field.
    groups: BTreeMap<(String, String), u64>,
}

/// One event of the trace.
#[derive(Serialize, Deserialize)]
struct Entry {
    content: Content,
    /// The failed expectations, in words.
    failures: Vec<String>,
}

#[derive(Serialize, Deserialize)]
enum Content {
    Exchange(Row),
    Note(String),
}

/// An exchange.
#[derive(Serialize, Deserialize)]
struct Row {
    cells: [String; TITLES.len()],
    /// The route and the decisions.
    decision: String,
    expected: usize,
}

/// The widths of the columns.
struct Widths([usize; TITLES.len()]);

impl Default for Widths {
    fn default() -> Self {
        Self(TITLES.map(UnicodeWidthStr::width))
    }
}

impl Widths {
    fn fit(&mut self, cells: &[String; TITLES.len()]) {
        for (column, cell) in cells.iter().enumerate() {
            self.0[column] = cell.width().min(MAX_WIDTHS[column]).max(self.0[column]);
        }
    }

    /// Gives the request what the other columns leave.
    fn limit(&mut self) {
        let (request, least) = REQUEST;
        let others: usize = self.0.iter().sum::<usize>() - self.0[request];
        let gaps = GAP.len() * (TITLES.len() - 1);
        let left = WIDTH.saturating_sub(others + gaps).max(least);
        self.0[request] = self.0[request].min(left);
    }

    /// A line of the table; `style` styles the cell of the time.
    fn line(&self, cells: [&str; TITLES.len()], style: impl Fn(&str) -> String) -> String {
        let mut line = String::new();
        for (column, cell) in cells.into_iter().enumerate() {
            let cell = shortened(cell, self.0[column]);
            let padding = " ".repeat(self.0[column].saturating_sub(cell.width()));
            let (before, after) = match RIGHT_ALIGNED.contains(&TITLES[column]) {
                true => (padding.as_str(), ""),
                false => ("", padding.as_str()),
            };
            let styled = if column == 0 { style(&cell) } else { cell };
            line.extend([before, &styled, after, GAP]);
        }
        line.trim_end().to_owned()
    }

    fn time(&self) -> usize {
        self.0[0]
    }
}

impl TableReport {
    pub(crate) fn new(palette: Palette, detail: Detail, has_configuration: bool) -> Self {
        let failed = Failed { expectations: 0, problems: 0 };
        let trace = TraceTable::default();
        Self { palette, detail, has_configuration, trace, traces: 0, expected: 0, failed }
    }

    /// Writes the report of the trace that has ended.
    pub(crate) fn end_trace(&mut self, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
        if self.traces > 0 && self.detail != Detail::Quiet {
            writeln!(out)?;
        }
        self.traces += 1;
        self.expected += summary.expected();
        self.failed.add(&Failed::of(summary));
        let trace = std::mem::take(&mut self.trace);
        let configured = self.has_configuration || trace.configurations > 0 || !summary.filter;
        trace.write(summary, self.detail, self.palette, out)?;
        if !configured && self.detail != Detail::Quiet {
            writeln!(out, "{}", self.palette.dim(NO_CONFIGURATION))?;
        }
        Ok(())
    }

    /// Writes the verdict about several traces.
    pub(crate) fn end(self, out: &mut dyn Write) -> io::Result<()> {
        if self.traces < 2 {
            return Ok(());
        }
        let verdict = verdict(self.expected, &self.failed, self.palette);
        if self.detail != Detail::Quiet {
            writeln!(out)?;
        }
        writeln!(out, "{} traces: {verdict}", self.traces)
    }

    /// Counts the failures of an event, and keeps the event if it is printed.
    fn add(
        &mut self,
        at: Duration,
        line: u32,
        route: &str,
        failures: &[Mismatch],
        content: impl FnOnce(&mut Widths) -> Content,
    ) -> io::Result<()> {
        let table = &mut self.trace;
        table.failed += u64::from(!failures.is_empty());
        for failure in failures {
            let key = (printable(route), printable(&failure.field));
            *table.groups.entry(key).or_default() += 1;
        }
        let printed = match self.detail {
            Detail::Quiet => false,
            Detail::Failures => !failures.is_empty() && table.failed <= MAX_FAILED,
            Detail::All => true,
        };
        if !printed {
            return Ok(());
        }
        let content = content(&mut table.widths);
        let failures = failures.iter().map(|Mismatch { field, want, got, .. }| {
            let [want, got] = [want, got].map(|text| if text.is_empty() { "none" } else { text });
            printable(&format!("expected {field} {want}, got {got}"))
        });
        let entry = Entry { content, failures: failures.collect() };
        let key = [at.as_nanos() as u64, line.into(), 0, 0];
        table.entries.add(key, |out| Ok(serde_json::to_writer(out, &entry)?))
    }
}

impl TraceTable {
    fn write(
        mut self,
        summary: &Summary,
        detail: Detail,
        palette: Palette,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let total = format!(
            "{}, {}, {} closed by the proxy: {}",
            count(self.exchanges, "exchange"),
            count(self.connections, "connection"),
            self.closed_by_proxy,
            verdict(summary.expected(), &Failed::of(summary), palette)
        );
        if detail == Detail::Quiet {
            return writeln!(out, "{}: {total}", summary.trace);
        }
        let filter = if summary.filter { "" } else { ", without a filter" };
        let proxy =
            summary.proxy.as_ref().map(|proxy| format!(", proxy {proxy}")).unwrap_or_default();
        let title = format!(
            "{}, seed {}, profile {}{proxy}{filter}",
            count_items(summary.workers as usize, "worker"),
            summary.seed,
            summary.profile
        );
        writeln!(out, "{}  {}", palette.strong(&summary.trace), palette.dim(&title))?;
        writeln!(out, "{total}")?;
        self.write_groups(detail, palette, out)?;
        self.widths.limit();
        let time_width = self.widths.time();
        let (failed, widths) = (self.failed, self.widths);
        write_entries(self.entries, &widths, palette, out)?;
        if detail == Detail::Failures && failed > MAX_FAILED {
            let more = count(failed - MAX_FAILED, "more failed event");
            writeln!(out, "{}", palette.dim(format!("… {more}; --all prints them")))?;
        }
        write_remarks(summary, time_width, palette, out)
    }

    /// Writes the number of failures of each route and field, the largest first.
    fn write_groups(
        &self,
        detail: Detail,
        palette: Palette,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, failed)| Reverse(**failed));
        let shown = if detail == Detail::All { groups.len() } else { MAX_GROUPS };
        let shown = &groups[..groups.len().min(shown)];
        let cells = |((route, field), _): &(&(String, String), &u64)| {
            (shortened(route, 20), shortened(field, 48))
        };
        let width = shown.iter().map(|group| cells(group).0.width()).max().unwrap_or(0);
        for group in shown {
            let (route, field) = cells(group);
            let padding = " ".repeat(width - route.width());
            writeln!(out, "{:>7}  {route}{padding}  {field}", group.1)?;
        }
        if shown.len() < groups.len() {
            let more = count_items(groups.len() - shown.len(), "more group");
            writeln!(out, "{}", palette.dim(format!("… {more}; --all prints them")))?;
        }
        Ok(())
    }
}

/// Writes the rows of the table, with its titles if it has any.
fn write_entries(
    entries: Sorter,
    widths: &Widths,
    palette: Palette,
    out: &mut dyn Write,
) -> io::Result<()> {
    let time_width = widths.time();
    let mut entries = entries.sorted()?;
    let mut titled = false;
    while let Some((key, entry)) = entries.next_if(|_| true)? {
        let entry: Entry = serde_json::from_slice(entry)?;
        if !std::mem::replace(&mut titled, true) {
            writeln!(out, "{}", palette.dim(widths.line(TITLES, str::to_owned)))?;
        }
        match &entry.content {
            Content::Exchange(row) => {
                let cells = row.cells.each_ref().map(String::as_str);
                writeln!(out, "{}", widths.line(cells, |time| palette.dim(time)))?;
                write_decision(row, entry.failures.len(), time_width, palette, out)?;
            }
            Content::Note(text) => {
                let time = seconds(Duration::from_nanos(key[0]));
                let time = format!("{time:>time_width$}");
                write_wrapped(&time, &printable(text), |text| palette.dim(text), out)?;
            }
        }
        for failure in entry.failures {
            let time = " ".repeat(time_width);
            write_wrapped(&time, &failure, |text| palette.bad(text), out)?;
        }
    }
    Ok(())
}

/// Writes a text in the column after the time, on as many lines as it needs.
fn write_wrapped(
    time: &str,
    text: &str,
    style: impl Fn(&str) -> String,
    out: &mut dyn Write,
) -> io::Result<()> {
    let indent = time.width() + GAP.len();
    let mut before = format!("{time}{GAP}");
    for line in wrapped(text, WIDTH.saturating_sub(indent)) {
        writeln!(out, "{before}{}", style(line))?;
        before = " ".repeat(indent);
    }
    Ok(())
}

/// Writes the line below an exchange: how many expectations were met, the route and the decisions.
fn write_decision(
    row: &Row,
    failed: usize,
    time_width: usize,
    palette: Palette,
    out: &mut dyn Write,
) -> io::Result<()> {
    let met = match (row.expected, failed) {
        (0, _) => String::new(),
        (expected, 0) => format!("✓ {expected}"),
        (expected, failed) => format!("✗ {failed} of {expected} failed"),
    };
    let room = WIDTH.saturating_sub(time_width + GAP.len() + met.width() + GAP.len());
    let decision = palette.dim(shortened(&row.decision, room));
    let met = if failed == 0 { palette.good(met) } else { palette.bad(met) };
    let parts = [met, decision];
    let parts: Vec<&str> =
        parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    match parts.is_empty() {
        true => Ok(()),
        false => writeln!(out, "{:>time_width$}  {}", "", parts.join(GAP)),
    }
}

/// Writes problems, warnings, the mistake that ended the replay, and the log.
fn write_remarks(
    summary: &Summary,
    time_width: usize,
    palette: Palette,
    out: &mut dyn Write,
) -> io::Result<()> {
    let place = |line: Option<u32>| match line {
        Some(line) => format!("{}:{line}", summary.trace),
        None => summary.trace.clone(),
    };
    for problem in &summary.problems {
        let time = format!("{:>time_width$}", seconds(problem.at));
        let text = printable(&format!("{}: {}", place(problem.line), problem.text));
        write_wrapped(&time, &text, |text| palette.bad(text), out)?;
    }
    if summary.omitted_problems > 0 {
        writeln!(out, "{}", palette.bad(format!("… {} more problems", summary.omitted_problems)))?;
    }
    let no_time = " ".repeat(time_width);
    if let Some(mistake) = &summary.stopped {
        let text = printable(&format!("the replay stopped at {mistake}"));
        write_wrapped(&no_time, &text, |text| palette.bad(text), out)?;
    }
    for warning in &summary.warnings {
        let text = printable(&format!("{}: warning: {}", place(warning.line), warning.text));
        write_wrapped(&no_time, &text, |text| palette.bad(text), out)?;
    }
    for log in &summary.log {
        let time = format!("{:>time_width$}", seconds(log.at));
        let level = format!("{:?}", log.level).to_lowercase();
        let text = printable(log.text.trim_end());
        writeln!(out, "{}  {} {text}", palette.dim(time), palette.bad(level))?;
    }
    if summary.omitted_log_lines > 0 {
        let lines = count(summary.omitted_log_lines, "more line");
        writeln!(out, "{}", palette.dim(format!("… {lines} of the log were dropped")))?;
    }
    Ok(())
}

impl Sink for TableReport {
    fn exchange(&mut self, exchange: ExchangeReport<'_>) -> io::Result<()> {
        self.trace.exchanges += 1;
        let route = exchange.route.as_deref().unwrap_or(NO_ROUTE);
        self.add(exchange.sent, exchange.line, route, &exchange.failures, |widths| {
            let row = row(&exchange);
            widths.fit(&row.cells);
            Content::Exchange(row)
        })
    }

    fn connection(&mut self, connection: ConnectionReport<'_>) -> io::Result<()> {
        self.trace.connections += 1;
        self.trace.closed_by_proxy += u64::from(connection.by == Some(ClosedBy::Proxy));
        Ok(())
    }

    fn configuration(&mut self, push: ConfigurationReport) -> io::Result<()> {
        self.trace.configurations += u64::from(push.accepted);
        let text = match (push.message, push.accepted) {
            (Some(message), _) => message,
            (None, true) => "configuration accepted".to_owned(),
            (None, false) => "configuration rejected".to_owned(),
        };
        self.add(push.at, push.line, "configure", &push.failures, |_| Content::Note(text))
    }

    fn metrics(&mut self, check: MetricsReport) -> io::Result<()> {
        let (expected, failed) = (check.expected, check.failures.len());
        let text = match failed {
            0 => format!("✓ {}", count_items(expected, "metric")),
            failed => format!("✗ {failed} of {} failed", count_items(expected, "metric")),
        };
        self.add(check.at, check.line, "metrics", &check.failures, |_| Content::Note(text))
    }

    fn note(&mut self, note: Note) -> io::Result<()> {
        self.add(note.at, note.line, "", &[], |_| Content::Note(note.text))
    }
}

/// What failed.
struct Failed {
    expectations: usize,
    /// Crashes, and other failures that are not expectations.
    problems: usize,
}

impl Failed {
    fn of(summary: &Summary) -> Self {
        let expectations = summary.failed_expectations();
        Self { expectations, problems: summary.failed() - expectations }
    }

    fn add(&mut self, other: &Self) {
        self.expectations += other.expectations;
        self.problems += other.problems;
    }
}

fn verdict(expected: usize, failed: &Failed, palette: Palette) -> String {
    let Failed { expectations, problems } = *failed;
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

fn row(exchange: &ExchangeReport<'_>) -> Row {
    let opening = match exchange.opening {
        0 | 1 => String::new(),
        opening => format!("#{opening}"),
    };
    let first_byte = exchange.first_byte.map(|at| ShortDuration(at).to_string());
    let cells = [
        seconds(exchange.sent),
        format!("{}{opening}", printable(&exchange.connection_name)),
        printable(&format!("{} {}", exchange.method, exchange.path)),
        status(exchange),
        first_byte.unwrap_or_else(|| "-".to_owned()),
    ];
    let decision = printable(&decision::words(&exchange.decisions));
    let decision = match (exchange.route.as_deref(), decision.is_empty()) {
        (None, _) => decision,
        (Some(route), true) => printable(route),
        (Some(route), false) => format!("{}: {decision}", printable(route)),
    };
    Row { cells, decision, expected: exchange.expected }
}

/// The trace's own time in seconds.
fn seconds(at: Duration) -> String {
    format!("{}.{:03}", at.as_secs(), at.subsec_millis())
}

fn status(exchange: &ExchangeReport<'_>) -> String {
    let mut text = exchange.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    match (exchange.end, exchange.ended_by) {
        (Outcome::Complete, _) => {}
        (Outcome::Cut, Some(by)) => text.push_str(&format!(" cut by {by}")),
        (other, _) => text.push_str(&format!(" {other}")),
    }
    if let Some(reason) = exchange.reason.as_deref() {
        text.push(' ');
        text.push_str(&printable(reason));
    }
    if exchange.closed {
        text.push_str(", close");
    }
    text
}
