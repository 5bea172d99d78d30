//! What a proxy tells about its drain, read from an answer of its admin path or its health path. Whoever lacks the token
//! is answered by the upstream instead, so an answer can be anything.

use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sluice_filter::drain::{Command, Record, RecordError};
use thiserror::Error;

use super::http::Answer;
use crate::style::printable;

/// The state of one proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    status: Health,
    /// The proxy's node id.
    pub(crate) instance: String,
    /// The drain that is known last; nothing before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
    /// What that drain closes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<String>,
    /// Requests in flight.
    pub(crate) in_flight: u64,
    /// The proxy's own time.
    pub(crate) timestamp: Moment,
    /// Responses that closed their connection for a drain since the process began; the health path does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) closed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<serde_json::Value>,
}

/// What a load balancer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Draining,
}

/// A moment in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Moment {
    text: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) unix_ms: u64,
}

/// Why an answer is not the one that was hoped for.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    /// Sluice understood the command and did not carry it out.
    #[error("refused with status {status}: {reason}")]
    Refused {
        /// The status.
        status: u16,
        /// What it says.
        reason: String,
    },
    /// Somebody else answered.
    #[error(
        "did not answer as an admin path of Sluice (status {status}); is the token right, and is drain.admin configured?"
    )]
    NoAdmin {
        /// The status.
        status: u16,
    },
    /// Somebody else answered, where a health path would have done as well.
    #[error(
        "did not answer as an admin path of Sluice, nor as a health path during a terminate (status {status}); is the token \
         right, and are drain.admin or health configured?"
    )]
    NoState {
        /// The status.
        status: u16,
    },
    /// What it shows as the drain is none.
    #[error("shows a drain that cannot be read: {0}")]
    Record(#[from] RecordError),
    /// Somebody else was faster.
    #[error("epoch {epoch} ({mode}) has taken the command's place already")]
    Replaced {
        /// The epoch in force.
        epoch: u64,
        /// Its mode.
        mode: &'static str,
    },
}

/// The refusal of a command.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl State {
    /// Reads the answer of an admin path.
    pub(crate) fn of_admin(answer: &Answer) -> Result<Self, StateError> {
        let status = answer.status;
        match (status, Self::parse(&answer.body)) {
            (200, Some(state)) if state.closed.is_some() => return Ok(state),
            (400 | 408 | 409 | 413 | 503, None) => {}
            _ => return Err(StateError::NoAdmin { status }),
        }
        match serde_json::from_slice::<Refusal>(&answer.body) {
            Ok(refusal) => {
                Err(StateError::Refused { status, reason: printable(refusal.error.trim()) })
            }
            Err(_) => Err(StateError::NoAdmin { status }),
        }
    }

    /// Reads the answer of an admin path or a health path. The latter has the status that the configuration wants.
    pub(crate) fn of_any(answer: &Answer) -> Result<Self, StateError> {
        Self::parse(&answer.body).ok_or(StateError::NoState { status: answer.status })
    }

    /// The drain that `command` began, according to the answer to it.
    pub(crate) fn began(&self, command: &Command) -> Result<Record, StateError> {
        let record = self.record()?.ok_or(StateError::NoAdmin { status: 200 })?;
        let is_epoch = command.epoch.is_none_or(|epoch| epoch.value() == record.epoch);
        if is_epoch && record.mode == command.mode {
            return Ok(record);
        }
        Err(StateError::Replaced { epoch: record.epoch, mode: record.mode.word() })
    }

    fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The drain in force, if there ever was one.
    pub(crate) fn record(&self) -> Result<Option<Record>, RecordError> {
        self.record.as_ref().map(|record| Record::parse(record.to_string().as_bytes())).transpose()
    }
}

impl TryFrom<String> for Moment {
    type Error = humantime::TimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let since = humantime::parse_rfc3339(&text)?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { text, unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) })
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: &str = r#"{"status":"ok","instance":"a","in_flight":3,"timestamp":"1970-01-01T00:00:02.005Z","closed":0}"#;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec() }
    }

    fn draining(record: &str) -> String {
        FRESH.replace(
            "\"closed\":0",
            &format!("\"epoch\":7,\"mode\":\"reload\",\"closed\":5,\"record\":{record}"),
        )
    }

    #[test]
    fn a_state_is_read_and_written_as_it_was() {
        let record = r#"{"epoch":7,"mode":"reload","started_ms":1000,"window_ms":500}"#;
        for body in [FRESH.to_owned(), draining(record)] {
            let state = State::of_admin(&answer(200, &body)).expect("a state");
            let again = serde_json::to_string(&state).expect("JSON");
            assert_eq!(State::of_admin(&answer(200, &again)).ok(), Some(state.clone()));
            assert_eq!((state.in_flight, state.timestamp.unix_ms), (3, 2005));
        }
    }

    #[test]
    fn what_others_answer_is_no_state() {
        let health = FRESH.replace(",\"closed\":0", "");
        for (status, body) in [
            (200, "<html>".to_owned()),
            (200, String::new()),
            (200, "null".to_owned()),
            (200, FRESH[..40].to_owned()),
            (200, FRESH.replace('3', "-3")),
            (200, FRESH.replace('3', "1e300")),
            (200, FRESH.replace("\"ok\"", "\"fine\"")),
            (200, FRESH.replace("1970-01-01", "yesterday")),
            (200, health.clone()),
            (200, "[".repeat(100_000)),
            (404, FRESH.to_owned()),
            (503, FRESH.to_owned()),
            (404, r#"{"error":"no such page"}"#.to_owned()),
            (500, r#"{"error":"oops"}"#.to_owned()),
            (409, r#"{"error":7}"#.to_owned()),
        ] {
            let error = State::of_admin(&answer(status, &body)).expect_err("somebody else");
            assert!(
                matches!(error, StateError::NoAdmin { status: found } if found == status),
                "{body}"
            );
        }
        assert!(State::of_any(&answer(503, &health)).is_ok());
        assert!(matches!(
            State::of_any(&answer(404, "x")),
            Err(StateError::NoState { status: 404 })
        ));
    }

    #[test]
    fn a_refusal_is_told_without_the_escapes_in_it() {
        let body = "{\"error\":\"epoch 6 is below 7\\u001b[2J\\n\"}";
        let error = State::of_admin(&answer(409, body)).expect_err("a refusal").to_string();
        assert_eq!(error, "refused with status 409: epoch 6 is below 7\\u{1b}[2J");
    }

    #[test]
    fn the_answer_to_a_command_shows_whether_it_is_in_force() {
        let began = |record: &str, command: &str| {
            let state = State::of_admin(&answer(200, &draining(record))).expect("a state");
            let command = Command::parse(command.as_bytes()).expect("a command");
            state.began(&command).map_err(|error| error.to_string())
        };
        let record = r#"{"epoch":7,"mode":"reload","started_ms":1000,"window_ms":500}"#;
        let found = began(record, r#"{"mode":"reload"}"#).expect("in force");
        assert_eq!((found.epoch, found.started_ms, found.window_ms), (7, 1000, 500));
        assert!(began(record, r#"{"mode":"reload","epoch":7}"#).is_ok());
        let replaced = "epoch 7 (reload) has taken the command's place already";
        for command in [r#"{"mode":"off"}"#, r#"{"mode":"reload","epoch":6}"#] {
            assert_eq!(began(record, command), Err(replaced.to_owned()));
        }
        let error = began(r#"{"epoch":7}"#, r#"{"mode":"off"}"#).expect_err("half a record");
        assert!(error.starts_with("shows a drain that cannot be read: "), "{error}");
    }
}
