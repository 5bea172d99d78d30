//! gRPC health checks: the methods `Check` and `Watch` of `grpc.health.v1.Health`. The name of the
//! service in a request is not read, because every service has the state of the proxy.
//!
//! Envoy sends a local reply to a gRPC request as headers alone, with the gRPC status in them. It
//! decides this before the first filter runs. The result of `Check` needs a message and trailers.
//! The gRPC bridge, an Envoy filter behind this one, therefore adds a body to the reply. The filter
//! then replaces that body and adds the trailers. Without the bridge, the client of `Check`
//! receives a status that is not `OK`, and takes the proxy for unhealthy.
//!
//! `Watch` would have to keep its stream open after the first message, but a local reply ends at
//! once. Clients of `Watch` that receive a message and then the end call again at once. They wait
//! between two calls after `UNAVAILABLE`. They stop after `UNIMPLEMENTED`, which they take for a
//! healthy server.

use std::collections::BTreeSet;

use crate::reply::LocalReply;
use crate::request::RequestView;

/// `UNIMPLEMENTED` in gRPC.
const UNIMPLEMENTED: u32 = 12;
/// `UNAVAILABLE` in gRPC.
const UNAVAILABLE: u32 = 14;

/// A method of the health service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Returns the state once.
    Check,
    /// Returns the state and each change of it.
    Watch,
}

impl Method {
    /// The method that a request calls, if it is a gRPC request to the health service.
    pub fn called_by(request: &RequestView<'_>) -> Option<Self> {
        let method = request.path.strip_prefix(b"/grpc.health.v1.Health/")?;
        match method {
            _ if !request.is_grpc || request.method != b"POST" => None,
            b"Check" => Some(Self::Check),
            b"Watch" => Some(Self::Watch),
            _ => None,
        }
    }
}

/// The state of the proxy, as the health service defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServingStatus {
    /// The proxy accepts requests.
    Serving,
    /// The proxy terminates.
    NotServing,
}

impl ServingStatus {
    /// The message `HealthCheckResponse` with its length: field 1 is the status.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Serving => "\0\0\0\0\x02\x08\x01",
            Self::NotServing => "\0\0\0\0\x02\x08\x02",
        }
    }
}

/// The local reply to a health check. If the gRPC bridge adds a body, the
/// [message](ServingStatus::message) replaces that body.
pub fn reply(method: Method, status: ServingStatus) -> LocalReply {
    let (grpc_status, text) = match (method, status) {
        (_, ServingStatus::NotServing) => (UNAVAILABLE, "the proxy terminates"),
        (Method::Check, ServingStatus::Serving) => (UNIMPLEMENTED, "no gRPC bridge"),
        (Method::Watch, ServingStatus::Serving) => (UNIMPLEMENTED, "use Check"),
    };
    LocalReply {
        grpc_status: Some(grpc_status),
        needs_grpc_body: method == Method::Check,
        ..LocalReply::new(200, "application/grpc", text.to_owned())
    }
}

/// The contexts of the `Watch` streams that the upstream replies to. The filter resets them when a
/// terminate begins: their clients then call again, and receive the state of the proxy.
#[derive(Debug, Default)]
pub(crate) struct HealthWatches(BTreeSet<u32>);

impl HealthWatches {
    pub(crate) fn add(&mut self, context: u32) {
        self.0.insert(context);
    }

    pub(crate) fn remove(&mut self, context: u32) {
        self.0.remove(&context);
    }

    /// Removes and returns at most `limit` contexts.
    pub(crate) fn take(&mut self, limit: usize) -> impl Iterator<Item = u32> {
        std::iter::from_fn(|| self.0.pop_first()).take(limit)
    }
}
