//! A case: what a client and an upstream send, and the host calls that the guest makes in each
//! callback. A case that differs between the hosts is kept as a file in this form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Header fields in order; names may repeat.
pub(super) type Fields = Vec<(String, String)>;

/// One exchange and the program of the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// Whether client and upstream speak HTTP/2 instead of HTTP/1.1.
    #[serde(default)]
    pub(super) http2: bool,
    /// The request method.
    pub(super) method: String,
    /// What the client sends.
    pub(super) request: Message,
    /// The status of the upstream's response.
    pub(super) status: u16,
    /// What the upstream sends.
    pub(super) response: Message,
    /// The host calls in each callback.
    pub(super) program: BTreeMap<Callback, Section>,
}

/// Headers, chunks and trailers of one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    /// Without the pseudo-headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) headers: Fields,
    /// The body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) chunks: Vec<String>,
    /// Only with HTTP/2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) trailers: Fields,
    /// Whether the headers have the length of the body.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) has_length: bool,
}

impl Message {
    /// The headers, with `content-length` if the message has one.
    pub(super) fn all_headers(&self) -> Fields {
        let mut headers = self.headers.clone();
        if self.has_length {
            let length: usize = self.chunks.iter().map(String::len).sum();
            headers.push(("content-length".to_owned(), length.to_string()));
        }
        headers
    }

    /// Whether the message ends with its headers.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.trailers.is_empty()
    }
}

/// The callbacks that have a section in a program, in the order of the interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Callback {
    RequestHeaders,
    /// The first chunk.
    RequestBody,
    /// The other chunks.
    RequestBodyMore,
    RequestTrailers,
    ResponseHeaders,
    /// The first chunk.
    ResponseBody,
    /// The other chunks.
    ResponseBodyMore,
    ResponseTrailers,
    HttpCallResponse,
    GrpcInitialMetadata,
    GrpcMessage,
    GrpcTrailingMetadata,
    GrpcClose,
    /// Another request makes these calls while the stream waits.
    Poke1,
    /// As [`Poke1`](Self::Poke1), later.
    Poke2,
    Log,
    Done,
    Delete,
}

impl Callback {
    /// The export for the callback with this number; `None` for pokes and unknown numbers.
    pub(super) fn name(number: usize) -> Option<&'static str> {
        Some(match Self::ALL.get(number)? {
            Self::RequestHeaders => "proxy_on_request_headers",
            Self::RequestBody | Self::RequestBodyMore => "proxy_on_request_body",
            Self::RequestTrailers => "proxy_on_request_trailers",
            Self::ResponseHeaders => "proxy_on_response_headers",
            Self::ResponseBody | Self::ResponseBodyMore => "proxy_on_response_body",
            Self::ResponseTrailers => "proxy_on_response_trailers",
            Self::HttpCallResponse => "proxy_on_http_call_response",
            Self::GrpcInitialMetadata => "proxy_on_grpc_receive_initial_metadata",
            Self::GrpcMessage => "proxy_on_grpc_receive",
            Self::GrpcTrailingMetadata => "proxy_on_grpc_receive_trailing_metadata",
            Self::GrpcClose => "proxy_on_grpc_close",
            Self::Log => "proxy_on_log",
            Self::Done => "proxy_on_done",
            Self::Delete => "proxy_on_delete",
            Self::Poke1 | Self::Poke2 => return None,
        })
    }

    /// All callbacks, in the order of the interpreter.
    pub(super) const ALL: [Self; 18] = [
        Self::RequestHeaders,
        Self::RequestBody,
        Self::RequestBodyMore,
        Self::RequestTrailers,
        Self::ResponseHeaders,
        Self::ResponseBody,
        Self::ResponseBodyMore,
        Self::ResponseTrailers,
        Self::HttpCallResponse,
        Self::GrpcInitialMetadata,
        Self::GrpcMessage,
        Self::GrpcTrailingMetadata,
        Self::GrpcClose,
        Self::Poke1,
        Self::Poke2,
        Self::Log,
        Self::Done,
        Self::Delete,
    ];
}

/// The host calls of one callback, and what the callback returns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    /// In order.
    #[serde(default)]
    pub(super) calls: Vec<Call>,
    /// 0 continues, 1 pauses.
    #[serde(default)]
    pub(super) returns: u32,
}

/// One host call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    /// The name of the import.
    pub(super) call: String,
    /// The arguments; some stand for two parameters.
    pub(super) args: Vec<Argument>,
    /// Whether the returned value differs between runs, so that only its existence is compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) masked: bool,
}

/// An argument of a host call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Argument {
    /// A number.
    Number(u32),
    /// Pointer and length of a text.
    Text(String),
    /// Pointer and length of names that zero bytes separate.
    Path(Vec<String>),
    /// Pointer and length of a serialized map.
    Pairs(Fields),
    /// Pointer and length of the text in hexadecimal.
    Bytes(String),
    /// The id of the stream's context.
    Stream,
    /// The id of the plugin's context.
    Root,
    /// The number that the last [`NewId`](Self::NewId) or [`NewToken`](Self::NewToken) received.
    LastId,
    /// Where the host writes a number.
    Out,
    /// Where the host writes the second number of a call.
    SecondOut,
    /// Where the host writes pointer and length of a value.
    Value,
    /// Where the host writes the id of a metric or of a queue.
    NewId,
    /// Where the host writes the token of a call, whose callbacks then belong to the case.
    NewToken,
}
