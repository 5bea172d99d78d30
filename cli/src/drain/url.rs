//! Where a proxy or a store answers, as the command line names it. Checked before anything is sent, so that a slip of
//! the pen neither reaches a stranger nor carries a secret into a log.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use ureq::http::Uri;

/// A plain `http` URL without user, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url(Uri);

/// Why a text is no [`Url`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum UrlError {
    /// It names no host, or is no URL at all.
    #[error("no URL; expected one such as http://127.0.0.1:10000/.sluice/drain")]
    NoUrl,
    /// What stands behind the host's colon is no port; a client would take the usual one instead.
    #[error("no port behind the colon; expected a number from 1 to 65535")]
    Port,
    /// It names a protocol that is not spoken.
    #[error(
        "another scheme than http; put something before it that speaks TLS, or ask from the proxy's own host"
    )]
    Scheme,
    /// It holds a user's name, and maybe a password.
    #[error("a user name in the URL; the token of an admin path stands in a file, --token-file")]
    User,
    /// It has a query or a fragment.
    #[error("a query or a fragment in the URL; expected none")]
    Query,
}

impl Url {
    /// This URL with `path` after its own.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.to_string().trim_end_matches('/'))
    }

    /// This URL with a query.
    pub(crate) fn with_query(&self, query: &str) -> String {
        format!("{self}?{query}")
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains(['?', '#']) {
            return Err(UrlError::Query);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::NoUrl)?;
        let authority = uri.authority().ok_or(UrlError::NoUrl)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::User);
        }
        let has_port = authority.as_str().len() > authority.host().len();
        if has_port && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(UrlError::Port);
        }
        match uri.scheme_str() {
            Some("http") if !authority.host().is_empty() => Ok(Self(uri)),
            Some("http") | None => Err(UrlError::NoUrl),
            Some(_) => Err(UrlError::Scheme),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_urls_pass() {
        for (text, expected) in [
            ("http://127.0.0.1:15000/.sluice/drain", None),
            ("http://[::1]:15000/.sluice/drain", None),
            ("http://proxy-1", None),
            ("https://proxy-1/.sluice/drain", Some(UrlError::Scheme)),
            ("file:///etc/passwd", Some(UrlError::NoUrl)),
            ("http://operator:secret@proxy-1/", Some(UrlError::User)),
            ("http://proxy-1/?mode=off", Some(UrlError::Query)),
            ("http://proxy-1/#top", Some(UrlError::Query)),
            ("127.0.0.1:15000", Some(UrlError::NoUrl)),
            ("http://127.0.0.1:99999/d", Some(UrlError::Port)),
            ("http://127.0.0.1:0/d", Some(UrlError::Port)),
            ("http://127.0.0.1:/d", Some(UrlError::Port)),
            ("http://127.0.0.1:abc/d", Some(UrlError::Port)),
            ("http://[::1]:65536/d", Some(UrlError::Port)),
            ("/.sluice/drain", Some(UrlError::NoUrl)),
            ("http://", Some(UrlError::NoUrl)),
            ("http://a b/", Some(UrlError::NoUrl)),
            ("http://a/\r\nx: y", Some(UrlError::NoUrl)),
            ("", Some(UrlError::NoUrl)),
        ] {
            assert_eq!(text.parse::<Url>().err(), expected, "{text:?}");
        }
    }

    #[test]
    fn paths_and_queries_are_appended() {
        let url: Url = "http://127.0.0.1:2379/".parse().expect("a URL");
        assert_eq!(url.join("/v3/kv/range"), "http://127.0.0.1:2379/v3/kv/range");
        let url: Url = "http://proxy-1/drain".parse().expect("a URL");
        assert_eq!(url.with_query("mode=off"), "http://proxy-1/drain?mode=off");
    }
}
