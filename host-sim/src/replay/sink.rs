//! Where the parts of a report go while the replay runs: a [`Sink`], such as a [`Report`] in memory.

use std::io;
use std::ops::Deref;

use crate::HeaderMap;

use super::options::Progress;
use super::report::{
    ConfigurationReport, ConnectionReport, ExchangeReport, MetricsReport, Mismatch, Note,
};
use super::summary::Summary;

/// Receives the parts of a report as soon as they are final. An error ends the replay.
pub trait Sink {
    /// An exchange ended: in the order of ends, not of the trace.
    ///
    /// # Errors
    /// If the sink cannot take more.
    fn exchange(&mut self, exchange: ExchangeReport<'_>) -> io::Result<()>;

    /// A connection was closed, or is open at the end of the trace.
    ///
    /// # Errors
    /// If the sink cannot take more.
    fn connection(&mut self, connection: ConnectionReport<'_>) -> io::Result<()>;

    /// A configuration that the trace pushed is no longer in force, or was rejected.
    ///
    /// # Errors
    /// If the sink cannot take more.
    fn configuration(&mut self, configuration: ConfigurationReport) -> io::Result<()>;

    /// A `metrics` event, in the order of the trace.
    ///
    /// # Errors
    /// If the sink cannot take more.
    fn metrics(&mut self, metrics: MetricsReport) -> io::Result<()>;

    /// Another event, in the order of the trace.
    ///
    /// # Errors
    /// If the sink cannot take more.
    fn note(&mut self, note: Note) -> io::Result<()>;

    /// Called from time to time.
    fn progress(&mut self, _: Progress) {}
}

/// A whole report in memory: the lists, and the [`Summary`] that it dereferences to.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// In the order of the trace.
    pub exchanges: Vec<ExchangeReport<'static>>,
    /// In the order of the trace, with an entry for each time that a connection was opened.
    pub connections: Vec<ConnectionReport<'static>>,
    /// The configurations that the trace pushes.
    pub configurations: Vec<ConfigurationReport>,
    /// The expectations of metrics.
    pub metric_checks: Vec<MetricsReport>,
    /// The other events: writes to shared data, responses of clusters, closes of clients.
    pub notes: Vec<Note>,
    pub(super) summary: Summary,
}

impl Deref for Report {
    type Target = Summary;

    fn deref(&self) -> &Summary {
        &self.summary
    }
}

impl Report {
    /// The expectations that failed, each with the line of its event and the name of the exchange
    /// or event.
    pub fn failures(&self) -> impl Iterator<Item = (u32, &str, &Mismatch)> {
        let exchanges = self.exchanges.iter().flat_map(|exchange| {
            exchange.failures.iter().map(move |failure| (exchange.line, &*exchange.id, failure))
        });
        let configurations = self
            .configurations
            .iter()
            .flat_map(|push| push.failures.iter().map(|failure| (push.line, "configure", failure)));
        let metrics = self.metric_checks.iter().flat_map(|check| {
            check.failures.iter().map(|failure| (check.line, "metrics", failure))
        });
        exchanges.chain(configurations).chain(metrics)
    }

    /// Completes the report: changes the order from that of ends to that of the trace.
    pub(super) fn complete(&mut self, summary: Summary) {
        self.exchanges.sort_by_key(|exchange| exchange.line);
        self.connections.sort_by_key(|connection| (connection.index, connection.opening));
        self.configurations.sort_by_key(|push| push.line);
        self.summary = summary;
    }
}

impl Sink for Report {
    fn exchange(&mut self, exchange: ExchangeReport<'_>) -> io::Result<()> {
        self.exchanges.push(exchange.into_owned());
        Ok(())
    }

    fn connection(&mut self, connection: ConnectionReport<'_>) -> io::Result<()> {
        let name = connection.name.into_owned().into();
        self.connections.push(ConnectionReport { name, ..connection });
        Ok(())
    }

    fn configuration(&mut self, configuration: ConfigurationReport) -> io::Result<()> {
        self.configurations.push(configuration);
        Ok(())
    }

    fn metrics(&mut self, metrics: MetricsReport) -> io::Result<()> {
        self.metric_checks.push(metrics);
        Ok(())
    }

    fn note(&mut self, note: Note) -> io::Result<()> {
        self.notes.push(note);
        Ok(())
    }
}

/// The report of a running replay: passes each part to its sink, and counts.
pub(super) struct Reports<'s> {
    sink: &'s mut dyn Sink,
    pub(super) summary: Summary,
    /// The bytes of large exchanges that were passed on beyond [`EXCHANGE_BYTES`].
    excess_bytes: usize,
    /// The error with which the sink ends the replay.
    failed: Option<io::Error>,
}

/// The bytes of headers, trailers and decisions that a report has of every exchange.
const EXCHANGE_BYTES: usize = 4096;

/// The bytes beyond [`EXCHANGE_BYTES`] of all exchanges that it has.
const EXCESS_BYTES: usize = 64 << 20;

impl<'s> Reports<'s> {
    pub(super) fn new(sink: &'s mut dyn Sink, summary: Summary) -> Self {
        Self { sink, summary, excess_bytes: 0, failed: None }
    }

    /// Whether the sink has failed, so that the replay ends.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// The summary at the end.
    ///
    /// # Errors
    /// The first error of the sink.
    pub(super) fn into_summary(self) -> io::Result<Summary> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.summary),
        }
    }

    /// Adds an exchange. If the filter made it very large, without its headers and decisions.
    pub(super) fn add_exchange(&mut self, mut exchange: ExchangeReport<'_>) {
        self.count(exchange.expected, exchange.failures.len());
        let decisions: usize = exchange.decisions.iter().map(|decision| decision.len()).sum();
        let maps = exchange.headers.serialized_len() + exchange.trailers.serialized_len();
        let excess = (maps + decisions).saturating_sub(EXCHANGE_BYTES);
        if self.excess_bytes + excess > EXCESS_BYTES {
            exchange.headers = HeaderMap::new();
            exchange.trailers = HeaderMap::new();
            exchange.decisions = Vec::new();
            exchange.truncated = true;
        } else {
            self.excess_bytes += excess;
        }
        let result = self.sink.exchange(exchange);
        self.keep_error(result);
    }

    pub(super) fn add_connection(&mut self, connection: ConnectionReport<'_>) {
        let result = self.sink.connection(connection);
        self.keep_error(result);
    }

    pub(super) fn add_configuration(&mut self, configuration: ConfigurationReport) {
        self.count(configuration.expected, configuration.failures.len());
        let result = self.sink.configuration(configuration);
        self.keep_error(result);
    }

    pub(super) fn add_metrics(&mut self, metrics: MetricsReport) {
        self.count(metrics.expected, metrics.failures.len());
        let result = self.sink.metrics(metrics);
        self.keep_error(result);
    }

    pub(super) fn add_note(&mut self, note: Note) {
        let result = self.sink.note(note);
        self.keep_error(result);
    }

    pub(super) fn progress(&mut self, progress: Progress) {
        self.sink.progress(progress);
    }

    fn count(&mut self, expected: usize, failed: usize) {
        self.summary.expected += expected;
        self.summary.failed_expectations += failed;
    }

    fn keep_error(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }
}

/// A report in memory, and a function that observes the progress.
pub(super) struct Observed<'o> {
    pub(super) report: Report,
    pub(super) observe: &'o mut dyn FnMut(Progress),
}

impl Sink for Observed<'_> {
    fn exchange(&mut self, exchange: ExchangeReport<'_>) -> io::Result<()> {
        self.report.exchange(exchange)
    }

    fn connection(&mut self, connection: ConnectionReport<'_>) -> io::Result<()> {
        self.report.connection(connection)
    }

    fn configuration(&mut self, configuration: ConfigurationReport) -> io::Result<()> {
        self.report.configuration(configuration)
    }

    fn metrics(&mut self, metrics: MetricsReport) -> io::Result<()> {
        self.report.metrics(metrics)
    }

    fn note(&mut self, note: Note) -> io::Result<()> {
        self.report.note(note)
    }

    fn progress(&mut self, progress: Progress) {
        (self.observe)(progress);
    }
}
