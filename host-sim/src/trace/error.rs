//! Errors in a trace: where the mistake is, what was found, and what was expected.

use std::io;

use thiserror::Error;

/// Why a trace cannot be read any further.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A line has a mistake.
    #[error(transparent)]
    Mistake(#[from] TraceError),
    /// The input failed.
    #[error("{trace}: cannot be read: {source}")]
    #[non_exhaustive]
    Input {
        /// The name of the trace.
        trace: String,
        source: io::Error,
    },
    /// The input is not text.
    #[error("{trace}: not valid UTF-8 at byte {at}; expected JSON Lines")]
    #[non_exhaustive]
    NotUtf8 {
        /// The name of the trace.
        trace: String,
        /// The place from the start of the trace, counted from 0.
        at: u64,
    },
}

/// A mistake in a trace, displayed as `file:line: field: what was expected`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{trace}:{line}: {mistake}")]
#[non_exhaustive]
pub struct TraceError {
    /// The name of the trace.
    pub trace: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The mistake on that line.
    pub mistake: FieldError,
}

/// A mistake in one field of a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {message}")]
#[non_exhaustive]
pub struct FieldError {
    /// The path of the field, from the top of the line.
    pub field: String,
    /// The found and the expected value.
    pub message: String,
}

impl FieldError {
    pub(crate) fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into() }
    }

    /// Prefixes the path of the field with `parent`.
    pub(super) fn within(self, parent: &str) -> Self {
        let field = match self.field.as_str() {
            LINE => parent.to_owned(),
            inner => format!("{parent}.{inner}"),
        };
        Self { field, ..self }
    }
}

/// The path of mistakes that concern the whole line.
pub(super) const LINE: &str = "line";
