//! The errors in a line of an access log.

use thiserror::Error;

use super::super::json_error::reason;
use super::field::{EXAMPLE, Field};

#[derive(Debug, Error)]
pub(crate) enum LineError {
    #[error(
        "not valid JSON: {} at column {}; expected a line in the format of {EXAMPLE}",
        reason(.0),
        .0.column()
    )]
    NotJson(serde_json::Error),
    #[error("found {found}; expected a JSON object in the format of {EXAMPLE}")]
    NotObject { found: &'static str },
    #[error("longer than {limit} bytes; expected one JSON object per line")]
    TooLong { limit: u64 },
    #[error(
        "{path}: missing; add the entry \"{path}\": \"{format}\" to the log format, as in {EXAMPLE}",
        path = .0.path(),
        format = .0.format()
    )]
    Missing(Field),
    #[error("{}: found {found}; expected {expected}, as {} writes it", field.path(), field.format())]
    Unexpected { field: Field, found: String, expected: &'static str },
    #[error("{}.{name:?}: not a header name; expected letters, digits and hyphens", field.path())]
    HeaderName { field: Field, name: String },
}
