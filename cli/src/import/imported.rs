//! The content of a recording: its records, and a count of the entries that a trace cannot have.

use std::collections::BTreeMap;
use std::fmt;

use super::record::Record;

/// Why an entry of a recording is not in the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LeftOut {
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
            Self::NoRequest => "without a valid request",
            Self::Tunnel => "with CONNECT, which traces do not support",
            Self::Status => "with a status that traces do not support",
            Self::NotHttp => "not HTTP",
            Self::NoResponse => "blocked or without a response",
            Self::Cached => "served by the browser",
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Imported {
    pub(super) records: Vec<Record>,
    pub(super) left_out: BTreeMap<LeftOut, usize>,
}

impl Imported {
    pub(super) fn add(&mut self, entry: Result<Record, LeftOut>) {
        match entry {
            Ok(record) => self.records.push(record),
            Err(why) => *self.left_out.entry(why).or_default() += 1,
        }
    }
}
