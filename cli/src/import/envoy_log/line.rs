//! One line of an access log, and typed access to its fields.
//!
//! Envoy writes numbers as numbers and missing values as `null`. Other formats and log shippers
//! write numbers as strings and missing values as `-`, which is accepted too.

use serde_json::{Map, Value};
use sluice_sim::trace::{is_control, is_token};

use super::super::record::Headers;
use super::error::LineError;
use super::field::Field;

pub(super) struct Line(Map<String, Value>);

impl Line {
    pub(super) fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// The fields of a JSON object.
    pub(super) fn parse(text: &str) -> Result<Map<String, Value>, LineError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(other) => Err(LineError::NotObject { found: kind(&other) }),
            Err(error) => Err(LineError::NotJson(error)),
        }
    }

    /// Fails if the log format lacks one of these fields. A field without a value is `null`.
    pub(super) fn require(&self, fields: &[Field]) -> Result<(), LineError> {
        match fields.iter().find(|field| !self.has(**field)) {
            Some(&field) => Err(LineError::Missing(field)),
            None => Ok(()),
        }
    }

    /// Whether the log format has this field; its value may be `null`.
    pub(super) fn has(&self, field: Field) -> bool {
        self.at(field).is_some()
    }

    pub(super) fn text(&self, field: Field) -> Result<Option<&str>, LineError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.unexpected(field, "a string")),
        }
    }

    pub(super) fn number(&self, field: Field) -> Result<Option<u64>, LineError> {
        let number = match self.value(field) {
            None => return Ok(None),
            Some(Value::String(text)) => text.parse().ok(),
            Some(other) => other.as_u64(),
        };
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(self.unexpected(field, "a whole number of at least 0")),
        }
    }

    /// A JSON object, or a string that contains one.
    pub(super) fn object(&self, field: Field) -> Result<Option<Map<String, Value>>, LineError> {
        let object = match self.value(field) {
            None => return Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text).ok(),
            Some(Value::Object(object)) => Some(object.clone()),
            Some(_) => None,
        };
        object.map(Some).ok_or_else(|| self.unexpected(field, "a JSON object"))
    }

    /// The logged headers that the message had.
    pub(super) fn headers(&self, field: Field) -> Result<Headers, LineError> {
        let mut headers = Headers::new();
        for (name, value) in self.object(field)?.unwrap_or_default() {
            if !is_token(&name) {
                return Err(LineError::HeaderName { field, name });
            }
            let value = match value {
                Value::Null => continue,
                Value::String(value) => value,
                Value::Number(value) => value.to_string(),
                _ => return Err(self.unexpected(field, "a string for each name")),
            };
            if !matches!(value.as_str(), "" | "-") {
                headers.push((name.to_ascii_lowercase(), without_controls(&value)));
            }
        }
        Ok(headers)
    }

    pub(super) fn unexpected(&self, field: Field, expected: &'static str) -> LineError {
        let found = match (field, self.value(field)) {
            (_, None) => "no value".to_owned(),
            // Headers can have secrets.
            (Field::RequestHeaders | Field::ResponseHeaders, Some(value)) => kind(value).to_owned(),
            (_, Some(value)) => excerpt(value),
        };
        LineError::Unexpected { field, found, expected }
    }

    fn value(&self, field: Field) -> Option<&Value> {
        match self.at(field)? {
            Value::Null => None,
            Value::String(text) if text == "-" || text.is_empty() => None,
            value => Some(value),
        }
    }

    fn at(&self, field: Field) -> Option<&Value> {
        let mut names = field.path().split('.');
        let first = self.0.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    }
}

/// HTTP does not allow control characters in a header value, but a log may have them.
fn without_controls(value: &str) -> String {
    value.replace(is_control, " ")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value for an error, shortened to fit on a line.
fn excerpt(value: &Value) -> String {
    const MAX_CHARS: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
