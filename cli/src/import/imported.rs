//! The content of a recording: the trace of its records, and a count of the entries that a trace
//! cannot have.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use super::log_format::LogFormat;
use super::record::Record;
use super::secrets::Secrets;
use super::trace_writer::TraceWriter;

/// Why an entry of a recording is not in the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LeftOut {
    /// A line that is not from the access log, such as a message of the proxy.
    OtherText,
    NoRequest,
    Tunnel,
    Status,
    NotHttp,
    NoResponse,
    Cached,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherText => "not a line of the log",
            Self::NoRequest => "without a valid request",
            Self::Tunnel => "with CONNECT, which traces do not support",
            Self::Status => "with a status that traces do not support",
            Self::NotHttp => "not HTTP",
            Self::NoResponse => "blocked or without a response",
            Self::Cached => "served by the browser",
        })
    }
}

#[derive(Default)]
pub(super) struct Imported {
    pub(super) trace: TraceWriter,
    /// The number of records in the trace.
    pub(super) records: usize,
    pub(super) left_out: BTreeMap<LeftOut, usize>,
    /// Whether to drop the expectations of records.
    no_expect: bool,
    secrets: Secrets,
    /// The format of the first line of an access log.
    pub(super) format: Option<LogFormat>,
}

impl Imported {
    pub(super) fn new(no_expect: bool, secrets: Secrets) -> Self {
        Self { no_expect, secrets, ..Self::default() }
    }

    /// Records the format of a line. A preset applies to a whole trace, so the first one counts.
    pub(super) fn observe_format(&mut self, format: LogFormat) {
        if self.format.is_none() {
            self.format = Some(format);
            self.trace.set_preset(format.preset().map(|(_, preset)| preset));
        }
    }

    pub(super) fn add(&mut self, entry: Result<Record, LeftOut>) -> io::Result<()> {
        match entry {
            Ok(mut record) => {
                if self.no_expect {
                    record.exchange.expect = None;
                }
                self.secrets.redact(&mut record);
                self.records += 1;
                self.trace.add(&record)?;
            }
            Err(why) => *self.left_out.entry(why).or_default() += 1,
        }
        Ok(())
    }

    /// The text of the trace. Errors name the recording as `name`.
    pub(super) fn text(self, name: &str) -> Result<String, super::error::ImportError> {
        let mut text = String::new();
        self.trace.write(name, "trace", |line| {
            text.push_str(line);
            Ok(())
        })?;
        Ok(text)
    }
}
