//! What the connection manager does to request headers because of the client's address, before any
//! filter runs. Measured on Envoy 1.37, 1.39 and 1.40, which agree.

use std::net::{IpAddr, Ipv4Addr};

use super::settings::ProxySettings;
use crate::HeaderMap;

/// Headers that only an internal client may send.
const INTERNAL_ONLY: [&str; 15] = [
    "x-envoy-internal",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
];

/// Headers that a proxy at the edge also removes.
const REMOVED_AT_THE_EDGE: [&str; 5] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
];

/// The address of a client whose address the trace does not have.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Adds the client's address and protocol, and removes the headers that it may not send. `source` is
/// the client's address and port, or empty. Returns whether the client is an outside client of a
/// proxy at the edge, which does not trust its request id.
pub(crate) fn apply(
    headers: &mut HeaderMap,
    settings: &ProxySettings,
    source: &str,
    scheme: &str,
) -> bool {
    let direct = address(source).unwrap_or(UNKNOWN);
    let forwarded = headers.text("x-forwarded-for").map(str::to_owned);
    // Only a request that passed no other proxy can be internal.
    let origin = match (&forwarded, settings.use_remote_address) {
        (None, true) => Some(direct),
        (Some(one), false) if !one.contains(',') => one.trim().parse().ok(),
        _ => None,
    };
    let internal = origin.is_some_and(|origin| settings.is_internal(origin));
    if settings.use_remote_address {
        let value = match forwarded {
            Some(others) => format!("{others},{direct}"),
            None => direct.to_string(),
        };
        headers.set("x-forwarded-for", value);
    }
    if settings.use_remote_address || headers.find("x-forwarded-proto").is_none() {
        headers.set("x-forwarded-proto", scheme);
    }
    if internal {
        headers.set("x-envoy-internal", "true");
        return false;
    }
    if headers.iter().any(|(name, _)| is_envoys(name)) {
        for name in INTERNAL_ONLY {
            headers.remove(name);
        }
    }
    if settings.use_remote_address {
        for name in REMOVED_AT_THE_EDGE {
            headers.remove(name);
        }
        headers.set("x-envoy-external-address", direct.to_string());
    }
    settings.use_remote_address
}

/// Whether a header has the prefix of Envoy's. Most requests have none, so that one look is enough.
fn is_envoys(name: &[u8]) -> bool {
    name.get(..8).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"x-envoy-"))
}

/// The address in `address:port`.
fn address(source: &str) -> Option<IpAddr> {
    let host = source.rsplit_once(':').map_or(source, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}
