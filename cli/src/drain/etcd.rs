//! The drain of a fleet under a key of etcd, over etcd's JSON gateway.
//!
//! A write is conditional on the revision that was read. It never overwrites a concurrent write of
//! another operator.

use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use serde_json::json;
use sluice_filter::config::Epoch;
use sluice_filter::drain::{Command, EpochOrdering, EpochTooHigh, Record, RecordError, epoch};
use thiserror::Error;

use super::endpoint::Endpoint;
use super::http::{Client, HttpError, Response};
use crate::text::printable;

/// The number of attempts to write while others change the key.
const MAX_ATTEMPTS: usize = 16;

#[derive(Debug, Clone)]
pub(crate) struct Etcd {
    pub(crate) url: Endpoint,
    pub(crate) key: String,
    client: Client,
}

/// Why the key could not be read or written.
#[derive(Debug, Error)]
pub(crate) enum EtcdError {
    #[error(transparent)]
    Http(#[from] HttpError),
    /// `reason` is etcd's message in parentheses, or empty.
    #[error("found status {status}{reason}, expected 200 from etcd's JSON gateway")]
    Status { status: u16, reason: String },
    #[error(
        "the response is not from etcd's JSON gateway; expected the URL of a client port of etcd 3.4 or later"
    )]
    NotEtcd,
    #[error("the key has a value that is not a drain, and was not changed ({0})")]
    ForeignValue(RecordError),
    #[error(
        "the key has a drain without an epoch, and was not changed; expected an epoch that the next drain can follow"
    )]
    NoEpoch,
    #[error("epoch {0} under the key is a different drain; expected a higher epoch")]
    EpochTaken(u64),
    #[error("epoch {wanted} is lower than epoch {known} under the key; expected a higher one")]
    EpochTooLow { wanted: u64, known: u64 },
    #[error(transparent)]
    EpochTooHigh(#[from] EpochTooHigh),
    #[error(
        "the drain under the key was not replaced: {0}; no proxy accepts it, and the epoch in force is unknown; \
         pass --watch for each proxy, or --epoch with a higher epoch than theirs"
    )]
    StoredEpochTooHigh(EpochTooHigh),
    #[error("others changed the key during each of {MAX_ATTEMPTS} attempts; run the command again")]
    Busy,
}

#[derive(Debug, PartialEq)]
struct KeyState {
    /// The revision of the key's last change; 0 if there is no key.
    revision: String,
    command: Option<Command>,
}

/// The change that a command makes to the key.
#[derive(Debug, PartialEq)]
enum Change {
    Write(Record),
    /// The key already has this drain.
    Nothing(Record),
}

impl Etcd {
    pub(crate) fn new(client: Client, url: Endpoint, key: String) -> Self {
        Self { url, key, client }
    }

    /// Reads the drain under the key; `None` if there is no key.
    pub(crate) fn record(&self, now_ms: u64) -> Result<Option<Record>, EtcdError> {
        let Some(command) = self.read()?.command else { return Ok(None) };
        let known = known_epoch(Some(&command))?;
        Ok(Some(Record::from_command(&command, known, now_ms)?))
    }

    /// Writes the drain of `command`. A command without an epoch gets the next one, which is also
    /// above `in_force`, the highest epoch of the proxies that reported theirs.
    pub(crate) fn put(
        &self,
        command: &Command,
        in_force: Option<u64>,
        now_ms: u64,
    ) -> Result<Record, EtcdError> {
        for _ in 0..MAX_ATTEMPTS {
            let state = self.read()?;
            let record = match change(state.command.as_ref(), command, in_force, now_ms)? {
                Change::Nothing(record) => return Ok(record),
                Change::Write(record) => record,
            };
            let transaction = transaction(&self.key, &state.revision, &record);
            if succeeded(&self.post("/v3/kv/txn", &transaction)?)? {
                return Ok(record);
            }
        }
        Err(EtcdError::Busy)
    }

    fn read(&self) -> Result<KeyState, EtcdError> {
        let request = json!({ "key": encoded(&self.key) });
        key_state(&self.post("/v3/kv/range", &request)?)
    }

    fn post(&self, path: &str, request: &serde_json::Value) -> Result<Response, HttpError> {
        self.client.post(&self.url.join(path), None, &request.to_string())
    }
}

fn encoded(text: &str) -> String {
    Base64::encode_string(text.as_bytes())
}

/// A transaction that writes `record` if the key's last change is still `revision`.
fn transaction(key: &str, revision: &str, record: &Record) -> serde_json::Value {
    let key = encoded(key);
    json!({
        "compare": [{ "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision }],
        "success": [{ "request_put": { "key": key, "value": encoded(&record.to_json()) } }],
    })
}

/// The fields of a response that are used. The header is required, so that the `{}` of another
/// server does not pass for a response of etcd.
#[derive(Deserialize)]
struct GatewayResponse {
    #[serde(rename = "header")]
    _header: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    kvs: Vec<Pair>,
    #[serde(default)]
    succeeded: bool,
}

#[derive(Deserialize)]
struct Pair {
    mod_revision: String,
    /// etcd omits an empty value.
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct GatewayError {
    message: String,
}

fn parse(response: &Response) -> Result<GatewayResponse, EtcdError> {
    if response.status != 200 {
        let error = serde_json::from_slice(&response.body);
        let reason = error.map_or_else(
            |_| String::new(),
            |GatewayError { message }| format!(" ({})", printable(&message)),
        );
        return Err(EtcdError::Status { status: response.status, reason });
    }
    serde_json::from_slice(&response.body).map_err(|_| EtcdError::NotEtcd)
}

fn key_state(response: &Response) -> Result<KeyState, EtcdError> {
    let Some(pair) = parse(response)?.kvs.pop() else {
        return Ok(KeyState { revision: "0".to_owned(), command: None });
    };
    let value = Base64::decode_vec(&pair.value).map_err(|_| EtcdError::NotEtcd)?;
    let command = Command::parse(&value).map_err(EtcdError::ForeignValue)?;
    Ok(KeyState { revision: pair.mod_revision, command: Some(command) })
}

/// The record that is under the key after `wanted`, if etcd has sent this response to a read.
pub(super) fn next_record(
    response: &Response,
    wanted: &Command,
    now_ms: u64,
) -> Result<Record, EtcdError> {
    let state = key_state(response)?;
    match change(state.command.as_ref(), wanted, None, now_ms)? {
        Change::Write(record) | Change::Nothing(record) => Ok(record),
    }
}

fn succeeded(response: &Response) -> Result<bool, EtcdError> {
    parse(response).map(|response| response.succeeded)
}

/// The epoch under the key; 0 if there is no key.
fn known_epoch(stored: Option<&Command>) -> Result<u64, EtcdError> {
    stored.map_or(Ok(0), |stored| stored.epoch.map(Epoch::value).ok_or(EtcdError::NoEpoch))
}

fn change(
    stored: Option<&Command>,
    wanted: &Command,
    in_force: Option<u64>,
    now_ms: u64,
) -> Result<Change, EtcdError> {
    let known = known_epoch(stored)?;
    let reported = in_force.unwrap_or(0);
    if let Err(error) = epoch::check(known, reported, now_ms) {
        // Proxies ignore the stored drain, so the next one does not have to follow it.
        return match (wanted.epoch, in_force) {
            (None, None) => Err(EtcdError::StoredEpochTooHigh(error)),
            _ => Ok(Change::Write(Record::from_command(wanted, reported, now_ms)?)),
        };
    }
    let record = Record::from_command(wanted, known.max(reported), now_ms)?;
    if record.epoch > known {
        return Ok(Change::Write(record));
    }
    if record.epoch < known {
        return Err(EtcdError::EpochTooLow { wanted: record.epoch, known });
    }
    let stored = stored.and_then(|stored| Record::from_command(stored, known, now_ms).ok());
    stored
        .filter(|stored| stored.compare(&record) == EpochOrdering::Same)
        .map(Change::Nothing)
        .ok_or(EtcdError::EpochTaken(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(json: &str) -> Command {
        Command::parse(json.as_bytes()).expect("a command")
    }

    fn response(status: u16, body: &serde_json::Value) -> Response {
        Response { status, body: body.to_string().into_bytes() }
    }

    fn response_with(value: &[u8]) -> Response {
        let value = Base64::encode_string(value);
        response(
            200,
            &json!({ "header": { "revision": "9" }, "count": "1",
                     "kvs": [{ "key": "ZHJhaW4=", "mod_revision": "7", "value": value }] }),
        )
    }

    #[test]
    fn the_next_epoch_follows_the_stored_one() {
        let stored = command(r#"{"epoch":7,"mode":"reload","started_ms":5,"window_ms":20}"#);
        let epoch = |wanted: &str| match change(Some(&stored), &command(wanted), Some(3), 100) {
            Ok(Change::Write(record) | Change::Nothing(record)) => {
                Ok((record.epoch, record.started_ms))
            }
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(epoch(r#"{"mode":"terminate"}"#), Ok((8, 100)));
        assert_eq!(epoch(r#"{"mode":"off","epoch":12}"#), Ok((12, 100)));
        assert_eq!(epoch(r#"{"mode":"reload","epoch":7,"window":"20ms"}"#), Ok((7, 5)));
        let taken = "epoch 7 under the key is a different drain; expected a higher epoch";
        assert_eq!(epoch(r#"{"mode":"reload","epoch":7,"window":"21ms"}"#), Err(taken.to_owned()));
        let below = "epoch 6 is lower than epoch 7 under the key; expected a higher one";
        assert_eq!(epoch(r#"{"mode":"reload","epoch":6}"#), Err(below.to_owned()));
    }

    #[test]
    fn the_first_and_the_last_epoch_have_limits() {
        let off = command(r#"{"mode":"off"}"#);
        let epoch = |stored: Option<&str>, in_force| match change(
            stored.map(command).as_ref(),
            &off,
            in_force,
            1,
        ) {
            Ok(Change::Write(record)) => Ok(record.epoch),
            other => Err(other),
        };
        assert_eq!(epoch(None, None).ok(), Some(1));
        assert_eq!(epoch(Some(r#"{"epoch":7,"mode":"reload"}"#), Some(60)).ok(), Some(61));
        let last = r#"{"epoch":9007199254740991,"mode":"off"}"#;
        let unknown = epoch(Some(last), None);
        assert!(matches!(unknown, Err(Err(EtcdError::StoredEpochTooHigh(_)))), "{unknown:?}");
        assert_eq!(epoch(Some(last), Some(60)).ok(), Some(61), "proxies ignore the stored drain");
        assert_eq!(epoch(Some(last), Some(0)).ok(), Some(1), "no proxy has had a drain");
        let wanted = command(r#"{"mode":"off","epoch":9007199254740991}"#);
        let too_high = change(None, &wanted, None, 1);
        assert!(matches!(too_high, Err(EtcdError::EpochTooHigh(_))), "{too_high:?}");
        let without = r#"{"mode":"off"}"#;
        assert!(matches!(epoch(Some(without), None), Err(Err(EtcdError::NoEpoch))));
    }

    #[test]
    fn a_drain_is_read_with_its_revision() {
        let found = key_state(&response_with(br#"{"epoch":7,"mode":"off"}"#)).expect("a drain");
        let expected = Some(command(r#"{"epoch":7,"mode":"off"}"#));
        assert_eq!(found, KeyState { revision: "7".to_owned(), command: expected });
        let empty = key_state(&response(200, &json!({ "header": {} }))).expect("no key");
        assert_eq!(empty, KeyState { revision: "0".to_owned(), command: None });
    }

    #[test]
    fn foreign_values_and_responses_are_rejected() {
        for value in [&b""[..], b"hello", b"{}", b"\xff", br#"{"epoch":7,"mode":"restart"}"#] {
            let state = key_state(&response_with(value));
            assert!(matches!(state, Err(EtcdError::ForeignValue(_))), "{value:?}");
        }
        let pair = |pair: serde_json::Value| response(200, &json!({ "header": {}, "kvs": [pair] }));
        for invalid in [
            response(200, &json!({})),
            response(200, &json!("<html>")),
            pair(json!({ "mod_revision": "7", "value": "no base64!" })),
            pair(json!({ "value": "e30=" })),
            Response { status: 200, body: b"{\"header\":{".to_vec() },
        ] {
            assert!(matches!(key_state(&invalid), Err(EtcdError::NotEtcd)), "{invalid:?}");
        }
        let denied = key_state(&response(401, &json!({ "code": 16, "message": "no\u{1b}token" })));
        let expected = "found status 401 (no\\u{1b}token), expected 200 from etcd's JSON gateway";
        assert_eq!(denied.expect_err("denied").to_string(), expected);
    }

    #[test]
    fn a_write_counts_only_if_etcd_confirms_it() {
        let confirmed = |body| succeeded(&response(200, &body)).ok();
        assert_eq!(confirmed(json!({ "header": {}, "succeeded": true })), Some(true));
        assert_eq!(confirmed(json!({ "header": {} })), Some(false));
        assert_eq!(confirmed(json!({ "succeeded": true })), None);
    }
}
