//! What is wrong with a recording, in one sentence that names the place, what was found and what was
//! expected.

use std::io;

use sluice_sim::trace::TraceError;
use thiserror::Error;

use super::envoy_log::{EXAMPLE, Field};

/// Why nothing was imported.
#[derive(Debug, Error)]
pub(super) enum ImportError {
    /// A file that cannot be opened or read to its end.
    #[error("{name}: cannot be read: {source}")]
    Read { name: String, source: io::Error },
    /// A line of an access log.
    #[error("{name}:{line}: {mistake}")]
    Line { name: String, line: usize, mistake: LineError },
    /// A HAR file.
    #[error("{name}:{line}: {field}: not HAR 1.2: {reason}")]
    Har { name: String, line: usize, field: String, reason: String },
    /// Something that passed so far and is beyond a trace, such as a day of 40 years.
    #[error("{name}: no trace can say that: {mistake}")]
    Beyond { name: String, mistake: TraceError },
}

/// What is wrong with a line of an access log.
#[derive(Debug, Error)]
pub(super) enum LineError {
    /// No JSON, or a line that ends too early.
    #[error("not JSON: {reason}; expected a line that the format of {EXAMPLE} writes")]
    NotJson { reason: String },
    /// JSON, but no line of an access log.
    #[error("found {found}; expected a JSON object that the format of {EXAMPLE} writes")]
    NotObject { found: &'static str },
    /// More than a request may have.
    #[error("longer than {limit} bytes; expected one JSON object a line")]
    TooLong { limit: u64 },
    /// A field without which no request can be told.
    #[error("{}: missing; expected the entry \"{}\": \"{}\" in the log's format, as {EXAMPLE} has it", .0.path(), .0.path(), .0.format())]
    Missing(Field),
    /// A field that says something else.
    #[error("{}: found {found}; expected {expected}, as {} writes it", field.path(), field.format())]
    Unexpected { field: Field, found: String, expected: &'static str },
    /// A header that no message can carry.
    #[error("{}.{name:?}: no header name; expected letters, digits and hyphens", field.path())]
    HeaderName { field: Field, name: String },
}
