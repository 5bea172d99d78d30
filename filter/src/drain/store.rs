//! The key-value stores that may hold the drain: how each is asked for a key, and what its answer says.

use base64ct::{Base64, Encoding as _};

use super::command::Command;
use super::record::RecordError;
use crate::config::{Fields, Node, Place, StoreFormat, parse_json, text};
use crate::rules::ControlStore;

/// The largest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// A request to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// `:method`.
    pub method: &'static str,
    /// `:path`.
    pub path: String,
    /// The body, if the format has one.
    pub body: Option<String>,
}

/// Why an answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The host did not take the call.
    #[error("the proxy cannot call it: does it have this cluster?")]
    NoCall,
    /// The answer began and did not end in time, or the host would not keep all of it.
    #[error("its answer broke off, took longer than the timeout or is larger than the proxy keeps")]
    BrokenOff,
    /// No answer came, in spite of the host's promise of one.
    #[error("no answer came")]
    Silent,
    /// The answer is no success. The proxy itself answers 503 when it cannot connect and 504 after the timeout.
    #[error("it answered with status {0}, expected 200")]
    Status(u16),
    /// The answer is longer than [`MAX_ANSWER`].
    #[error("its answer has {0} bytes, expected at most {MAX_ANSWER}")]
    TooLarge(usize),
    /// The answer has not the form of its kind of store.
    #[error("its answer has not the form that this kind of store has")]
    Form,
    /// What stands under the key is no drain.
    #[error("{0}")]
    Record(RecordError),
    /// A key has to say which epoch it means: the next one would be another at each look.
    #[error(
        "the drain record is wrong at epoch: missing; expected a whole number from 1 to 2^53 - 1"
    )]
    NoEpoch,
}

/// How the store is asked.
pub fn ask(control: &ControlStore) -> Ask {
    let key = control.key.as_str();
    match control.format {
        StoreFormat::Raw => Ask { method: "GET", path: rooted(key), body: None },
        StoreFormat::Consul => {
            Ask { method: "GET", path: format!("/v1/kv{}?raw=true", rooted(key)), body: None }
        }
        StoreFormat::EtcdV3 => {
            let key = Base64::encode_string(key.as_bytes());
            Ask {
                method: "POST",
                path: "/v3/kv/range".to_owned(),
                body: Some(format!("{{\"key\":\"{key}\"}}")),
            }
        }
    }
}

fn rooted(key: &str) -> String {
    format!("/{}", key.strip_prefix('/').unwrap_or(key))
}

/// What the store says: the drain under the key, or that there is no such key.
///
/// # Errors
/// When the answer is of no use.
pub fn answer(
    format: StoreFormat,
    status: u16,
    body: &[u8],
) -> Result<Option<Command>, StoreError> {
    let value = match (format, status) {
        (StoreFormat::Raw | StoreFormat::Consul, 404) => return Ok(None),
        (StoreFormat::Raw | StoreFormat::Consul, 200) => body,
        (StoreFormat::EtcdV3, 200) => match etcd_value(body).ok_or(StoreError::Form)? {
            Some(value) => return command(&value).map(Some),
            None => return Ok(None),
        },
        (_, status) => return Err(StoreError::Status(status)),
    };
    command(value).map(Some)
}

fn command(value: &[u8]) -> Result<Command, StoreError> {
    let command = Command::parse(value).map_err(StoreError::Record)?;
    if command.epoch.is_none() { Err(StoreError::NoEpoch) } else { Ok(command) }
}

/// The value in etcd's answer to a range request; `Some(None)` when the key is not there.
fn etcd_value(body: &[u8]) -> Option<Option<Vec<u8>>> {
    let node = parse_json(std::str::from_utf8(body).ok()?).ok()?;
    let at = &Place::Root;
    let fields = Fields::tolerant(&node, at).ok()?;
    let Some(pairs) = fields.node("kvs") else {
        // Every answer of etcd has a header, so that an empty object from somebody else is not taken for an empty store.
        return fields.node("header").map(|_| None);
    };
    let Node::Array(pairs) = pairs else { return None };
    let Some(pair) = pairs.first() else { return Some(None) };
    // A key with an empty value has no field for it.
    let value = match Fields::tolerant(pair, at).ok()?.node("value") {
        Some(value) => Base64::decode_vec(text(value, at, "").ok()?).ok()?,
        None => Vec::new(),
    };
    Some(Some(value))
}
