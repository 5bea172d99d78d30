//! The JSON document that `sluice replay --format json` prints. The replays of all traces are one
//! document, which begins with the number of failures, so it is written at the end.

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use sluice_sim::Metric;
use sluice_sim::replay::{
    ConfigurationReport, ConnectionReport, ExchangeReport, LogLine, MetricsReport, Note, Problem,
    Sink, Summary, TrapReport, Warning,
};

use crate::sorter::{Sorted, Sorter};

/// The lists of a replay, in the order of the document.
#[derive(Clone, Copy)]
enum List {
    Exchanges,
    Connections,
    Configurations,
    MetricChecks,
    Notes,
}

const LISTS: [(List, &str); 5] = [
    (List::Exchanges, "exchanges"),
    (List::Connections, "connections"),
    (List::Configurations, "configurations"),
    (List::MetricChecks, "metric_checks"),
    (List::Notes, "notes"),
];

#[derive(Default)]
pub(crate) struct JsonReport {
    ended: Vec<Summary>,
    /// The entries of all lists, sorted by trace, list and place.
    entries: Sorter,
}

/// The fields before the lists.
#[derive(Serialize)]
struct Head<'s> {
    trace: &'s str,
    profile: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<&'s str>,
    seed: u64,
    workers: u32,
    filter: bool,
    /// In nanoseconds.
    ended: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
}

/// The fields after the lists.
#[derive(Serialize)]
struct Tail<'s> {
    #[serde(serialize_with = "metrics")]
    metrics: &'s [Metric],
    warnings: &'s [Warning],
    log: &'s [LogLine],
    #[serde(skip_serializing_if = "is_zero")]
    omitted_log_lines: u64,
    traps: &'s [TrapReport],
    #[serde(skip_serializing_if = "is_zero")]
    omitted_traps: u64,
    problems: &'s [Problem],
    #[serde(skip_serializing_if = "is_zero")]
    omitted_problems: u64,
}

impl JsonReport {
    pub(crate) fn end_trace(&mut self, summary: Summary) {
        self.ended.push(summary);
    }

    pub(crate) fn write(self, out: &mut dyn Write) -> io::Result<()> {
        let expected: usize = self.ended.iter().map(Summary::expected).sum();
        let failed: usize = self.ended.iter().map(Summary::failed).sum();
        write!(out, "{{\"expected\":{expected},\"failed\":{failed},\"replays\":[")?;
        let mut entries = self.entries.sorted()?;
        for (trace, summary) in self.ended.iter().enumerate() {
            if trace > 0 {
                out.write_all(b",")?;
            }
            let head = serde_json::to_string(&Head::of(summary))?;
            out.write_all(head.trim_end_matches('}').as_bytes())?;
            for (list, name) in LISTS {
                write!(out, ",\"{name}\":")?;
                write_list(&mut entries, [trace as u64, list as u64], out)?;
            }
            let tail = serde_json::to_string(&Tail::of(summary))?;
            write!(out, ",{}", tail.trim_start_matches('{'))?;
        }
        out.write_all(b"]}\n")
    }

    fn add(&mut self, list: List, place: [u64; 2], entry: &impl Serialize) -> io::Result<()> {
        let key = [self.ended.len() as u64, list as u64, place[0], place[1]];
        self.entries.add(key, |out| Ok(serde_json::to_writer(out, entry)?))
    }
}

impl Sink for JsonReport {
    fn exchange(&mut self, exchange: ExchangeReport<'_>) -> io::Result<()> {
        self.add(List::Exchanges, [exchange.line.into(), 0], &exchange)
    }

    fn connection(&mut self, connection: ConnectionReport<'_>) -> io::Result<()> {
        let place = [connection.index as u64, connection.opening.into()];
        self.add(List::Connections, place, &connection)
    }

    fn configuration(&mut self, configuration: ConfigurationReport) -> io::Result<()> {
        self.add(List::Configurations, [configuration.line.into(), 0], &configuration)
    }

    fn metrics(&mut self, metrics: MetricsReport) -> io::Result<()> {
        self.add(List::MetricChecks, [metrics.line.into(), 0], &metrics)
    }

    fn note(&mut self, note: Note) -> io::Result<()> {
        self.add(List::Notes, [note.line.into(), 0], &note)
    }
}

impl<'s> Head<'s> {
    fn of(summary: &'s Summary) -> Self {
        Self {
            trace: &summary.trace,
            profile: summary.profile,
            proxy: summary.proxy.as_deref(),
            seed: summary.seed,
            workers: summary.workers,
            filter: summary.filter,
            ended: summary.ended.as_nanos() as u64,
            stopped: summary.stopped.as_ref().map(ToString::to_string),
        }
    }
}

impl<'s> Tail<'s> {
    fn of(summary: &'s Summary) -> Self {
        Self {
            metrics: &summary.metrics,
            warnings: &summary.warnings,
            log: &summary.log,
            omitted_log_lines: summary.omitted_log_lines,
            traps: &summary.traps,
            omitted_traps: summary.omitted_traps,
            problems: &summary.problems,
            omitted_problems: summary.omitted_problems,
        }
    }
}

/// Writes the entries of a list of a trace.
fn write_list(entries: &mut Sorted, of: [u64; 2], out: &mut dyn Write) -> io::Result<()> {
    let mut before = "[";
    while let Some((_, entry)) = entries.next_if(|key| key[..2] == of)? {
        out.write_all(before.as_bytes())?;
        out.write_all(entry)?;
        before = ",";
    }
    out.write_all(if before == "[" { b"[]" } else { b"]" })
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn metrics<S: Serializer>(metrics: &[Metric], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(metrics.iter().map(|metric| (&metric.name, metric.value)))
}
