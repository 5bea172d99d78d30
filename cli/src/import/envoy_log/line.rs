//! A line of the access log: the fields that are read, and what stands in them.
//!
//! Envoy writes numbers as numbers and nothing as `null`; through other formats and log shippers they
//! may come as text and as `-`, which is taken for the same.

use serde_json::{Map, Value};
use sluice_sim::trace::{is_control, is_token};

use super::super::error::LineError;
use super::super::record::Headers;

/// Where the format stands that writes these fields.
pub(in super::super) const EXAMPLE: &str = "envoy-examples/access-log/access_log.yaml";

macro_rules! fields {
    ($( $name:ident = $path:literal : $format:literal, )*) => {
        /// A field, and the format entry that writes it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in super::super) enum Field { $( $name, )* }

        impl Field {
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[ $( Self::$name, )* ];

            /// Its name, with the object's before it that it stands in.
            pub(in super::super) const fn path(self) -> &'static str {
                match self { $( Self::$name => $path, )* }
            }

            /// What writes it.
            pub(in super::super) const fn format(self) -> &'static str {
                match self { $( Self::$name => $format, )* }
            }
        }
    };
}

fields! {
    StartTime = "start_time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    Duration = "duration": "%DURATION%",
    ConnectionId = "connection_id": "%CONNECTION_ID%",
    RemoteAddress = "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    Protocol = "protocol": "%PROTOCOL%",
    Method = "method": "%REQ(:METHOD)%",
    Scheme = "scheme": "%REQ(:SCHEME)%",
    Authority = "authority": "%REQ(:AUTHORITY)%",
    Path = "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    RequestHeaders = "request_headers": "%REQ(NAME)% for each",
    RouteName = "route_name": "%ROUTE_NAME%",
    Policy = "policy": "%METADATA(ROUTE:sluice:policy)%",
    BytesReceived = "bytes_received": "%BYTES_RECEIVED%",
    AttemptCount = "upstream_request_attempt_count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    ResponseCode = "response_code": "%RESPONSE_CODE%",
    ResponseCodeDetails = "response_code_details": "%RESPONSE_CODE_DETAILS%",
    ResponseFlags = "response_flags": "%RESPONSE_FLAGS%",
    ResponseHeaders = "response_headers": "%RESP(NAME)% for each",
    BytesSent = "bytes_sent": "%BYTES_SENT%",
    RequestEnd = "timing.request_end": "%COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)%",
    UpstreamStart = "timing.upstream_start": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%",
    ResponseStart = "timing.response_start": "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%",
    ResponseEnd = "timing.response_end": "%COMMON_DURATION(DS_RX_BEG:US_RX_END:us)%",
    Decision = "decision": "%FILTER_STATE(wasm.sluice.decision:PLAIN)%",
}

/// What one line says.
pub(super) struct Line(Map<String, Value>);

impl Line {
    pub(super) fn parse(text: &str) -> Result<Self, LineError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(other) => Err(LineError::NotObject { found: kind(&other) }),
            Err(error) => {
                let reason = error.to_string();
                // The line is known, and is not the first one that this text names.
                let reason = reason.replace(" at line 1 column", " at column");
                Err(LineError::NotJson { reason })
            }
        }
    }

    /// Refuses a line whose format lacks one of these; `null` is said of what there is not.
    pub(super) fn require(&self, fields: &[Field]) -> Result<(), LineError> {
        match fields.iter().find(|field| !self.notes(**field)) {
            Some(&field) => Err(LineError::Missing(field)),
            None => Ok(()),
        }
    }

    /// Whether the log's format has this field, be it with `null`.
    pub(super) fn notes(&self, field: Field) -> bool {
        self.at(field).is_some()
    }

    pub(super) fn text(&self, field: Field) -> Result<Option<&str>, LineError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.unexpected(field, "text")),
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
            None => Err(self.unexpected(field, "a whole number from 0")),
        }
    }

    /// A JSON object, or one that was written as text.
    pub(super) fn object(&self, field: Field) -> Result<Option<Map<String, Value>>, LineError> {
        let object = match self.value(field) {
            None => return Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text).ok(),
            Some(Value::Object(object)) => Some(object.clone()),
            Some(_) => None,
        };
        object.map(Some).ok_or_else(|| self.unexpected(field, "a JSON object"))
    }

    /// The headers that were logged and that were there.
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
                _ => return Err(self.unexpected(field, "a text for each name")),
            };
            if !matches!(value.as_str(), "" | "-") {
                headers.push((name.to_ascii_lowercase(), one_line(&value)));
            }
        }
        Ok(headers)
    }

    pub(super) fn unexpected(&self, field: Field, expected: &'static str) -> LineError {
        let found = self.value(field).map_or_else(|| "nothing".to_owned(), shown);
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

/// Values come without the characters that HTTP does not let through.
fn one_line(value: &str) -> String {
    value.replace(is_control, " ")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value for an error, which nobody reads to its end if it is long.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
