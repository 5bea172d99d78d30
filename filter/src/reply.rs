//! A local reply: a response that the filter creates itself.

use std::borrow::Cow;

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
}

impl LocalReply {
    /// A reply without a gRPC status.
    pub const fn new(status: u16, content_type: &'static str, body: String) -> Self {
        Self { status, content_type: Cow::Borrowed(content_type), body, grpc_status: None }
    }
}
