//! A request, as the rules see it.
//!
//! The view borrows the headers in the form in which a host delivers them, and reads them once.
//! Nothing is copied.

use crate::headers::Headers;
use crate::reserved_headers;

/// The parts of a request that decisions depend on.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// All headers, pseudo headers included.
    pub headers: &'a Headers,
    /// `:method`, or empty.
    pub method: &'a [u8],
    /// `:authority` (or `host`) with its port, or empty.
    pub authority: &'a [u8],
    /// `:path` without its query, or empty (`CONNECT` has none).
    pub path: &'a [u8],
    /// The name of the route that the control plane chose (`xds.route_name`), if the host has that
    /// property.
    pub route_name: Option<&'a [u8]>,
    /// The value of `policy` under `sluice` in the metadata of the proxy's route.
    pub policy: Option<&'a [u8]>,
    /// `content-length`, if it is one number.
    pub content_length: Option<u64>,
    /// Whether the request opens a tunnel, by `CONNECT` or an `upgrade` header.
    pub opens_tunnel: bool,
    /// Whether this is a gRPC request. Its client reads a status from the trailers and no body.
    pub is_grpc: bool,
    /// Whether the client sent a [reserved header](reserved_headers).
    pub has_reserved_headers: bool,
}

impl<'a> RequestView<'a> {
    /// Reads the headers once.
    pub fn new(headers: &'a Headers) -> Self {
        let mut view = Self {
            headers,
            method: b"",
            authority: b"",
            path: b"",
            route_name: None,
            policy: None,
            content_length: None,
            opens_tunnel: false,
            is_grpc: false,
            has_reserved_headers: false,
        };
        let mut host: &[u8] = b"";
        let mut length = ContentLength::Absent;
        for (name, value) in headers {
            match name {
                b":method" => view.method = value,
                b":authority" => view.authority = value,
                b":path" => view.path = without_query(value),
                b"host" => host = value,
                b"content-length" => length = length.merge(value),
                b"content-type" => view.is_grpc = is_grpc_type(value),
                b"upgrade" => view.opens_tunnel = true,
                [b'x', b'-', ..] => {
                    view.has_reserved_headers |= reserved_headers::is_reserved(name)
                }
                _ => {}
            }
        }
        if view.authority.is_empty() {
            view.authority = host;
        }
        view.opens_tunnel |= view.method == b"CONNECT";
        view.content_length = length.bytes();
        view
    }

    /// The host without its port.
    pub fn host(&self) -> &'a [u8] {
        let authority = self.authority;
        let port = authority.iter().rposition(|byte| *byte == b':');
        match port {
            // The colons of an IPv6 address in brackets do not begin a port.
            Some(colon) if !authority[colon..].contains(&b']') => &authority[..colon],
            _ => authority,
        }
    }

    /// The values of the header `name` (in lower case), in their order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.values(name)
    }
}

/// Whether this is the content type of a gRPC request (gRPC over HTTP/2, section "Requests").
fn is_grpc_type(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.first().is_none_or(|next| b"+;".contains(next)))
}

/// The `content-length` headers that were read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentLength {
    Absent,
    Bytes(u64),
    /// Not a number, or two different numbers.
    Invalid,
}

impl ContentLength {
    /// Adds another `content-length` header.
    pub(crate) fn merge(self, value: &[u8]) -> Self {
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value)
            .ok()
            .filter(|_| is_number)
            .and_then(|text| text.parse().ok());
        match (self, number) {
            (Self::Absent, Some(bytes)) => Self::Bytes(bytes),
            (Self::Bytes(before), Some(bytes)) if before == bytes => self,
            _ => Self::Invalid,
        }
    }

    pub(crate) fn bytes(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Absent | Self::Invalid => None,
        }
    }
}

fn without_query(path: &[u8]) -> &[u8] {
    path.iter().position(|byte| *byte == b'?').map_or(path, |end| &path[..end])
}

/// The bytes as readable text, with escapes.
pub(crate) fn printable(value: &[u8]) -> String {
    String::from_utf8_lossy(value).escape_debug().to_string()
}
