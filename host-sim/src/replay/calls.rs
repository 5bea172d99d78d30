//! The calls of the filter to clusters, as the clusters receive them.

use std::time::Duration;

use crate::effect::{GrpcOpen, HttpCall};
use crate::{CallId, HeaderMap};

/// A call of the filter to a cluster.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CallReport {
    /// When the filter started the call, from the start of the trace.
    pub at: Duration,
    pub worker: usize,
    /// The name of the cluster.
    pub cluster: String,
    /// The path of an HTTP request; `/SERVICE/METHOD` of a gRPC call.
    pub path: String,
    /// The headers of an HTTP request, or the initial metadata of a gRPC call.
    pub headers: HeaderMap,
    /// The body of an HTTP request.
    pub body: Vec<u8>,
    /// The messages of a gRPC call; `None` for an HTTP request.
    pub messages: Option<Vec<Vec<u8>>>,
    /// Identifies later messages of a gRPC stream.
    call: CallId,
}

impl CallReport {
    pub(super) fn http(at: Duration, worker: usize, call: &HttpCall) -> Self {
        Self {
            at,
            worker,
            cluster: call.upstream.clone(),
            path: call.headers.text(":path").unwrap_or_default().to_owned(),
            headers: call.headers.clone(),
            body: call.body.clone(),
            messages: None,
            call: call.call,
        }
    }

    pub(super) fn grpc(at: Duration, worker: usize, call: &GrpcOpen) -> Self {
        Self {
            at,
            worker,
            cluster: String::from_utf8_lossy(&call.upstream).into_owned(),
            path: format!("/{}/{}", call.service, call.method),
            headers: call.metadata.clone(),
            body: Vec::new(),
            messages: Some(call.message.iter().cloned().collect()),
            call: call.call,
        }
    }

    /// Adds a message to the gRPC stream that it belongs to.
    pub(super) fn add_message(calls: &mut [Self], worker: usize, call: CallId, message: &[u8]) {
        let stream =
            calls.iter_mut().rev().find(|known| known.worker == worker && known.call == call);
        if let Some(messages) = stream.and_then(|stream| stream.messages.as_mut()) {
            messages.push(message.to_vec());
        }
    }
}
