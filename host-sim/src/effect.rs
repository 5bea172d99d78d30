//! What comes out of a virtual machine: everything that a host would do next, in order.
//!
//! The library performs nothing itself. It hands what left the filter to the embedder as a list of
//! effects, so that the embedder's clock, network and reporting stay the embedder's.

use std::time::Duration;

use crate::abi::LogLevel;
use crate::headers::HeaderMap;
use crate::stream::{CallId, PluginId, StreamId};
use crate::trap::Trap;

/// The two directions of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

impl Direction {
    /// Where the direction's headers are among the four maps of an exchange; its trailers follow.
    pub(crate) fn headers_index(self) -> usize {
        match self {
            Direction::Request => 0,
            Direction::Response => 2,
        }
    }
}

/// One piece of a message as it left the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The headers; `end` if nothing follows them.
    Headers {
        /// Pseudo-headers included.
        map: HeaderMap,
        /// Whether the message ends here.
        end: bool,
    },
    /// A piece of the body; `end` if nothing follows it. It may be empty when it only ends.
    Body {
        /// As the filter left them.
        bytes: Vec<u8>,
        /// Whether the message ends here.
        end: bool,
    },
    /// The trailers, which end a message.
    Trailers(HeaderMap),
}

/// Who answers a request in the upstream's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplySource {
    /// The guest called `proxy_send_local_response`.
    Guest,
    /// The host, because a held body passed its limit.
    Overflow,
    /// The host, because the guest trapped.
    Trap,
}

/// Why a stream was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCause {
    /// The guest called `proxy_close_stream`.
    Guest,
    /// The guest wanted to reply when response headers had left already.
    LateReply,
    /// A held response body passed the host's limit when its headers had left already.
    Overflow,
    /// The guest trapped when response headers had left already, or the profile answers none.
    Trap,
}

/// Something the host would do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A piece of the request goes on towards the upstream.
    Request {
        /// Whose.
        stream: StreamId,
        /// What.
        part: Part,
    },
    /// A piece of the response goes on towards the client.
    Response {
        /// Whose.
        stream: StreamId,
        /// What.
        part: Part,
    },
    /// The host answers itself: the upstream, if it was asked, is not needed any more. The
    /// response's pieces follow as [`Effect::Response`], possibly later if the filter holds them.
    LocalReply {
        /// Whose.
        stream: StreamId,
        /// The HTTP status.
        status: u32,
        /// Who answers.
        source: ReplySource,
        /// The guest's or host's words for the access log.
        details: String,
    },
    /// The stream is cut in both directions; nothing more comes from it but its last callbacks.
    Reset {
        /// Whose.
        stream: StreamId,
        /// Why.
        cause: ResetCause,
    },
    /// A body that the guest held passed the host's limit. What that means follows as
    /// [`Effect::LocalReply`] or [`Effect::Reset`].
    BodyOverflow {
        /// Whose.
        stream: StreamId,
        /// Which body.
        direction: Direction,
        /// Bytes held when the limit was passed.
        held: usize,
    },
    /// Data of a TCP connection goes on towards the upstream.
    ToUpstream {
        /// Whose.
        stream: StreamId,
        /// May be empty when it only ends.
        bytes: Vec<u8>,
        /// Whether the client sends no more.
        end: bool,
    },
    /// Data of a TCP connection goes on towards the client.
    ToDownstream {
        /// Whose.
        stream: StreamId,
        /// May be empty when it only ends.
        bytes: Vec<u8>,
        /// Whether the upstream sends no more.
        end: bool,
    },
    /// A TCP connection that was held in `proxy_on_new_connection` may go on.
    Connected {
        /// Whose.
        stream: StreamId,
    },
    /// One side of a TCP connection is to be closed.
    CloseConnection {
        /// Whose.
        stream: StreamId,
        /// Which side.
        side: Side,
    },
    /// The guest asks an upstream over HTTP; answer with
    /// [`http_call_response`](crate::Vm::http_call_response) or
    /// [`http_call_failed`](crate::Vm::http_call_failed).
    HttpCall(Box<HttpCall>),
    /// The guest calls a gRPC method, unary or as a stream.
    GrpcOpen(Box<GrpcOpen>),
    /// The guest sends a message on a gRPC stream.
    GrpcSend {
        /// On which stream.
        call: CallId,
        /// The serialized message.
        message: Vec<u8>,
        /// Whether the guest sends no more.
        end: bool,
    },
    /// The guest ended its side of a gRPC stream, or gave up a unary call.
    GrpcClose {
        /// Which.
        call: CallId,
    },
    /// The guest gave up a call; no answer to it is delivered any more.
    GrpcCancel {
        /// Which.
        call: CallId,
    },
    /// The guest logged something at a level that is switched on.
    Log {
        /// How loud.
        level: LogLevel,
        /// The text; bytes that are not UTF-8 are replaced.
        text: String,
    },
    /// The guest broke. The virtual machine runs no code any more.
    Trap(Box<Trap>),
}

/// A side of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Between client and proxy.
    Downstream,
    /// Between proxy and upstream.
    Upstream,
}

/// A request that a guest sends on its own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCall {
    /// Names the call in its answer.
    pub call: CallId,
    /// Whose plugin context gets the answer.
    pub plugin: PluginId,
    /// The upstream, by the host's name for it.
    pub upstream: String,
    /// With `:method`, `:path` and `:authority`.
    pub headers: HeaderMap,
    /// May be empty.
    pub body: Vec<u8>,
    /// May be empty.
    pub trailers: HeaderMap,
    /// After which the call has failed; `None` for never.
    pub timeout: Option<Duration>,
}

/// A gRPC call that a guest starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcOpen {
    /// Names the call in its answers.
    pub call: CallId,
    /// Whose plugin context gets the answers.
    pub plugin: PluginId,
    /// The upstream, by the host's name for it (under Envoy the cluster or target inside of the
    /// `GrpcService` message that the guest passes).
    pub upstream: Vec<u8>,
    /// For example `envoy.service.auth.v3.Authorization`.
    pub service: String,
    /// For example `Check`.
    pub method: String,
    /// Initial metadata.
    pub metadata: HeaderMap,
    /// The one message of a unary call; `None` opens a stream.
    pub message: Option<Vec<u8>>,
    /// After which a unary call has failed; `None` for never.
    pub timeout: Option<Duration>,
}
