//! Local replies: responses that the proxy creates itself, for a guest or because of a failure.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use crate::headers::HeaderMap;

#[derive(Debug, Default)]
pub(crate) struct LocalReply {
    pub(crate) status: u32,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Cow<'static, [u8]>,
    pub(crate) grpc_status: Option<u32>,
    /// The reason, for the access log.
    pub(crate) details: Cow<'static, str>,
}

impl LocalReply {
    /// The bytes of headers, body and details.
    pub(crate) fn byte_size(&self) -> usize {
        self.headers.byte_size() + self.body.len() + self.details.len()
    }

    /// Creates a reply of the proxy itself, without headers.
    pub(crate) fn new(status: u32, body: &'static str, details: &'static str) -> Self {
        let (body, details) = (body.as_bytes().into(), details.into());
        Self { status, body, details, ..Self::default() }
    }

    /// The headers with which a guest receives a reply of the proxy to its call.
    pub(crate) fn call_headers(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.push(":status", self.status.to_string());
        map.push("content-length", self.body.len().to_string());
        map.push("content-type", "text/plain");
        map
    }

    /// Creates the headers and the body of the response to a request of this kind.
    pub(crate) fn message(&self, kind: RequestKind, adds_headers: bool) -> (HeaderMap, Vec<u8>) {
        let mut map = HeaderMap::new();
        let RequestKind { is_grpc, is_head } = kind;
        if adds_headers && is_grpc {
            map.push(":status", "200");
            map.extend(self.headers.iter().filter(|(name, _)| *name != b":status"));
            map.set("content-type", "application/grpc");
            if map.find("grpc-status").is_none() {
                let status = self.grpc_status.unwrap_or_else(|| grpc_status_of(self.status));
                map.push("grpc-status", status.to_string());
            }
            if !is_head && !self.body.is_empty() {
                let message = percent_encode(&self.body, GRPC_MESSAGE);
                map.set("grpc-message", message.to_string());
            }
            return (map, Vec::new());
        }
        map.push(":status", self.status.to_string());
        // Envoy sets the status after the headers of the guest.
        let kept = |(name, _): &(&[u8], &[u8])| !adds_headers || *name != b":status";
        map.extend(self.headers.iter().filter(kept));
        if adds_headers && !self.body.is_empty() {
            map.set("content-length", self.body.len().to_string());
            if map.find("content-type").is_none() {
                map.push("content-type", "text/plain");
            }
        } else if adds_headers {
            // Envoy removes headers that describe a body that does not exist.
            map.remove("content-length");
            map.remove("content-type");
        }
        let body = if is_head { Vec::new() } else { self.body.to_vec() };
        (map, body)
    }
}

/// The properties of a request that decide the form of a local reply. Envoy reads them when the
/// request arrives; changes by filters have no effect.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestKind {
    is_grpc: bool,
    is_head: bool,
}

impl RequestKind {
    pub(crate) fn of(request: &HeaderMap) -> Self {
        let is_head = request.find(":method") == Some(b"HEAD");
        Self { is_grpc: is_grpc(request), is_head }
    }
}

/// Whether the content type is that of gRPC.
pub(crate) fn is_grpc(request: &HeaderMap) -> bool {
    let content_type = request.text("content-type").unwrap_or_default();
    content_type
        .strip_prefix("application/grpc")
        .is_some_and(|rest| matches!(rest.get(..1), None | Some("+")))
}

/// Maps an HTTP status to a gRPC status, as defined by gRPC ("HTTP to gRPC Status Code Mapping").
pub(crate) fn grpc_status_of(http: u32) -> u32 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The bytes that gRPC requires to be encoded in `grpc-message`, besides those that are not ASCII.
const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');
