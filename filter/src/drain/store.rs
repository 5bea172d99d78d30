//! The key-value stores that may contain the drain record: how each one is read, and what its
//! response means.

use base64ct::{Base64, Encoding as _};
use serde::Serialize;

use super::command::Command;
use super::error::RecordError;
use crate::config::{Fields, Node, Place, StoreFormat, parse_json, text};
use crate::rules::ControlStore;

/// The largest response that is read, in bytes.
pub const MAX_RESPONSE: usize = 1024 * 1024;

/// A request to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRequest {
    /// `:method`.
    pub method: &'static str,
    /// `:path`.
    pub path: String,
    /// The body, if the format has one.
    pub body: Option<String>,
}

/// Why a poll failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The host refused the call.
    #[error("the proxy refused the call; check that it has this cluster")]
    NoCall,
    /// The response did not end in time, or the host did not buffer all of it.
    #[error("the response was incomplete, exceeded the timeout, or exceeded the proxy's buffer")]
    Incomplete,
    /// The host accepted the call and delivered no response.
    #[error("no response")]
    NoResponse,
    /// The proxy itself replies with 503 if it cannot connect, and with 504 after the timeout.
    #[error("the store responded with status {0}, expected 200")]
    Status(u16),
    /// The response is longer than [`MAX_RESPONSE`].
    #[error("the response has {0} bytes, expected at most {MAX_RESPONSE}")]
    TooLarge(usize),
    /// The response does not have the format of this kind of store.
    #[error("the response does not have the format of this kind of store")]
    Format,
    /// The value of the key is not a drain record.
    #[error("{0}")]
    Record(RecordError),
    /// A value in a store needs an epoch: without one, every poll would start a new drain.
    #[error("invalid drain record: epoch: missing; expected a whole number from 1 to 2^53 - 1")]
    NoEpoch,
}

/// The body of a range request to etcd.
#[derive(Serialize)]
struct RangeRequest<'a> {
    key: &'a str,
}

/// The request that reads the key.
pub fn request(control: &ControlStore) -> StoreRequest {
    let key = control.key.as_str();
    match control.format {
        StoreFormat::Raw => StoreRequest { method: "GET", path: rooted(key), body: None },
        StoreFormat::Consul => {
            let path = format!("/v1/kv{}?raw=true", rooted(key));
            StoreRequest { method: "GET", path, body: None }
        }
        StoreFormat::EtcdV3 => {
            let key = Base64::encode_string(key.as_bytes());
            let body = serde_json::to_string(&RangeRequest { key: &key }).ok();
            StoreRequest { method: "POST", path: "/v3/kv/range".to_owned(), body }
        }
    }
}

fn rooted(key: &str) -> String {
    format!("/{}", key.strip_prefix('/').unwrap_or(key))
}

/// Parses a response of the store: the drain under the key, or `None` if there is no such key.
///
/// # Errors
/// If the response is invalid.
pub fn parse_response(
    format: StoreFormat,
    status: u16,
    body: &[u8],
) -> Result<Option<Command>, StoreError> {
    let value = match (format, status) {
        (StoreFormat::Raw | StoreFormat::Consul, 404) => return Ok(None),
        (StoreFormat::Raw | StoreFormat::Consul, 200) => body,
        (StoreFormat::EtcdV3, 200) => match etcd_value(body).ok_or(StoreError::Format)? {
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

/// The value in etcd's response to a range request; `Some(None)` if there is no such key.
fn etcd_value(body: &[u8]) -> Option<Option<Vec<u8>>> {
    let node = parse_json(std::str::from_utf8(body).ok()?).ok()?;
    let at = &Place::Root;
    let fields = Fields::tolerant(&node, at).ok()?;
    let Some(pairs) = fields.node("kvs") else {
        // Every response of etcd has a header. An empty object of another server is not an empty
        // store.
        return fields.node("header").map(|_| None);
    };
    let Node::Array(pairs) = pairs else { return None };
    let Some(pair) = pairs.first() else { return Some(None) };
    // A key with an empty value has no such field.
    let value = match Fields::tolerant(pair, at).ok()?.node("value") {
        Some(value) => Base64::decode_vec(text(value, at, "").ok()?).ok()?,
        None => Vec::new(),
    };
    Some(Some(value))
}
