//! The drain state of a proxy, read from a response of its admin path or health path.
//!
//! Without the right token, the upstream responds instead of the filter. A response can therefore
//! be anything.

use std::fmt;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sluice_filter::drain::{Command, Record, RecordError};
use thiserror::Error;

use super::http::Response;
use crate::text::printable;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProxyState {
    status: Health,
    /// The proxy's node id; may be empty.
    pub(crate) instance: String,
    /// The latest drain; `None` before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<String>,
    pub(crate) in_flight: u64,
    /// The proxy's own time.
    pub(crate) timestamp: Timestamp,
    /// Responses that closed their connection for a drain since the process began. Only the admin
    /// path reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) closed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<serde_json::Value>,
    /// The streams that the drain waits for. Only the admin path reports them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) waits_for: Vec<Waiting>,
}

/// The number of streams of one route and kind that a drain waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    route: String,
    kind: String,
    streams: u64,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, kind, streams } = self;
        write!(f, "{streams} {} of {}", printable(kind), printable(route))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Draining,
}

/// A time in RFC 3339. The text is kept, so that it is printed as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Timestamp {
    text: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) unix_ms: u64,
}

/// Why a response does not have the expected state.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    /// The filter understood the command and rejected it.
    #[error("the proxy rejected the command with status {status}: {reason}")]
    Rejected { status: u16, reason: String },
    #[error(
        "the response with status {status} is not from an admin path of Sluice; check the token, and that the configuration has drain.admin"
    )]
    NotAdmin { status: u16 },
    #[error(
        "the response with status {status} is neither from an admin path of Sluice nor from a health path during a terminate; check the token, and that the configuration has drain.admin or health"
    )]
    NotState { status: u16 },
    #[error("the response has an invalid drain: {0}")]
    Record(#[from] RecordError),
    /// Another command arrived between this one and its response.
    #[error("epoch {epoch} ({mode}) has already replaced the drain of this command")]
    Replaced { epoch: u64, mode: &'static str },
}

/// The response to a command that the filter rejects.
#[derive(Deserialize)]
struct Rejection {
    error: String,
}

impl ProxyState {
    /// Reads the response of an admin path.
    pub(crate) fn from_admin(response: &Response) -> Result<Self, StateError> {
        let status = response.status;
        match (status, Self::parse(&response.body)) {
            (200, Some(state)) if state.closed.is_some() => return Ok(state),
            (400 | 408 | 409 | 413 | 503, None) => {}
            _ => return Err(StateError::NotAdmin { status }),
        }
        match serde_json::from_slice::<Rejection>(&response.body) {
            Ok(Rejection { error }) => {
                Err(StateError::Rejected { status, reason: printable(error.trim()) })
            }
            Err(_) => Err(StateError::NotAdmin { status }),
        }
    }

    /// Reads the response of an admin path or a health path. The status of a health path is up to
    /// the configuration.
    pub(crate) fn from_admin_or_health(response: &Response) -> Result<Self, StateError> {
        Self::parse(&response.body).ok_or(StateError::NotState { status: response.status })
    }

    /// The drain that `command` started, if this state is the response to it.
    pub(crate) fn started(&self, command: &Command) -> Result<Record, StateError> {
        let record = self.record()?.ok_or(StateError::NotAdmin { status: 200 })?;
        let same_epoch = command.epoch.is_none_or(|epoch| epoch.value() == record.epoch);
        if same_epoch && record.mode == command.mode {
            return Ok(record);
        }
        Err(StateError::Replaced { epoch: record.epoch, mode: record.mode.word() })
    }

    fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The drain in force; `None` before the first one, and always for a health path.
    pub(crate) fn record(&self) -> Result<Option<Record>, RecordError> {
        self.record.as_ref().map(|record| Record::parse(record.to_string().as_bytes())).transpose()
    }

    /// The proxy's name for people: its node id, or `url` if it has none.
    pub(crate) fn name(&self, url: &str) -> String {
        printable(if self.instance.is_empty() { url } else { &self.instance })
    }
}

impl TryFrom<String> for Timestamp {
    type Error = humantime::TimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let since = humantime::parse_rfc3339(&text)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { text, unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) })
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_DRAIN: &str = r#"{"status":"ok","instance":"a","in_flight":3,"timestamp":"1970-01-01T00:00:02.005Z","closed":0}"#;

    fn response(status: u16, body: &str) -> Response {
        Response { status, body: body.as_bytes().to_vec() }
    }

    fn draining(record: &str) -> String {
        NO_DRAIN.replace(
            "\"closed\":0",
            &format!("\"epoch\":7,\"mode\":\"reload\",\"closed\":5,\"record\":{record}"),
        )
    }

    #[test]
    fn a_state_is_written_as_it_was_read() {
        let record = r#"{"epoch":7,"mode":"reload","started_ms":1000,"window_ms":500}"#;
        for body in [NO_DRAIN.to_owned(), draining(record)] {
            let state = ProxyState::from_admin(&response(200, &body)).expect("a state");
            let written = serde_json::to_string(&state).expect("JSON");
            let again = ProxyState::from_admin(&response(200, &written)).ok();
            assert_eq!(again, Some(state.clone()));
            assert_eq!((state.in_flight, state.timestamp.unix_ms), (3, 2005));
        }
    }

    #[test]
    fn responses_of_other_servers_are_rejected() {
        let health = NO_DRAIN.replace(",\"closed\":0", "");
        for (status, body) in [
            (200, "<html>".to_owned()),
            (200, String::new()),
            (200, "null".to_owned()),
            (200, NO_DRAIN[..40].to_owned()),
            (200, NO_DRAIN.replace('3', "-3")),
            (200, NO_DRAIN.replace('3', "1e300")),
            (200, NO_DRAIN.replace("\"ok\"", "\"fine\"")),
            (200, NO_DRAIN.replace("1970-01-01", "yesterday")),
            (200, health.clone()),
            (200, "[".repeat(100_000)),
            (404, NO_DRAIN.to_owned()),
            (503, NO_DRAIN.to_owned()),
            (404, r#"{"error":"no such page"}"#.to_owned()),
            (500, r#"{"error":"oops"}"#.to_owned()),
            (409, r#"{"error":7}"#.to_owned()),
        ] {
            let error = ProxyState::from_admin(&response(status, &body)).expect_err("no state");
            assert!(
                matches!(error, StateError::NotAdmin { status: found } if found == status),
                "{body}"
            );
        }
        assert!(ProxyState::from_admin_or_health(&response(503, &health)).is_ok());
        assert!(matches!(
            ProxyState::from_admin_or_health(&response(404, "x")),
            Err(StateError::NotState { status: 404 })
        ));
    }

    #[test]
    fn escapes_in_a_rejection_are_not_printed() {
        let body = "{\"error\":\"epoch 6 is below 7\\u001b[2J\\n\"}";
        let error = ProxyState::from_admin(&response(409, body)).expect_err("a rejection");
        assert_eq!(
            error.to_string(),
            "the proxy rejected the command with status 409: epoch 6 is below 7\\u{1b}[2J"
        );
    }

    #[test]
    fn a_command_that_was_replaced_is_an_error() {
        let started = |record: &str, command: &str| {
            let state = ProxyState::from_admin(&response(200, &draining(record))).expect("a state");
            let command = Command::parse(command.as_bytes()).expect("a command");
            state.started(&command).map_err(|error| error.to_string())
        };
        let record = r#"{"epoch":7,"mode":"reload","started_ms":1000,"window_ms":500}"#;
        let found = started(record, r#"{"mode":"reload"}"#).expect("in force");
        assert_eq!((found.epoch, found.started_ms, found.window_ms), (7, 1000, 500));
        assert!(started(record, r#"{"mode":"reload","epoch":7}"#).is_ok());
        let replaced = "epoch 7 (reload) has already replaced the drain of this command";
        for command in [r#"{"mode":"off"}"#, r#"{"mode":"reload","epoch":6}"#] {
            assert_eq!(started(record, command), Err(replaced.to_owned()));
        }
        let error = started(r#"{"epoch":7}"#, r#"{"mode":"off"}"#).expect_err("half a record");
        assert!(error.starts_with("the response has an invalid drain: "), "{error}");
    }
}
