//! The table that `sluice replay` prints: a row for each exchange, failed expectations below it,
//! and a verdict at the end.
//!
//! The widths of the columns are known when the trace has ended. Until then, the rows wait in a
//! [`Sorter`], which also brings them into the order of time.

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
use crate::text::{ShortDuration, count, count_items, printable, shortened};

/// Without `--all`, later rows are printed only if they have a failure.
const MAX_ROWS: u64 = 100;

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

/// The spaces between two columns.
const GAP: &str = "  ";

/// The tables of all traces.
pub(crate) struct TableReport {
    palette: Palette,
    /// Whether to print every row.
    all: bool,
    trace: TraceTable,
    /// The totals of the traces before.
    traces: usize,
    expected: usize,
    failed: Failed,
}

/// The table of the trace that is replayed.
#[derive(Default)]
struct TraceTable {
    /// The entries, sorted by time and line.
    entries: Sorter,
    widths: Widths,
    exchanges: u64,
    /// The exchanges that the table does not have.
    omitted: u64,
    connections: u64,
    closed_by_proxy: u64,
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
    /// The cells, and the style of the last one.
    Exchange([String; TITLES.len()], Met),
    Note(String),
}

/// Whether an exchange met its expectations.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Met {
    /// It has no expectations.
    NoneStated,
    All,
    NotAll,
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
        for (width, cell) in self.0.iter_mut().zip(cells) {
            *width = cell.width().max(*width);
        }
    }

    /// A line of the table. `styled` has the same texts as `cells`.
    fn line(&self, cells: [&str; TITLES.len()], styled: [String; TITLES.len()]) -> String {
        let mut line = String::new();
        for (column, (cell, styled)) in cells.iter().zip(styled).enumerate() {
            let padding = " ".repeat(self.0[column].saturating_sub(cell.width()));
            let (before, after) = match RIGHT_ALIGNED.contains(&TITLES[column]) {
                true => (padding.as_str(), ""),
                false => ("", padding.as_str()),
            };
            line.extend([before, &styled, after, GAP]);
        }
        line.trim_end().to_owned()
    }

    fn time(&self) -> usize {
        self.0[0]
    }
}

impl TableReport {
    pub(crate) fn new(palette: Palette, all: bool) -> Self {
        let failed = Failed { expectations: 0, problems: 0 };
        Self { palette, all, trace: TraceTable::default(), traces: 0, expected: 0, failed }
    }

    /// Writes the table of the trace that has ended.
    pub(crate) fn end_trace(&mut self, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
        if self.traces > 0 {
            writeln!(out)?;
        }
        self.traces += 1;
        self.expected += summary.expected();
        self.failed.add(&Failed::of(summary));
        std::mem::take(&mut self.trace).write(summary, self.palette, out)
    }

    /// Writes the verdict about several traces.
    pub(crate) fn end(self, out: &mut dyn Write) -> io::Result<()> {
        if self.traces < 2 {
            return Ok(());
        }
        let verdict = verdict(self.expected, &self.failed, self.palette);
        writeln!(out, "\n{} traces: {verdict}", self.traces)
    }

    fn add_note(
        &mut self,
        at: Duration,
        line: u32,
        text: String,
        failures: &[Mismatch],
    ) -> io::Result<()> {
        self.trace.add(at, line, Content::Note(text), failures)
    }
}

impl TraceTable {
    fn add(
        &mut self,
        at: Duration,
        line: u32,
        content: Content,
        failures: &[Mismatch],
    ) -> io::Result<()> {
        let failures = failures.iter().map(|Mismatch { field, want, got, .. }| {
            let [want, got] = [want, got].map(|text| if text.is_empty() { "none" } else { text });
            printable(&format!("expected {field} {want}, got {got}"))
        });
        let entry = Entry { content, failures: failures.collect() };
        let key = [at.as_nanos() as u64, line.into(), 0, 0];
        self.entries.add(key, |out| Ok(serde_json::to_writer(out, &entry)?))
    }

    fn write(self, summary: &Summary, palette: Palette, out: &mut dyn Write) -> io::Result<()> {
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
        let titles = self.widths.line(TITLES, TITLES.map(str::to_owned));
        writeln!(out, "{}", palette.dim(titles))?;
        let time_width = self.widths.time();
        let mut entries = self.entries.sorted()?;
        while let Some((key, entry)) = entries.next_if(|_| true)? {
            let entry: Entry = serde_json::from_slice(entry)?;
            match &entry.content {
                Content::Exchange(cells, met) => {
                    let styled = styled(cells, *met, palette);
                    let cells = cells.each_ref().map(String::as_str);
                    writeln!(out, "{}", self.widths.line(cells, styled))?;
                }
                Content::Note(text) => {
                    let time = seconds(Duration::from_nanos(key[0]));
                    let time = format!("{time:>time_width$}");
                    writeln!(out, "{}  {}", palette.dim(time), palette.dim(printable(text)))?;
                }
            }
            for failure in entry.failures {
                writeln!(out, "{:>time_width$}  {}", "", palette.bad(failure))?;
            }
        }
        if self.omitted > 0 {
            let text = format!("… {} more exchanges; --all prints them", self.omitted);
            writeln!(out, "{}", palette.dim(text))?;
        }
        write_remarks(summary, time_width, palette, out)?;
        writeln!(
            out,
            "{}, {}, {} closed by the proxy: {}",
            count(self.exchanges, "exchange"),
            count(self.connections, "connection"),
            self.closed_by_proxy,
            verdict(summary.expected(), &Failed::of(summary), palette)
        )
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
        writeln!(out, "{}  {}", palette.dim(time), palette.bad(text))?;
    }
    if summary.omitted_problems > 0 {
        writeln!(out, "{}", palette.bad(format!("… {} more problems", summary.omitted_problems)))?;
    }
    if let Some(mistake) = &summary.stopped {
        let text = printable(&format!("the replay stopped at {mistake}"));
        writeln!(out, "{:>time_width$}  {}", "", palette.bad(text))?;
    }
    for warning in &summary.warnings {
        let text = printable(&format!("{}: warning: {}", place(warning.line), warning.text));
        writeln!(out, "{:>time_width$}  {}", "", palette.bad(text))?;
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
        let table = &mut self.trace;
        table.exchanges += 1;
        if !self.all && exchange.number >= MAX_ROWS && exchange.failures.is_empty() {
            table.omitted += 1;
            return Ok(());
        }
        let (cells, met) = cells(&exchange);
        table.widths.fit(&cells);
        let content = Content::Exchange(cells, met);
        table.add(exchange.sent, exchange.line, content, &exchange.failures)
    }

    fn connection(&mut self, connection: ConnectionReport<'_>) -> io::Result<()> {
        self.trace.connections += 1;
        self.trace.closed_by_proxy += u64::from(connection.by == Some(ClosedBy::Proxy));
        Ok(())
    }

    fn configuration(&mut self, push: ConfigurationReport) -> io::Result<()> {
        let text = match (push.message, push.accepted) {
            (Some(message), _) => message,
            (None, true) => "configuration accepted".to_owned(),
            (None, false) => "configuration rejected".to_owned(),
        };
        self.add_note(push.at, push.line, text, &push.failures)
    }

    fn metrics(&mut self, check: MetricsReport) -> io::Result<()> {
        let sign = if check.failures.is_empty() { "✓" } else { "✗" };
        let met = check.expected - check.failures.len();
        let text = format!("{sign} {met} of {}", count_items(check.expected, "metric"));
        self.add_note(check.at, check.line, text, &check.failures)
    }

    fn note(&mut self, note: Note) -> io::Result<()> {
        self.add_note(note.at, note.line, note.text, &[])
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

fn cells(exchange: &ExchangeReport<'_>) -> ([String; TITLES.len()], Met) {
    let opening = match exchange.opening {
        0 | 1 => String::new(),
        opening => format!("#{opening}"),
    };
    let first_byte = exchange.first_byte.map(|at| ShortDuration(at).to_string());
    let (expectations, met) = expectations(exchange);
    let cells = [
        seconds(exchange.sent),
        format!("{}{opening}", printable(&exchange.connection_name)),
        shortened(&printable(&format!("{} {}", exchange.method, exchange.path)), MAX_REQUEST),
        printable(exchange.route.as_deref().unwrap_or("-")),
        printable(&decision::words(&exchange.decisions)),
        status(exchange),
        first_byte.unwrap_or_else(|| "-".to_owned()),
        if exchange.closed { "close" } else { "" }.to_owned(),
        expectations,
    ];
    (cells, met)
}

/// The cells with their styles.
fn styled(cells: &[String; TITLES.len()], met: Met, palette: Palette) -> [String; TITLES.len()] {
    let mut styled = cells.clone();
    let [time, .., close, expected] = &mut styled;
    *time = palette.dim(&time);
    if !close.is_empty() {
        *close = palette.strong(&close);
    }
    *expected = match met {
        Met::NoneStated => String::new(),
        Met::All => palette.good(&expected),
        Met::NotAll => palette.bad(&expected),
    };
    styled
}

fn expectations(exchange: &ExchangeReport<'_>) -> (String, Met) {
    match (exchange.expected, exchange.failures.len()) {
        (0, _) => (String::new(), Met::NoneStated),
        (all, 0) => (format!("✓ {all}"), Met::All),
        (all, failed) => (format!("✗ {} of {all}", all - failed), Met::NotAll),
    }
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
    match exchange.reason.as_deref() {
        Some(reason) => format!("{text} {}", printable(reason)),
        None => text,
    }
}
