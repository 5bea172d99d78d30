//! The parts of a URL that a request carries. Nothing is normalized or decoded, because the filter
//! matches on what the client sends.

/// `SCHEME://AUTHORITY/PATH?QUERY`, without the fragment, which no client sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestUrl<'u> {
    pub(crate) scheme: &'u str,
    /// Host and port as written; a user name may precede them.
    pub(crate) authority: &'u str,
    /// Path and query; begins with `/`.
    pub(crate) path: String,
}

impl<'u> RequestUrl<'u> {
    /// Splits a URL; `None` if it has no scheme.
    pub(crate) fn split(url: &'u str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { scheme, authority, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_as_a_client_sends_them() {
        for (url, scheme, authority, path) in [
            ("http://a.example.com/x?y=1#z", "http", "a.example.com", "/x?y=1"),
            ("https://a:8443", "https", "a:8443", "/"),
            ("http://a?y", "http", "a", "/?y"),
            ("http://a#z/b", "http", "a", "/"),
            ("http:///x", "http", "", "/x"),
        ] {
            let expected = RequestUrl { scheme, authority, path: path.to_owned() };
            assert_eq!(RequestUrl::split(url), Some(expected), "{url}");
        }
        assert_eq!(RequestUrl::split("a.example.com/x"), None);
    }
}
