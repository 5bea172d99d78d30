//! The URL of a proxy or a store on the command line. It is checked before a request is sent: a
//! mistake in it could send the token to the wrong server or write a password to a log.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use ureq::http::Uri;

/// An `http` URL without user name, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(Uri);

/// Why a text is not an [`Endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum EndpointError {
    #[error("not a URL; expected one such as http://127.0.0.1:10000/.sluice/drain")]
    NotUrl,
    /// An HTTP client would silently use port 80 instead.
    #[error("not a port after the colon; expected a number from 1 to 65535")]
    Port,
    #[error(
        "expected an http URL; for TLS, put a proxy in front or run the command on the proxy's host"
    )]
    Scheme,
    #[error(
        "found a user name in the URL, expected none; put the token into a file (--token-file)"
    )]
    User,
    #[error("found a query or a fragment in the URL, expected none")]
    Query,
}

impl Endpoint {
    /// This URL, extended by `path`.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.to_string().trim_end_matches('/'))
    }

    pub(crate) fn with_query(&self, query: &str) -> String {
        format!("{self}?{query}")
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.contains(['?', '#']) {
            return Err(EndpointError::Query);
        }
        let uri: Uri = text.parse().map_err(|_| EndpointError::NotUrl)?;
        let authority = uri.authority().ok_or(EndpointError::NotUrl)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::User);
        }
        let has_port = authority.as_str().len() > authority.host().len();
        if has_port && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(EndpointError::Port);
        }
        match uri.scheme_str() {
            Some("http") if !authority.host().is_empty() => Ok(Self(uri)),
            Some("http") | None => Err(EndpointError::NotUrl),
            Some(_) => Err(EndpointError::Scheme),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_urls_are_accepted() {
        for (text, expected) in [
            ("http://127.0.0.1:15000/.sluice/drain", None),
            ("http://[::1]:15000/.sluice/drain", None),
            ("http://proxy-1", None),
            ("https://proxy-1/.sluice/drain", Some(EndpointError::Scheme)),
            ("file:///etc/passwd", Some(EndpointError::NotUrl)),
            ("http://operator:secret@proxy-1/", Some(EndpointError::User)),
            ("http://proxy-1/?mode=off", Some(EndpointError::Query)),
            ("http://proxy-1/#top", Some(EndpointError::Query)),
            ("127.0.0.1:15000", Some(EndpointError::NotUrl)),
            ("http://127.0.0.1:99999/d", Some(EndpointError::Port)),
            ("http://127.0.0.1:0/d", Some(EndpointError::Port)),
            ("http://127.0.0.1:/d", Some(EndpointError::Port)),
            ("http://127.0.0.1:abc/d", Some(EndpointError::Port)),
            ("http://[::1]:65536/d", Some(EndpointError::Port)),
            ("/.sluice/drain", Some(EndpointError::NotUrl)),
            ("http://", Some(EndpointError::NotUrl)),
            ("http://a b/", Some(EndpointError::NotUrl)),
            ("http://a/\r\nx: y", Some(EndpointError::NotUrl)),
            ("", Some(EndpointError::NotUrl)),
        ] {
            assert_eq!(text.parse::<Endpoint>().err(), expected, "{text:?}");
        }
    }

    #[test]
    fn paths_and_queries_are_appended() {
        let store: Endpoint = "http://127.0.0.1:2379/".parse().expect("a URL");
        assert_eq!(store.join("/v3/kv/range"), "http://127.0.0.1:2379/v3/kv/range");
        let proxy: Endpoint = "http://proxy-1/drain".parse().expect("a URL");
        assert_eq!(proxy.with_query("mode=off"), "http://proxy-1/drain?mode=off");
    }
}
