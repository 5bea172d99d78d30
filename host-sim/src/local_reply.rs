//! A response that the proxy makes up in the upstream's place, for itself or for a guest, as the message that it becomes.

use std::borrow::Cow;

use crate::headers::HeaderMap;

/// What is answered.
#[derive(Debug, Default)]
pub(crate) struct LocalReply {
    pub(crate) status: u32,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Cow<'static, [u8]>,
    pub(crate) grpc_status: Option<u32>,
    /// Why, for the access log.
    pub(crate) details: Cow<'static, str>,
}

impl LocalReply {
    /// An answer of the host's own.
    pub(crate) fn new(status: u32, body: &'static str, details: &'static str) -> Self {
        let (body, details) = (body.as_bytes().into(), details.into());
        Self { status, body, details, ..Self::default() }
    }

    /// The answer to `request`: its head, and its body if it has one.
    pub(crate) fn message(&self, request: &HeaderMap, adds_headers: bool) -> (HeaderMap, Vec<u8>) {
        let mut map = HeaderMap::new();
        let head = request.find(":method") == Some(b"HEAD");
        if adds_headers && is_grpc(request) {
            map.push(":status", "200");
            map.extend(self.headers.iter());
            map.set("content-type", "application/grpc");
            if map.find("grpc-status").is_none() {
                let status = self.grpc_status.unwrap_or_else(|| grpc_status_of(self.status));
                map.push("grpc-status", status.to_string());
            }
            if !head && !self.body.is_empty() {
                map.set("grpc-message", percent_encoded(&self.body));
            }
            return (map, Vec::new());
        }
        map.push(":status", self.status.to_string());
        map.extend(self.headers.iter());
        if adds_headers && !self.body.is_empty() {
            map.set("content-length", self.body.len().to_string());
            if map.find("content-type").is_none() {
                map.push("content-type", "text/plain");
            }
        }
        let body = if head { Vec::new() } else { self.body.to_vec() };
        (map, body)
    }
}

fn is_grpc(request: &HeaderMap) -> bool {
    let kind = request.text("content-type").unwrap_or_default();
    kind.strip_prefix("application/grpc")
        .is_some_and(|rest| matches!(rest.get(..1), None | Some("+")))
}

/// The gRPC status that stands for an HTTP status, from gRPC's own table.
fn grpc_status_of(http: u32) -> u32 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Text in the form that `grpc-message` wants.
fn percent_encoded(text: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
