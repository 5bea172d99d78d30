//! A request as the rules see it: the header list that the host handed over, read once, with the few fields that
//! every rule asks for already found.
//!
//! It borrows the list in the form in which the SDK delivers it, so that looking at a request copies nothing.

/// Header fields in their order, pseudo headers (`:method`, `:path`, `:authority`) among them. Values are bytes: HTTP does not
/// promise UTF-8.
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
        };
        let mut host: &[u8] = b"";
        for (name, value) in headers {
            match name.as_str() {
                ":method" => view.method = value,
                ":authority" => view.authority = value,
                ":path" => view.path = without_query(value),
                "host" => host = value,
                _ => {}
            }
        }
        if view.authority.is_empty() {
            view.authority = host;
        }
        view
    }
}

fn without_query(path: &[u8]) -> &[u8] {
    path.iter().position(|byte| *byte == b'?').map_or(path, |end| &path[..end])
}
