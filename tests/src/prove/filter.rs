//! The filter as the proof has it: its configuration, and the operator who gives it orders.

use std::time::Duration;

use serde_json::{Value, json};

use crate::envoy::Envoy;
use crate::http1::Client;

const ADMIN: &str = "/.sluice/drain";
const AUTHORIZATION: (&str, &str) = ("authorization", "Bearer proof");
const TOKEN_SHA256: &str = "c1cda26362828b69266512052b97cb3729e3b052e4ade47c0a1e3383defe73c7";

/// The configuration, with no drain in it.
pub(super) fn configuration() -> Value {
    json!({ "version": 1,
            "drain": { "refresh": "100ms",
                       "admin": { "path": ADMIN, "token_sha256": TOKEN_SHA256 } },
            "health": { "path": "/health" } })
}

/// Orders a drain over this window. The filter numbers its epochs itself.
///
/// # Panics
/// If the filter does not take the order.
pub(super) fn order(envoy: &Envoy, drain: &str, window: Duration) {
    let path = format!("{ADMIN}?{drain}&window={}ms", window.as_millis());
    let mut client = Client::connect(envoy.port);
    client.send("POST", &path, &[AUTHORIZATION, ("content-length", "0")]);
    let response = client.receive();
    let answer = String::from_utf8_lossy(&response.body.bytes);
    assert_eq!(response.status, 200, "the filter to {path}: {answer}");
}
