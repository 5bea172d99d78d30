//! Why a recording cannot be imported: one sentence with the place, what was found and what was
//! expected.

use std::io;

use sluice_sim::trace::TraceError;
use thiserror::Error;

use super::envoy_log::error::LineError;
use super::json_error::reason;
use crate::files::FileError;

#[derive(Debug, Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    Output(#[from] FileError),
    #[error("{name}: cannot be read: {source}")]
    Read { name: String, source: io::Error },
    /// A line of an access log.
    #[error("{name}:{line}: {source}")]
    Line { name: String, line: usize, source: LineError },
    #[error("{name}:{line}: {field}: not HAR 1.2: {reason}", line = source.line(), reason = reason(source))]
    Har { name: String, field: String, source: serde_json::Error },
    /// The recording is valid, but a trace has narrower limits, such as for the time that it
    /// covers.
    #[error("{name}: cannot be written as a trace: {source}")]
    Trace { name: String, source: TraceError },
    #[error("{name}: has no entries, so there is nothing to import; is it the right file?")]
    Empty { name: String },
    #[error("{name}: found no request to import; left out: {left_out}")]
    NothingImported { name: String, left_out: String },
    #[error("the requests cannot be sorted: {0}")]
    Sort(#[source] io::Error),
}
