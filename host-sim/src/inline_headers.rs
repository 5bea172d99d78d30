//! Inline headers: the names for which a header map of Envoy has at most one value.
//!
//! Envoy joins repeated values of these names with commas, when a message arrives and when a guest
//! adds a value. All other names keep separate values.

use crate::abi::MapType;
use crate::headers::HeaderMap;

/// The inline headers of each kind of map, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InlineHeaders {
    /// Of requests, and of HTTP and gRPC calls.
    pub request: &'static [&'static str],
    /// Of responses, and of those to calls.
    pub response: &'static [&'static str],
    /// Of the trailers of responses, and of those to calls.
    pub response_trailers: &'static [&'static str],
}

/// The rules of one map.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MapRules {
    inline: &'static [&'static str],
    /// `host` is another name of `:authority`.
    host_is_authority: bool,
    /// Whether the map has the order and the rules of Envoy.
    envoy: bool,
}

impl MapRules {
    /// The rules of a map of this kind; `None` for a host without inline headers.
    pub(crate) fn of(headers: Option<&'static InlineHeaders>, kind: MapType) -> Self {
        let Some(headers) = headers else { return Self::default() };
        let inline = match kind {
            MapType::HttpRequestHeaders => headers.request,
            MapType::HttpResponseHeaders
            | MapType::HttpCallResponseHeaders
            | MapType::GrpcCallInitialMetadata => headers.response,
            MapType::HttpResponseTrailers
            | MapType::HttpCallResponseTrailers
            | MapType::GrpcCallTrailingMetadata => headers.response_trailers,
            MapType::HttpRequestTrailers => &[],
        };
        let host_is_authority = kind == MapType::HttpRequestHeaders;
        Self { inline, host_is_authority, envoy: true }
    }

    /// The name under which the map stores this name.
    pub(crate) fn name<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        match self.host_is_authority && name.eq_ignore_ascii_case(b"host") {
            true => b":authority",
            false => name,
        }
    }

    /// Adds a value. In Envoy, the value of an inline header is appended to the existing one, and
    /// pseudo-headers stay before the other headers.
    pub(crate) fn add(&self, map: &mut HeaderMap, name: &[u8], value: &[u8]) {
        let name = self.name(name);
        if !self.envoy {
            map.push(name, value);
        } else if !(self.is_inline(name) && map.append_to(name, value)) {
            map.push_in_order(name, value);
        }
    }

    /// Replaces all values of a name. In Envoy, the header moves to the end of the map.
    pub(crate) fn replace(&self, map: &mut HeaderMap, name: &[u8], value: &[u8]) {
        let name = self.name(name);
        if self.envoy {
            map.remove(name);
            map.push_in_order(name, value);
        } else {
            map.set(name, value);
        }
    }

    /// Joins the repeated inline headers of a map, moves its pseudo-headers to the front, and
    /// renames `host`.
    pub(crate) fn normalize(&self, map: &mut HeaderMap) {
        if !self.envoy || self.is_normal(map) {
            return;
        }
        let mut normal = HeaderMap::with_capacity(map.len(), map.byte_size());
        for (name, value) in map.iter() {
            self.add(&mut normal, name, value);
        }
        *map = normal;
    }

    /// Whether nothing has to change. May return false for a map in which nothing has to change.
    fn is_normal(&self, map: &HeaderMap) -> bool {
        let (mut seen, mut regular) = (0_u128, false);
        for (index, (name, _)) in map.iter().enumerate() {
            let (Some(first), Some(last)) = (name.first(), name.last()) else { return false };
            let pseudo = *first == b':';
            if (pseudo && regular) || (self.host_is_authority && name == b"host") {
                return false;
            }
            regular |= !pseudo;
            let hash = name.len() * 31 + usize::from(*first) * 7 + usize::from(*last) * 3;
            let bit = 1 << (hash % 128);
            if seen & bit != 0 && (index >= COMPARED || has_name(map, index, name)) {
                return false;
            }
            seen |= bit;
        }
        true
    }

    fn is_inline(&self, name: &[u8]) -> bool {
        let mut lower = [0; 48];
        let Some(lower) = lower.get_mut(..name.len()) else { return false };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.inline.binary_search_by(|known| known.as_bytes().cmp(lower)).is_ok()
    }
}

/// The headers of a map that are compared with each other. Longer maps are always normalized, because
/// comparing each with each would take too long.
const COMPARED: usize = 64;

/// Whether one of the first `count` headers has this name.
fn has_name(map: &HeaderMap, count: usize, name: &[u8]) -> bool {
    map.iter().take(count).any(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// Measured on Envoy 1.40: every name that it knows, sent and added twice.
pub(crate) const ENVOY: InlineHeaders = InlineHeaders {
    request: &[
        ":authority",
        ":method",
        ":path",
        ":protocol",
        ":scheme",
        "accept",
        "accept-encoding",
        "access-control-request-headers",
        "access-control-request-method",
        "access-control-request-private-network",
        "authorization",
        "cache-control",
        "cdn-loop",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "grpc-accept-encoding",
        "grpc-timeout",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "origin",
        "pragma",
        "proxy-connection",
        "proxy-status",
        "referer",
        "te",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "x-client-trace-id",
        "x-envoy-attempt-count",
        "x-envoy-decorator-operation",
        "x-envoy-downstream-service-cluster",
        "x-envoy-downstream-service-node",
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-external-address",
        "x-envoy-force-trace",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-internal",
        "x-envoy-ip-tags",
        "x-envoy-is-timeout-retry",
        "x-envoy-max-retries",
        "x-envoy-original-host",
        "x-envoy-original-path",
        "x-envoy-retriable-header-names",
        "x-envoy-retriable-status-codes",
        "x-envoy-retry-grpc-on",
        "x-envoy-retry-on",
        "x-envoy-upstream-alt-stat-name",
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-upstream-rq-timeout-alt-response",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-upstream-stream-duration-ms",
        "x-forwarded-client-cert",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-request-id",
    ],
    response: &[
        ":status",
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-allow-private-network",
        "access-control-expose-headers",
        "access-control-max-age",
        "age",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "etag",
        "expires",
        "grpc-message",
        "grpc-status",
        "keep-alive",
        "last-modified",
        "location",
        "proxy-connection",
        "proxy-status",
        "server",
        "transfer-encoding",
        "upgrade",
        "vary",
        "via",
        "x-envoy-attempt-count",
        "x-envoy-decorator-operation",
        "x-envoy-degraded",
        "x-envoy-immediate-health-check-fail",
        "x-envoy-ratelimited",
        "x-envoy-upstream-canary",
        "x-envoy-upstream-healthchecked-cluster",
        "x-envoy-upstream-service-time",
        "x-request-id",
    ],
    response_trailers: &["grpc-message", "grpc-status"],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_fit_the_buffer() {
        for names in [ENVOY.request, ENVOY.response, ENVOY.response_trailers] {
            assert!(names.is_sorted(), "{names:?}");
            assert!(names.iter().all(|name| name.len() <= 48), "{names:?}");
        }
    }
}
