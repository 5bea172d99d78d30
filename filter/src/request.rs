//! A request as the rules see it: the header list that the host handed over, read once, with the few fields that
//! every rule asks for already found.
//!
//! It borrows the list in the form in which the SDK delivers it, so that looking at a request copies nothing.

use crate::hygiene;

/// Header fields in their order, pseudo headers (`:method`, `:path`, `:authority`) among them. Names are in lower case, as hosts
/// deliver them. Values are bytes: HTTP does not promise UTF-8.
pub type HeaderList = [(String, Vec<u8>)];

/// One request, borrowed from the host's header list.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// All header fields, pseudo headers included.
    pub headers: &'a HeaderList,
    /// `:method`, or empty.
    pub method: &'a [u8],
    /// `:authority` (or `host`) as sent, with its port, or empty.
    pub authority: &'a [u8],
    /// `:path` without its query, or empty (a `CONNECT` has none).
    pub path: &'a [u8],
    /// The name of the route that the control plane chose (`xds.route_name`), if the host knows one.
    pub route_name: Option<&'a [u8]>,
    /// The policy that the route's metadata carries under `sluice`, if any.
    pub policy: Option<&'a [u8]>,
    /// `content-length`, when it is there once and a number.
    pub content_length: Option<u64>,
    /// Whether the client asks to leave HTTP (`upgrade`), or opens a tunnel (`CONNECT`).
    pub leaves_http: bool,
    /// Whether this is a request of gRPC, whose client reads a status in the trailers and no body.
    pub grpc: bool,
    /// Whether the client sent a header that is not for clients to send ([`hygiene`]).
    pub oversteps: bool,
}

impl<'a> RequestView<'a> {
    /// Reads the list once.
    pub fn new(headers: &'a HeaderList) -> Self {
        let mut view = Self {
            headers,
            method: b"",
            authority: b"",
            path: b"",
            route_name: None,
            policy: None,
            content_length: None,
            leaves_http: false,
            grpc: false,
            oversteps: false,
        };
        let mut host: &[u8] = b"";
        let mut length = Length::Absent;
        for (name, value) in headers {
            match name.as_bytes() {
                b":method" => view.method = value,
                b":authority" => view.authority = value,
                b":path" => view.path = without_query(value),
                b"host" => host = value,
                b"content-length" => length = length.and(value),
                b"content-type" => view.grpc = is_grpc(value),
                b"upgrade" => view.leaves_http = true,
                [b'x', b'-', ..] => view.oversteps |= hygiene::is_reserved(name),
                _ => {}
            }
        }
        if view.authority.is_empty() {
            view.authority = host;
        }
        view.leaves_http |= view.method == b"CONNECT";
        view.content_length = length.known();
        view
    }

    /// The host without its port.
    pub fn host(&self) -> &'a [u8] {
        let authority = self.authority;
        let port = authority.iter().rposition(|byte| *byte == b':');
        match port {
            // The colons of an address in brackets are not a port's.
            Some(colon) if !authority[colon..].contains(&b']') => &authority[..colon],
            _ => authority,
        }
    }

    /// The values of the header `name` (in lower case), in their order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |(found, _)| found == name);
        named.map(|(_, value)| value.as_slice())
    }
}

/// Whether a type is that of gRPC requests (gRPC over HTTP/2, "Requests").
fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.first().is_none_or(|next| b"+;".contains(next)))
}

/// A `content-length` while the fields are read: two that differ, or one that is no number, say nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Absent,
    Bytes(u64),
    Unclear,
}

impl Length {
    pub(crate) fn and(self, value: &[u8]) -> Self {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number =
            std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        match (self, number) {
            (Self::Absent, Some(bytes)) => Self::Bytes(bytes),
            (Self::Bytes(before), Some(bytes)) if before == bytes => self,
            _ => Self::Unclear,
        }
    }

    pub(crate) fn known(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Absent | Self::Unclear => None,
        }
    }
}

fn without_query(path: &[u8]) -> &[u8] {
    path.iter().position(|byte| *byte == b'?').map_or(path, |end| &path[..end])
}

/// Bytes of a header for people to read.
pub(crate) fn printable(value: &[u8]) -> String {
    String::from_utf8_lossy(value).escape_debug().to_string()
}
