//! Decides whether a body is buffered until complete, or streamed.
//!
//! Buffering protects upstreams and clients from slow peers, but can lose a body: a host cuts a
//! body that exceeds its buffer limit, and a filter cannot read that limit. A body is therefore
//! buffered only if its length is declared and fits.

use crate::boundary::Framing;
use crate::config::BufferingMode;
use crate::headers::Headers;
use crate::policy::Policy;
use crate::request::{ContentLength, RequestView};
use crate::reserved_headers;

/// The response header with which an upstream, or the filter, requests streaming from the proxies
/// in front.
pub const ACCEL: &str = "x-accel-buffering";

/// The parts of response headers that decisions depend on.
#[derive(Debug, Clone, Copy)]
pub struct ResponseView<'a> {
    /// `:status`; 0 if absent.
    pub status: u16,
    /// `content-length`, if it is one number.
    pub content_length: Option<u64>,
    /// `content-type`, or empty.
    pub content_type: &'a [u8],
    /// The upstream's `x-accel-buffering`: `yes` or `no`.
    pub accel_buffering: Option<bool>,
    /// Whether there is a `content-length`, valid or not.
    pub has_content_length: bool,
    /// Whether the body has a content encoding, such as compression.
    pub is_encoded: bool,
    /// Whether there is an `upgrade` header.
    pub has_upgrade: bool,
    /// Whether the `upgrade` header is `websocket`.
    pub is_websocket: bool,
    /// Whether the upstream sent the drain marker, which only the filter can set.
    pub has_drain_marker: bool,
}

impl<'a> ResponseView<'a> {
    /// Reads the headers once.
    pub fn new(headers: &'a Headers) -> Self {
        let mut view = Self {
            status: 0,
            content_length: None,
            content_type: b"",
            accel_buffering: None,
            has_content_length: false,
            is_encoded: false,
            has_upgrade: false,
            is_websocket: false,
            has_drain_marker: false,
        };
        let mut length = ContentLength::Absent;
        for (name, value) in headers {
            match name {
                b":status" => {
                    view.status =
                        std::str::from_utf8(value).ok().and_then(|s| s.parse().ok()).unwrap_or(0);
                }
                b"content-length" => length = length.merge(value),
                b"content-type" => view.content_type = value,
                b"content-encoding" => view.is_encoded |= !value.eq_ignore_ascii_case(b"identity"),
                b"upgrade" => {
                    view.has_upgrade = true;
                    view.is_websocket |= value.eq_ignore_ascii_case(b"websocket");
                }
                _ if name == ACCEL.as_bytes() => {
                    if value.eq_ignore_ascii_case(b"no") {
                        view.accel_buffering = Some(false);
                    } else if value.eq_ignore_ascii_case(b"yes") {
                        view.accel_buffering = Some(true);
                    }
                }
                _ => view.has_drain_marker |= name == reserved_headers::MARKER.as_bytes(),
            }
        }
        view.content_length = length.bytes();
        view.has_content_length = length != ContentLength::Absent;
        view
    }

    /// Whether this is an interim response (1xx other than 101), which the final one follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// The decision on a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// Each chunk is forwarded as it arrives.
    Stream,
    /// The body is buffered until complete.
    Buffer,
    /// The body declares more bytes than are buffered, and the request is refused.
    TooLarge {
        /// The declared length, in bytes.
        declared: u64,
    },
}

/// Decides whether a request body is buffered, streamed or refused. `ended`: the request has no
/// body.
pub fn request_body(policy: &Policy, request: &RequestView<'_>, ended: bool) -> RequestBody {
    match request.content_length {
        _ if !policy.buffer_request || ended || request.opens_tunnel => RequestBody::Stream,
        Some(declared) if declared > policy.max_bytes => RequestBody::TooLarge { declared },
        Some(_) => RequestBody::Buffer,
        None => RequestBody::Stream,
    }
}

/// Decides whether a response body is buffered. `bodiless` means that no body can follow, whatever
/// the headers declare, as in a response to HEAD.
pub fn buffers_response(policy: &Policy, response: &ResponseView<'_>, bodiless: bool) -> bool {
    let wanted = match policy.response_buffering {
        None | Some(BufferingMode::Off) => false,
        Some(BufferingMode::On) => true,
        Some(BufferingMode::Auto) => {
            response.accel_buffering.unwrap_or_else(|| stream_type(response.content_type).is_none())
        }
    };
    let bodiless =
        bodiless || matches!(response.status, 0..=199 | 204 | 304) || response.has_upgrade;
    let fits =
        response.content_length.is_some_and(|length| (1..=policy.max_bytes).contains(&length));
    wanted && !bodiless && fits
}

/// The content types of streams, and how they are divided.
const STREAM_TYPES: [(&str, Framing); 10] = [
    ("text/event-stream", Framing::Events),
    ("application/x-ndjson", Framing::Lines),
    ("application/ndjson", Framing::Lines),
    ("application/jsonl", Framing::Lines),
    ("application/x-jsonlines", Framing::Lines),
    ("application/json-seq", Framing::Lines),
    ("application/stream+json", Framing::Lines),
    // gRPC-Web in Base64.
    ("application/grpc-web-text", Framing::Opaque),
    ("application/grpc", Framing::Grpc),
    ("multipart/x-mixed-replace", Framing::Opaque),
];

/// Looks up a content type with its parameters (`; charset=`) or its suffix
/// (`application/grpc+proto`, `-web`).
fn stream_type(content_type: &[u8]) -> Option<Framing> {
    let found = STREAM_TYPES.iter().find(|(stream, _)| {
        content_type.split_at_checked(stream.len()).is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(stream.as_bytes())
                && rest.first().is_none_or(|next| b"; \t+-".contains(next))
        })
    });
    found.map(|(_, framing)| *framing)
}

/// The boundaries at which a drain can end a response of the upstream.
pub fn framing(response: &ResponseView<'_>) -> Framing {
    if response.status == 101 && response.is_websocket {
        return Framing::WebSocket;
    }
    let is_readable = (200..300).contains(&response.status) && !response.is_encoded;
    stream_type(response.content_type).filter(|_| is_readable).unwrap_or(Framing::Opaque)
}
