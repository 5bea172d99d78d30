//! Headers that decide how a proxy treats a request, and that a client must therefore not send.
//!
//! Envoy's router takes its orders (timeouts, retries, hedging) from request headers, whoever wrote them; so what a client sends
//! under those names is removed or overwritten before the router sees it. The names of our own are ours in both directions.

/// The response header that asks the drain bridge to close the connection. Only the filter sets it: one from an upstream is removed.
pub const MARKER: &str = "x-sluice-drain";

/// What begins the request headers that are not for clients to send.
pub const RESERVED: [&str; 6] = [
    "x-envoy-upstream-",
    "x-envoy-retry-",
    "x-envoy-retriable-",
    "x-envoy-max-retries",
    "x-envoy-hedge",
    "x-sluice-",
];

/// Whether the request header `name` (in lower case) is not for clients to send.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|prefix| name.starts_with(prefix))
}
