//! A local reply: a response that the filter creates itself.

use std::borrow::Cow;

use crate::host::{Host, HostError};
use crate::reserved_headers::GRPC_MARKER;

/// A response that the filter creates itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReply {
    /// The status.
    pub status: u16,
    /// The `content-type` of the body.
    pub content_type: Cow<'static, str>,
    /// The body.
    pub body: String,
    /// The status for a gRPC client. Hosts send it in the trailers, with the body as its message.
    pub grpc_status: Option<u32>,
    /// Whether the reply asks the gRPC bridge for a body.
    pub needs_grpc_body: bool,
}

impl LocalReply {
    /// A reply without a gRPC status.
    pub const fn new(status: u16, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type: Cow::Borrowed(content_type),
            body,
            grpc_status: None,
            needs_grpc_body: false,
        }
    }

    /// Replies to the current stream.
    pub(crate) fn send(&self, host: &mut impl Host) -> Result<(), HostError> {
        self.with_headers(|headers| host.reply(self.status, headers, self.body.as_bytes()))
    }

    /// Replies to the stream `context`, which is not the current one.
    pub(crate) fn send_to(&self, host: &mut impl Host, context: u32) -> Result<(), HostError> {
        let body = self.body.as_bytes();
        self.with_headers(|headers| host.reply_to(context, self.status, headers, body))
    }

    fn with_headers<T>(&self, send: impl FnOnce(&[(&str, &str)]) -> T) -> T {
        let grpc_status = self.grpc_status.map(|status| status.to_string());
        let mut headers = vec![("content-type", &*self.content_type)];
        headers.extend(grpc_status.as_deref().map(|status| ("grpc-status", status)));
        headers.extend(self.needs_grpc_body.then_some((GRPC_MARKER, "body")));
        send(&headers)
    }
}
