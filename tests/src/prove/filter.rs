//! The filter's configuration in the proof, and the admin request that starts a drain.

use std::time::Duration;

use serde_json::{Value, json};

use super::restart::Bounds;
use crate::envoy::Envoy;
use crate::http1::Client;

const ADMIN: &str = "/.sluice/drain";
const AUTHORIZATION: (&str, &str) = ("authorization", "Bearer proof");
const TOKEN_SHA256: &str = "c1cda26362828b69266512052b97cb3729e3b052e4ade47c0a1e3383defe73c7";

/// A configuration without a drain.
pub(super) fn configuration(bounds: Bounds) -> Value {
    let finish = |within: Duration| json!({ "streams": "finish", "within": format!("{}ms", within.as_millis()) });
    json!({ "version": 1,
            "routes": [
                { "name": "streams", "match": { "path": { "prefix": "/streams/" } },
                  "drain": finish(bounds.endless) },
                { "name": "completions", "match": { "path": { "prefix": "/completions" } },
                  "drain": finish(bounds.completions) } ],
            "drain": { "refresh": "100ms",
                       "admin": { "path": ADMIN, "token_sha256": TOKEN_SHA256 } },
            "health": { "path": "/health" } })
}

/// Starts a drain with this window; `query` selects the mode. The filter chooses the epoch.
///
/// # Panics
/// If the filter rejects the request.
pub(super) fn start_drain(envoy: &Envoy, query: &str, window: Duration) {
    let path = format!("{ADMIN}?{query}&window={}ms", window.as_millis());
    let mut client = Client::connect(envoy.port);
    client.send("POST", &path, &[AUTHORIZATION, ("content-length", "0")]);
    let response = client.receive();
    let body = String::from_utf8_lossy(&response.body.bytes);
    assert_eq!(response.status, 200, "POST {path}: {body}");
}
