//! Header names that clients must not send, because they change how a proxy handles a request.
//!
//! Envoy's router reads timeouts, retries and hedging from request headers. The filter removes or
//! overwrites these headers before the router reads them. Names that begin with `x-sluice-` are
//! reserved in requests and responses.

/// The drain marker: a response header that makes the drain bridge close the connection. The filter
/// removes it from upstream responses.
pub const MARKER: &str = "x-sluice-drain";

/// The gRPC marker: a header of the filter's own reply that makes the gRPC bridge add a body. The
/// filter then removes it. The filter cannot remove it from upstream responses, because the bridge
/// is behind the filter.
pub const GRPC_MARKER: &str = "x-sluice-grpc";

/// The prefixes of reserved request headers.
pub const RESERVED: [&str; 7] = [
    "x-envoy-upstream-",
    "x-envoy-retry-",
    "x-envoy-retriable-",
    "x-envoy-max-retries",
    "x-envoy-hedge",
    "x-envoy-expected-rq-timeout-ms",
    "x-sluice-",
];

/// Whether a name begins as all reserved names do. Few other names begin so, and need to be
/// compared with each prefix.
const fn may_be_reserved(name: &[u8]) -> bool {
    matches!(name, [b'x', b'-', b'e' | b's', ..])
}

const _: () = {
    let mut index = 0;
    while index < RESERVED.len() {
        assert!(may_be_reserved(RESERVED[index].as_bytes()));
        index += 1;
    }
};

/// Whether clients must not send the request header `name` (in lower case).
pub fn is_reserved(name: &[u8]) -> bool {
    may_be_reserved(name) && RESERVED.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}
