//! Whether a body is held until it is complete, or streamed.
//!
//! Holding protects upstreams and clients from slow peers, and can lose a body: a host cuts what exceeds its buffer, and no filter can read that
//! limit. So a body is held only when its length is declared and fits; whatever is not certain streams.

use crate::config::spec::BufferingMode;
use crate::cut::Framing;
use crate::policy::Policy;
use crate::request::{HeaderList, Length, RequestView};

/// The response header with which an upstream asks for streaming (and the filter asks the hops in front).
pub const ACCEL: &str = "x-accel-buffering";

/// A response head as the rules see it.
#[derive(Debug, Clone, Copy)]
pub struct ResponseView<'a> {
    /// `:status`; 0 when it is not there.
    pub status: u16,
    /// `content-length`, when it is there once and a number.
    pub content_length: Option<u64>,
    /// `content-type`, or empty.
    pub content_type: &'a [u8],
    /// What the upstream says about buffering.
    pub accel: Option<bool>,
    /// Whether there is a `content-length`, of whatever kind.
    pub has_length: bool,
    /// Whether the body is compressed or otherwise encoded.
    pub encoded: bool,
    /// Whether there is an `upgrade` header.
    pub upgrades: bool,
    /// Whether the upstream sent the header that only the filter may set.
    pub marked: bool,
}

impl<'a> ResponseView<'a> {
    /// Reads the list once.
    pub fn new(headers: &'a HeaderList) -> Self {
        let mut view = Self {
            status: 0,
            content_length: None,
            content_type: b"",
            accel: None,
            has_length: false,
            encoded: false,
            upgrades: false,
            marked: false,
        };
        let mut length = Length::Absent;
        for (name, value) in headers {
            match name.as_str() {
                ":status" => {
                    view.status =
                        std::str::from_utf8(value).ok().and_then(|s| s.parse().ok()).unwrap_or(0);
                }
                "content-length" => length = length.and(value),
                "content-type" => view.content_type = value,
                "content-encoding" => view.encoded |= !value.eq_ignore_ascii_case(b"identity"),
                "upgrade" => view.upgrades = true,
                ACCEL if value.eq_ignore_ascii_case(b"no") => view.accel = Some(false),
                ACCEL if value.eq_ignore_ascii_case(b"yes") => view.accel = Some(true),
                crate::hygiene::MARKER => view.marked = true,
                _ => {}
            }
        }
        view.content_length = length.known();
        view.has_length = length != Length::Absent;
        view
    }

    /// Whether this is an interim response, after which the real one follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// What happens to a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// It passes as it comes.
    Stream,
    /// It is held until it is complete.
    Hold,
    /// It declares more bytes than are held, and is refused.
    TooLarge {
        /// Bytes.
        declared: u64,
    },
}

/// Decides over a request body. `ended` says that the request has none.
pub fn request(policy: &Policy, request: &RequestView<'_>, ended: bool) -> RequestBody {
    match request.content_length {
        _ if !policy.hold_request || ended || request.leaves_http => RequestBody::Stream,
        Some(declared) if declared > policy.max_bytes => RequestBody::TooLarge { declared },
        Some(_) => RequestBody::Hold,
        None => RequestBody::Stream,
    }
}

/// Decides whether a response body is held. `bodiless` says that none can follow, whatever the head declares (an answer to HEAD).
pub fn holds_response(policy: &Policy, response: &ResponseView<'_>, bodiless: bool) -> bool {
    let wanted = match policy.response {
        None | Some(BufferingMode::Off) => false,
        Some(BufferingMode::On) => true,
        Some(BufferingMode::Auto) => {
            response.accel.unwrap_or_else(|| kind(response.content_type).is_none())
        }
    };
    let bodiless = bodiless || matches!(response.status, 0..=199 | 204 | 304) || response.upgrades;
    let fits =
        response.content_length.is_some_and(|length| (1..=policy.max_bytes).contains(&length));
    wanted && !bodiless && fits
}

/// Types whose parts matter as soon as they are there.
const STREAMS: [(&str, Stream); 9] = [
    ("text/event-stream", Stream::Of(Framing::Events)),
    ("application/x-ndjson", Stream::Of(Framing::Lines)),
    ("application/ndjson", Stream::Of(Framing::Lines)),
    ("application/jsonl", Stream::Of(Framing::Lines)),
    ("application/x-jsonlines", Stream::Of(Framing::Lines)),
    ("application/json-seq", Stream::Of(Framing::Lines)),
    ("application/stream+json", Stream::Of(Framing::Lines)),
    ("application/grpc", Stream::Opaque),
    ("multipart/x-mixed-replace", Stream::Opaque),
];

/// What is known of a stream by its type.
#[derive(Clone, Copy)]
enum Stream {
    /// Its parts can be told apart, and make sense alone.
    Of(Framing),
    Opaque,
}

/// Looks a content type up in [`STREAMS`], with parameters (`; charset=`) or a suffix (`application/grpc+proto`, `-web`).
fn kind(content_type: &[u8]) -> Option<Stream> {
    let found = STREAMS.iter().find(|(stream, _)| {
        content_type.split_at_checked(stream.len()).is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(stream.as_bytes())
                && rest.first().is_none_or(|next| b"; \t+-".contains(next))
        })
    });
    found.map(|(_, stream)| *stream)
}

/// How a response is divided into parts between which it may be cut, if it is a stream that does not end by itself.
pub fn framing(response: &ResponseView<'_>) -> Option<Framing> {
    let plain = (200..300).contains(&response.status) && !response.encoded;
    match kind(response.content_type).filter(|_| plain && !response.has_length)? {
        Stream::Of(framing) => Some(framing),
        Stream::Opaque => None,
    }
}
