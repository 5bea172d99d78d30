//! Errors in a trace: where the mistake is, what was found, and what was expected.

use thiserror::Error;

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
