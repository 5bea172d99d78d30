//! A fleet's drain under a key of etcd, over etcd's JSON gateway: read what stands there, and write the next epoch only
//! if that still stands there, so that of two operators neither overwrites the other unseen.

use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use serde_json::json;
use sluice_filter::config::Epoch;
use sluice_filter::drain::{Command, Record, RecordError};
use thiserror::Error;

use super::http::{Answer, Client, HttpError};
use super::url::Url;
use crate::style::printable;

/// How often a write is repeated when others write, too.
const ATTEMPTS: usize = 16;

/// A key of an etcd.
#[derive(Debug, Clone)]
pub(crate) struct Etcd {
    pub(crate) url: Url,
    pub(crate) key: String,
    client: Client,
}

/// Why the key could not be read or written.
#[derive(Debug, Error)]
pub(crate) enum EtcdError {
    /// There is no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer is no success.
    #[error("answered with status {status}{reason}, expected 200 from etcd's JSON gateway")]
    Status {
        /// The status.
        status: u16,
        /// What etcd says about it, or nothing.
        reason: String,
    },
    /// The answer is somebody else's.
    #[error(
        "answered with something else than etcd's JSON gateway does; is it the client port of etcd 3.4 or later?"
    )]
    Form,
    /// Something else stands under the key.
    #[error("the key holds something else, which stays ({0})")]
    Foreign(RecordError),
    /// A drain without an epoch stands under the key.
    #[error(
        "the key holds a drain without an epoch, which stays; expected one with a number to count on from"
    )]
    NoEpoch,
    /// The same epoch means something else.
    #[error("epoch {0} stands under the key and means something else; expected a higher one")]
    Taken(u64),
    /// A later drain stands under the key.
    #[error("epoch {wanted} is below {known}, which stands under the key")]
    Below {
        /// The epoch that was to be written.
        wanted: u64,
        /// The one that is there.
        known: u64,
    },
    /// There is no higher epoch.
    #[error("no epoch is left above the one under the key")]
    NoEpochLeft,
    /// Others were faster each time.
    #[error("others write the key at the same time; try again")]
    Busy,
}

/// What stands under the key.
#[derive(Debug, PartialEq)]
struct Standing {
    /// The number of its last change; 0 when there is none.
    revision: String,
    command: Option<Command>,
}

/// What to do about it.
#[derive(Debug, PartialEq)]
enum Next {
    Write(Record),
    /// It is there already.
    Done(Record),
}

impl Etcd {
    /// The key of the etcd at this URL.
    pub(crate) fn new(client: Client, url: Url, key: String) -> Self {
        Self { url, key, client }
    }

    /// The drain under the key.
    pub(crate) fn record(&self, now_ms: u64) -> Result<Option<Record>, EtcdError> {
        let Some(command) = self.standing()?.command else { return Ok(None) };
        known(Some(&command)).map(|known| command.record(known, now_ms))
    }

    /// Writes the drain that `command` asks for; one without a number gets one above `least`, too.
    pub(crate) fn put(
        &self,
        command: &Command,
        least: u64,
        now_ms: u64,
    ) -> Result<Record, EtcdError> {
        for _ in 0..ATTEMPTS {
            let standing = self.standing()?;
            let record = match next(standing.command.as_ref(), command, least, now_ms)? {
                Next::Done(record) => return Ok(record),
                Next::Write(record) => record,
            };
            let request = write(&self.key, &standing.revision, &record);
            if is_written(&self.ask("/v3/kv/txn", &request)?)? {
                return Ok(record);
            }
        }
        Err(EtcdError::Busy)
    }

    fn standing(&self) -> Result<Standing, EtcdError> {
        let request = json!({ "key": encoded(&self.key) });
        standing(&self.ask("/v3/kv/range", &request)?)
    }

    fn ask(&self, path: &str, request: &serde_json::Value) -> Result<Answer, HttpError> {
        self.client.post(&self.url.join(path), None, &request.to_string())
    }
}

fn encoded(text: &str) -> String {
    Base64::encode_string(text.as_bytes())
}

/// A transaction that writes `record` if the key's last change is still `revision`.
fn write(key: &str, revision: &str, record: &Record) -> serde_json::Value {
    let key = encoded(key);
    json!({
        "compare": [{ "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision }],
        "success": [{ "request_put": { "key": key, "value": encoded(&record.to_json()) } }],
    })
}

/// The parts of etcd's answers that matter. Each has a header, so that nobody else's `{}` is taken for one.
#[derive(Deserialize)]
struct Said {
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
    /// Missing when it is empty.
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
}

fn said(answer: &Answer) -> Result<Said, EtcdError> {
    if answer.status != 200 {
        let complaint = serde_json::from_slice(&answer.body);
        let reason = complaint.map_or_else(
            |_| String::new(),
            |Complaint { message }| format!(" ({})", printable(&message)),
        );
        return Err(EtcdError::Status { status: answer.status, reason });
    }
    serde_json::from_slice(&answer.body).map_err(|_| EtcdError::Form)
}

fn standing(answer: &Answer) -> Result<Standing, EtcdError> {
    let Some(pair) = said(answer)?.kvs.pop() else {
        return Ok(Standing { revision: "0".to_owned(), command: None });
    };
    let value = Base64::decode_vec(&pair.value).map_err(|_| EtcdError::Form)?;
    let command = Command::parse(&value).map_err(EtcdError::Foreign)?;
    Ok(Standing { revision: pair.mod_revision, command: Some(command) })
}

fn is_written(answer: &Answer) -> Result<bool, EtcdError> {
    said(answer).map(|said| said.succeeded)
}

/// The epoch under the key; 0 when there is none.
fn known(standing: Option<&Command>) -> Result<u64, EtcdError> {
    standing.map_or(Ok(0), |standing| standing.epoch.map(Epoch::value).ok_or(EtcdError::NoEpoch))
}

fn next(
    standing: Option<&Command>,
    wanted: &Command,
    least: u64,
    now_ms: u64,
) -> Result<Next, EtcdError> {
    let known = known(standing)?;
    let record = wanted.record(known.max(least), now_ms).ok_or(EtcdError::NoEpochLeft)?;
    if record.epoch > known {
        return Ok(Next::Write(record));
    }
    if record.epoch < known {
        return Err(EtcdError::Below { wanted: record.epoch, known });
    }
    let same = standing.and_then(|standing| standing.record(known, now_ms));
    same.filter(|standing| standing.agrees(&record)).map(Next::Done).ok_or(EtcdError::Taken(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(json: &str) -> Command {
        Command::parse(json.as_bytes()).expect("a command")
    }

    fn answer(status: u16, body: &serde_json::Value) -> Answer {
        Answer { status, body: body.to_string().into_bytes() }
    }

    fn holding(value: &[u8]) -> Answer {
        let value = Base64::encode_string(value);
        answer(
            200,
            &json!({ "header": { "revision": "9" }, "count": "1",
                             "kvs": [{ "key": "ZHJhaW4=", "mod_revision": "7", "value": value }] }),
        )
    }

    #[test]
    fn the_next_epoch_follows_what_stands_there() {
        let standing = command(r#"{"epoch":7,"mode":"reload","started_ms":5,"window_ms":20}"#);
        let epoch = |wanted: &str| match next(Some(&standing), &command(wanted), 3, 100) {
            Ok(Next::Write(record)) => Ok((record.epoch, record.started_ms)),
            Ok(Next::Done(record)) => Ok((record.epoch, record.started_ms)),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(epoch(r#"{"mode":"terminate"}"#), Ok((8, 100)));
        assert_eq!(epoch(r#"{"mode":"off","epoch":12}"#), Ok((12, 100)));
        assert_eq!(epoch(r#"{"mode":"reload","epoch":7,"window":"20ms"}"#), Ok((7, 5)));
        let taken = "epoch 7 stands under the key and means something else; expected a higher one";
        assert_eq!(epoch(r#"{"mode":"reload","epoch":7,"window":"21ms"}"#), Err(taken.to_owned()));
        let below = "epoch 6 is below 7, which stands under the key";
        assert_eq!(epoch(r#"{"mode":"reload","epoch":6}"#), Err(below.to_owned()));
        assert!(
            matches!(next(None, &command(r#"{"mode":"off"}"#), 0, 1), Ok(Next::Write(record)) if record.epoch == 1)
        );
        let last = command(r#"{"epoch":9007199254740991,"mode":"off"}"#);
        assert!(matches!(
            next(Some(&last), &command(r#"{"mode":"off"}"#), 0, 1),
            Err(EtcdError::NoEpochLeft)
        ));
        let above = next(Some(&standing), &command(r#"{"mode":"off"}"#), 60, 1);
        assert!(matches!(above, Ok(Next::Write(record)) if record.epoch == 61));
        let unnumbered = command(r#"{"mode":"off"}"#);
        assert!(matches!(next(Some(&unnumbered), &unnumbered, 0, 1), Err(EtcdError::NoEpoch)));
    }

    #[test]
    fn what_stands_there_is_read_with_its_revision() {
        let found = standing(&holding(br#"{"epoch":7,"mode":"off"}"#)).expect("a drain");
        let expected = Some(command(r#"{"epoch":7,"mode":"off"}"#));
        assert_eq!(found, Standing { revision: "7".to_owned(), command: expected });
        let empty = standing(&answer(200, &json!({ "header": {} }))).expect("no key");
        assert_eq!(empty, Standing { revision: "0".to_owned(), command: None });
    }

    #[test]
    fn foreign_values_and_answers_are_refused() {
        for value in [&b""[..], b"hello", b"{}", b"\xff", br#"{"epoch":7,"mode":"restart"}"#] {
            assert!(matches!(standing(&holding(value)), Err(EtcdError::Foreign(_))), "{value:?}");
        }
        let pair = |pair: serde_json::Value| answer(200, &json!({ "header": {}, "kvs": [pair] }));
        for wrong in [
            answer(200, &json!({})),
            answer(200, &json!("<html>")),
            pair(json!({ "mod_revision": "7", "value": "no base64!" })),
            pair(json!({ "value": "e30=" })),
            Answer { status: 200, body: b"{\"header\":{".to_vec() },
        ] {
            assert!(matches!(standing(&wrong), Err(EtcdError::Form)), "{wrong:?}");
        }
        let denied = standing(&answer(401, &json!({ "code": 16, "message": "no\u{1b}token" })));
        let expected =
            "answered with status 401 (no\\u{1b}token), expected 200 from etcd's JSON gateway";
        assert_eq!(denied.expect_err("denied").to_string(), expected);
    }

    #[test]
    fn only_what_etcd_confirms_is_written() {
        let written = |body| is_written(&answer(200, &body)).ok();
        assert_eq!(written(json!({ "header": {}, "succeeded": true })), Some(true));
        assert_eq!(written(json!({ "header": {} })), Some(false));
        assert_eq!(written(json!({ "succeeded": true })), None);
    }
}
