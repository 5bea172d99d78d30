//! Effects: the output of a VM, in order.
//!
//! The library performs no I/O. Messages that leave the filter, calls and log lines are returned to
//! the embedder as a list of effects, and the embedder carries them out.

use std::time::Duration;

use crate::abi::LogLevel;
use crate::headers::HeaderMap;
use crate::ids::{CallId, PluginId, StreamId};
use crate::trap::Trap;

/// A direction of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

impl Direction {
    /// The index of this direction's headers among the four maps of an exchange. The trailers
    /// follow.
    pub(crate) fn headers_index(self) -> usize {
        match self {
            Direction::Request => 0,
            Direction::Response => 2,
        }
    }
}

/// A part of a message that left the filter. `end` is true for the last part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the parts of a message")]
pub enum Part {
    /// The headers, including the pseudo-headers.
    Headers { map: HeaderMap, end: bool },
    /// A chunk of the body. The last chunk may be empty.
    Body { bytes: Vec<u8>, end: bool },
    /// The trailers, which end a message.
    Trailers(HeaderMap),
}

/// The origin of a local reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplySource {
    /// The guest called `proxy_send_local_response`.
    Guest,
    /// A buffered body exceeded the buffer limit.
    Overflow,
    /// The guest trapped.
    Trap,
}

/// The cause of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetCause {
    /// The guest called `proxy_close_stream`.
    Guest,
    /// The guest sent a local reply after the response headers had left.
    LateReply,
    /// A buffered response body exceeded the buffer limit after its headers had left.
    Overflow,
    /// The guest trapped after the response headers had left, or the profile sends no reply after a
    /// trap.
    Trap,
}

/// An action that the host performs next.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "`stream`, `call` and `part` name what the action applies to")]
#[non_exhaustive]
pub enum Effect {
    /// Forward a part of the request to the upstream.
    Request { stream: StreamId, part: Part },
    /// Forward a part of the response to the client.
    Response { stream: StreamId, part: Part },
    /// Reply locally and reset the upstream request, if there is one. The response follows as
    /// [`Effect::Response`], later if the filter pauses it.
    LocalReply {
        stream: StreamId,
        /// The HTTP status.
        status: u32,
        source: ReplySource,
        /// The reason, for the access log.
        details: String,
    },
    /// Reset the stream in both directions. Only the final callbacks of the stream follow.
    Reset { stream: StreamId, cause: ResetCause },
    /// A buffered body exceeded the buffer limit. The consequence follows as [`Effect::LocalReply`]
    /// or [`Effect::Reset`].
    BodyOverflow {
        stream: StreamId,
        direction: Direction,
        /// The number of buffered bytes.
        buffered: usize,
    },
    /// Forward TCP data to the upstream. `bytes` may be empty if `end` is true.
    ToUpstream { stream: StreamId, bytes: Vec<u8>, end: bool },
    /// Forward TCP data to the client. `bytes` may be empty if `end` is true.
    ToDownstream { stream: StreamId, bytes: Vec<u8>, end: bool },
    /// Continue a TCP connection that `proxy_on_new_connection` paused.
    Connected { stream: StreamId },
    /// Close one side of a TCP connection.
    CloseConnection { stream: StreamId, side: Side },
    /// Send an HTTP request for the guest. Complete it with
    /// [`http_call_response`](crate::Vm::http_call_response) or
    /// [`http_call_failed`](crate::Vm::http_call_failed).
    HttpCall(Box<HttpCall>),
    /// Start a gRPC call for the guest. Deliver its events with
    /// [`grpc_message`](crate::Vm::grpc_message), [`grpc_close`](crate::Vm::grpc_close) and the
    /// methods for metadata.
    GrpcOpen(Box<GrpcOpen>),
    /// Send a message on a gRPC stream. `end` is true for the last message.
    GrpcSend { call: CallId, message: Vec<u8>, end: bool },
    /// End the guest's side of a gRPC stream, or abandon a unary call.
    GrpcClose { call: CallId },
    /// Cancel a gRPC call. Its responses are no longer delivered.
    GrpcCancel { call: CallId },
    /// Write a log line. Bytes that are not UTF-8 are replaced.
    Log { level: LogLevel, text: String },
    /// The guest trapped. The VM executes no more code.
    Trap(Box<Trap>),
}

/// A side of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The connection between client and proxy.
    Downstream,
    /// The connection between proxy and upstream.
    Upstream,
}

/// An HTTP request that a guest sends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpCall {
    /// Identifies the call in its response.
    pub call: CallId,
    /// The plugin that receives the response.
    pub plugin: PluginId,
    /// The name of the upstream in the host's configuration.
    pub upstream: String,
    /// The headers, including `:method`, `:path` and `:authority`.
    pub headers: HeaderMap,
    /// The body; may be empty.
    pub body: Vec<u8>,
    /// The trailers; may be empty.
    pub trailers: HeaderMap,
    /// The time after which the call fails; `None` for no timeout.
    pub timeout: Option<Duration>,
}

/// A gRPC call that a guest starts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrpcOpen {
    /// Identifies the call in its responses.
    pub call: CallId,
    /// The plugin that receives the responses.
    pub plugin: PluginId,
    /// The name of the upstream in the host's configuration. In Envoy, this is the cluster or the
    /// target in the `GrpcService` message that the guest passes.
    pub upstream: Vec<u8>,
    /// The service, such as `envoy.service.auth.v3.Authorization`.
    pub service: String,
    /// The method, such as `Check`.
    pub method: String,
    /// The initial metadata.
    pub metadata: HeaderMap,
    /// The message of a unary call; `None` opens a stream.
    pub message: Option<Vec<u8>>,
    /// The time after which a unary call fails; `None` for no timeout.
    pub timeout: Option<Duration>,
}
