//! The gRPC client of the proxy: what the guest learns from the response to its call.
//!
//! Measured on Envoy 1.40 with a server that sends each kind of response;
//! `tests/tests/envoy/host_calls/grpc.rs` runs the same responses on both hosts.

use crate::HeaderMap;
use crate::local_reply::{LocalReply, grpc_status_of};
use crate::profile::Rules;

use super::failure::Failure;

/// The status of a call that failed within the client or ended too early.
const INTERNAL: u32 = 13;
const UNKNOWN: u32 = 2;
/// The highest status that gRPC defines.
const MAX_STATUS: u32 = 16;
/// The status that Envoy reports for a `grpc-status` that gRPC does not define.
const INVALID: u32 = u32::MAX;

/// An event of a gRPC stream, in the order of its callbacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GrpcEvent {
    InitialMetadata(HeaderMap),
    Message(Vec<u8>),
    TrailingMetadata(HeaderMap),
    Close { status: u32, message: String },
}

/// A response of a server.
#[derive(Debug, Default)]
pub(super) struct GrpcResponse {
    /// The headers, with `:status`.
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// `None` if the response ends without trailers.
    pub(super) trailers: Option<HeaderMap>,
    /// How the response was cut after its headers.
    pub(super) cut: Option<Failure>,
}

impl GrpcResponse {
    /// The events of a stream that receives this response.
    pub(super) fn events(self, rules: &Rules) -> Vec<GrpcEvent> {
        let http_status = self.headers.text(":status").and_then(|status| status.parse().ok());
        let http_status = http_status.unwrap_or(200);
        let ends_with_headers =
            self.body.is_empty() && self.trailers.is_none() && self.cut.is_none();
        if ends_with_headers {
            let status = match self.headers.find("grpc-status") {
                None if http_status != 200 => return failed(grpc_status_of(http_status), rules),
                _ => self.headers,
            };
            return with_trailers(HeaderMap::new(), Vec::new(), status, VIA_UPSTREAM, rules);
        }
        if http_status != 200 {
            return failed(grpc_status_of(http_status), rules);
        }
        let error = |status, messages, details: &str| {
            let mut events = vec![GrpcEvent::InitialMetadata(self.headers.clone())];
            events.extend(messages);
            events.push(GrpcEvent::TrailingMetadata(HeaderMap::new()));
            events.push(close(status, "", details, rules));
            events
        };
        let Some(messages) = messages(&self.body) else {
            return error(INTERNAL, Vec::new(), VIA_UPSTREAM);
        };
        match (self.cut, self.trailers) {
            (Some(failure), _) => {
                error(INTERNAL, messages, &failure.within_http2_response().details)
            }
            (None, None) => error(UNKNOWN, messages, VIA_UPSTREAM),
            (None, Some(trailers)) => {
                with_trailers(self.headers, messages, trailers, VIA_UPSTREAM, rules)
            }
        }
    }
}

const VIA_UPSTREAM: &str = "via_upstream";

/// The events of a stream that fails before a response: the proxy's local reply.
pub(super) fn local_reply(reply: &LocalReply, rules: &Rules) -> Vec<GrpcEvent> {
    let mut trailers = HeaderMap::new();
    trailers.push(":status", "200");
    trailers.push("content-type", "application/grpc");
    trailers.push("grpc-status", grpc_status_of(reply.status).to_string());
    if !reply.body.is_empty() {
        trailers.push("grpc-message", &reply.body);
    }
    with_trailers(HeaderMap::new(), Vec::new(), trailers, &reply.details, rules)
}

/// The one event of a unary call: its message, or the status with which it fails. A later message
/// replaces an earlier one.
pub(super) fn unary(events: Vec<GrpcEvent>) -> GrpcEvent {
    let mut message = None;
    for event in events {
        match event {
            GrpcEvent::Message(bytes) => message = Some(bytes),
            GrpcEvent::Close { status, .. } if status != 0 => return event,
            _ => {}
        }
    }
    let missing = GrpcEvent::Close { status: INTERNAL, message: String::new() };
    message.map_or(missing, GrpcEvent::Message)
}

fn with_trailers(
    headers: HeaderMap,
    messages: Vec<GrpcEvent>,
    trailers: HeaderMap,
    details: &str,
    rules: &Rules,
) -> Vec<GrpcEvent> {
    let status = match trailers.text("grpc-status") {
        None => UNKNOWN,
        Some(text) => text.parse().ok().filter(|status| *status <= MAX_STATUS).unwrap_or(INVALID),
    };
    let message = trailers.text("grpc-message").unwrap_or_default().to_owned();
    let mut events = vec![GrpcEvent::InitialMetadata(headers)];
    events.extend(messages);
    events.push(GrpcEvent::TrailingMetadata(trailers));
    events.push(close(status, &message, details, rules));
    events
}

/// A stream that ends because of the HTTP status.
fn failed(status: u32, rules: &Rules) -> Vec<GrpcEvent> {
    vec![
        GrpcEvent::InitialMetadata(HeaderMap::new()),
        GrpcEvent::TrailingMetadata(HeaderMap::new()),
        close(status, "", VIA_UPSTREAM, rules),
    ]
}

fn close(status: u32, message: &str, details: &str, rules: &Rules) -> GrpcEvent {
    let message = match (rules.grpc_message_has_details, message) {
        (false, message) => message.to_owned(),
        (true, "") => details.to_owned(),
        (true, message) => format!("{message}{{{details}}}"),
    };
    GrpcEvent::Close { status, message }
}

/// Splits a body into its messages; `None` if it is not valid or a message is compressed. Bytes
/// after the last complete message are dropped.
fn messages(mut body: &[u8]) -> Option<Vec<GrpcEvent>> {
    let mut messages = Vec::new();
    while let Some((&flags, rest)) = body.split_first() {
        if flags != 0 {
            return None;
        }
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { break };
        let Some((message, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)
        else {
            break;
        };
        messages.push(GrpcEvent::Message(message.to_vec()));
        body = rest;
    }
    Some(messages)
}

/// Appends a message with its prefix to a body.
pub(super) fn frame(message: &[u8], body: &mut Vec<u8>) {
    body.push(0);
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(message);
}
