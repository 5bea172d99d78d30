//! The reports of `sluice replay`. They are written when a trace has ended; until then, what they
//! need of each exchange waits in a [`Sorter`](crate::sorter::Sorter).

mod json;
pub(crate) mod table;

use std::io;

use sluice_sim::replay::{
    ConfigurationReport, ConnectionReport, ExchangeReport, MetricsReport, Note, Progress, Sink,
    Summary,
};

use crate::files::{FileError, Output};
use json::JsonReport;
use table::TableReport;

/// A report in the format of the command line.
pub(crate) enum Format {
    Table(TableReport),
    Json(JsonReport),
}

impl Format {
    /// Adds the end of a trace.
    pub(crate) fn end_trace(
        &mut self,
        summary: Summary,
        output: &mut Output,
    ) -> Result<(), FileError> {
        match self {
            Self::Table(table) => output.write(|out| table.end_trace(&summary, out)),
            Self::Json(json) => {
                json.end_trace(summary);
                Ok(())
            }
        }
    }

    /// Writes what follows the last trace.
    pub(crate) fn end(self, output: &mut Output) -> Result<(), FileError> {
        output.write(|out| match self {
            Self::Table(table) => table.end(out),
            Self::Json(json) => json.write(out),
        })
    }

    fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Self::Table(table) => table,
            Self::Json(json) => json,
        }
    }
}

/// Passes the parts of a report to its format, and the progress to `observe`.
pub(crate) struct Observed<'r> {
    pub(crate) format: &'r mut Format,
    pub(crate) observe: &'r mut dyn FnMut(Progress),
}

impl Sink for Observed<'_> {
    fn exchange(&mut self, exchange: ExchangeReport<'_>) -> io::Result<()> {
        self.format.sink().exchange(exchange)
    }

    fn connection(&mut self, connection: ConnectionReport<'_>) -> io::Result<()> {
        self.format.sink().connection(connection)
    }

    fn configuration(&mut self, configuration: ConfigurationReport) -> io::Result<()> {
        self.format.sink().configuration(configuration)
    }

    fn metrics(&mut self, metrics: MetricsReport) -> io::Result<()> {
        self.format.sink().metrics(metrics)
    }

    fn note(&mut self, note: Note) -> io::Result<()> {
        self.format.sink().note(note)
    }

    fn progress(&mut self, progress: Progress) {
        (self.observe)(progress);
    }
}
