//! What the proxy does with a request before its filters run: it rejects the request, or rewrites
//! it for them. Each rule was measured on Envoy.

use crate::headers::HeaderMap;
use crate::local_reply::LocalReply;
use crate::proxy::{ProxySettings, Rewritten, Underscores, apply_client_address, rewrite_path};
use crate::trace::{Protocol, Request};

use crate::proxy_headers;

/// The end of a request that no filter sees.
#[derive(Debug, Clone)]
pub(super) enum Rejection {
    /// The proxy replies.
    Reply(RejectionReply),
    /// The proxy resets the stream.
    Reset,
}

/// The reply to a request that no filter sees.
#[derive(Debug, Clone)]
pub(super) struct RejectionReply {
    status: u32,
    body: &'static str,
    details: &'static str,
    /// The header `location` of a redirect.
    location: Option<String>,
    /// The connection closes after the reply.
    pub(super) closes: bool,
}

impl RejectionReply {
    fn new(status: u32, body: &'static str, details: &'static str) -> Self {
        Self { status, body, details, location: None, closes: true }
    }

    pub(super) fn local_reply(&self) -> LocalReply {
        let mut reply = LocalReply::new(self.status, self.body, self.details);
        if let Some(location) = &self.location {
            reply.headers.push("location", location);
        }
        reply
    }
}

impl From<RejectionReply> for Rejection {
    fn from(reply: RejectionReply) -> Self {
        Self::Reply(reply)
    }
}

/// How the connection treats a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Admission {
    /// The request has no end, because its client wants to use the connection otherwise.
    pub(super) upgrade: bool,
    /// The connection closes after the response.
    pub(super) closes: bool,
}

/// Admits a request of a client at `source`, and rewrites its headers. A proxy without settings
/// admits every request unchanged.
pub(super) fn admit(
    settings: Option<&ProxySettings>,
    protocol: Protocol,
    source: &str,
    request: &Request<'_>,
    headers: &mut HeaderMap,
    random: &mut fastrand::Rng,
) -> Result<Admission, Rejection> {
    let upgrade = request.upgrade().filter(|_| !protocol.multiplexes());
    let Some(settings) = settings else {
        return Ok(Admission { upgrade: upgrade.is_some(), closes: false });
    };
    if protocol == Protocol::Http10 && !settings.http10 {
        return Err(RejectionReply::new(426, "Upgrade Required", "low_version").into());
    }
    check_underscores(settings, protocol, headers)?;
    if settings.strip_trailing_host_dot
        && let Some(stripped) = headers.text(":authority").and_then(without_trailing_dot)
    {
        headers.set(":authority", stripped);
    }
    if let Some(path) = headers.text(":path") {
        match rewrite_path(path, settings) {
            Ok(Rewritten { path: location, redirect: true }) => {
                let location = Some(location.into_owned());
                let reply = RejectionReply::new(307, "", "path_normalization_failed");
                return Err(RejectionReply { location, closes: false, ..reply }.into());
            }
            Ok(Rewritten { path: rewritten, .. }) if rewritten != path => {
                let rewritten = rewritten.into_owned();
                headers.set(":path", rewritten);
            }
            Ok(_) => {}
            Err(_) => return Err(RejectionReply::new(400, "", "path_normalization_failed").into()),
        }
    }
    match upgrade {
        Some(protocol) if !settings.upgrades_to(protocol) => {
            return Err(RejectionReply::new(403, "", "upgrade_failed").into());
        }
        Some(_) => {
            for name in ["keep-alive", "proxy-connection"] {
                headers.remove(name);
            }
        }
        None => proxy_headers::remove_hop_by_hop(headers),
    }
    let scheme = headers.text(":scheme").unwrap_or("http").to_owned();
    let outside = apply_client_address(headers, settings, source, &scheme);
    if !protocol.multiplexes()
        && let Some(forwarded) = headers.text("x-forwarded-proto").map(str::to_owned)
    {
        headers.set(":scheme", forwarded);
    }
    if settings.generate_request_id {
        proxy_headers::add_request_id(headers, outside, random);
    }
    let closes = match protocol {
        Protocol::Http10 => !request.has_connection_option("keep-alive"),
        Protocol::Http1 => request.has_connection_option("close"),
        Protocol::Http2 | Protocol::Http3 => false,
    };
    Ok(Admission { upgrade: upgrade.is_some(), closes })
}

/// Rejects a request with an underscore in a header name, or drops the header.
fn check_underscores(
    settings: &ProxySettings,
    protocol: Protocol,
    headers: &mut HeaderMap,
) -> Result<(), Rejection> {
    let action = settings.headers_with_underscores_action;
    if action == Underscores::Allow {
        return Ok(());
    }
    let names = headers.iter().map(|(name, _)| name).filter(|name| name.contains(&b'_'));
    let names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
    match action {
        Underscores::RejectRequest if !names.is_empty() => Err(match protocol.multiplexes() {
            true => Rejection::Reset,
            false => RejectionReply::new(400, "Bad Request", "http1.unexpected_underscore").into(),
        }),
        _ => {
            for name in names {
                headers.remove(name);
            }
            Ok(())
        }
    }
}

/// The host without a dot at its end, before a port.
fn without_trailing_dot(authority: &str) -> Option<String> {
    let dot = authority.rfind('.')?;
    let (host, rest) = authority.split_at(dot);
    let port = &rest[1..];
    (port.is_empty() || port.starts_with(':')).then(|| format!("{host}{port}"))
}

#[cfg(test)]
mod tests {
    use super::without_trailing_dot;

    #[test]
    fn one_dot_is_stripped_before_the_port() {
        let stripped = |authority| without_trailing_dot(authority);
        assert_eq!(stripped("example.com.").as_deref(), Some("example.com"));
        assert_eq!(stripped("example.com.:8080").as_deref(), Some("example.com:8080"));
        assert_eq!(stripped("example.com..").as_deref(), Some("example.com."));
        assert_eq!(stripped("example.com"), None);
        assert_eq!(stripped("10.0.0.1:80"), None);
    }
}
