//! The timeouts of a request: those of the route, unless a header sets another.

use std::time::Duration;

use crate::HeaderMap;
use crate::local_reply::is_grpc;
use crate::profile::RouterRules;
use crate::proxy::ProxySettings;

/// The header with the time that a proxy waits for a response; the next proxy reads it.
const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";

/// The header with which a gRPC client sets its deadline.
const GRPC: &str = "grpc-timeout";

/// The timeouts of a request; zero disables one.
pub(super) struct Timeouts {
    pub(super) request: Duration,
    pub(super) attempt: Duration,
}

impl Timeouts {
    /// Reads the timeouts and sets the header for the upstream. The order in which the headers
    /// count, and those that remain, were measured on Envoy 1.40.
    pub(super) fn take(
        rules: &RouterRules,
        settings: &ProxySettings,
        headers: &mut HeaderMap,
    ) -> Self {
        let expected = match settings.respect_expected_rq_timeout {
            true => milliseconds(headers, EXPECTED),
            false => None,
        };
        let request = expected.or_else(|| {
            let timeout = milliseconds(headers, rules.timeout_header);
            headers.remove(rules.timeout_header);
            timeout
        });
        let grpc = settings.max_grpc_timeout.filter(|_| is_grpc(headers));
        let route = match grpc {
            Some(max) => grpc_timeout(headers, max),
            None => settings.route_timeout.unwrap_or_default(),
        };
        let request = request.unwrap_or(route);
        let attempt = milliseconds(headers, rules.attempt_timeout_header)
            .or(settings.retry_policy.per_try_timeout)
            .unwrap_or_default();
        headers.remove(rules.attempt_timeout_header);
        let attempt = match attempt >= request && !request.is_zero() {
            true => Duration::ZERO,
            false => attempt,
        };
        let shorter = if attempt.is_zero() { request } else { attempt };
        if expected.is_none() && !shorter.is_zero() {
            headers.set(EXPECTED, (shorter.as_millis() as u64).to_string());
        }
        if grpc.is_some() && !shorter.is_zero() {
            headers.set(GRPC, format!("{}m", shorter.as_millis()));
        }
        Self { request, attempt }
    }
}

/// The timeout of a gRPC client, at most `max` unless that is zero. Without one, there is none.
fn grpc_timeout(headers: &HeaderMap, max: Duration) -> Duration {
    let timeout = headers.text(GRPC).and_then(parse_grpc_timeout).unwrap_or_default();
    let exceeds = !max.is_zero() && (timeout.is_zero() || timeout > max);
    if exceeds { max } else { timeout }
}

/// Parses a timeout as gRPC defines it: up to eight digits and a unit.
fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let valid = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| valid)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        // Envoy's timers count milliseconds.
        "u" => Duration::from_millis(number.div_ceil(1000)),
        "n" => Duration::from_millis(number.div_ceil(1_000_000)),
        _ => return None,
    })
}

fn milliseconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    number(headers, name).map(Duration::from_millis)
}

/// The number in a header.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    std::str::from_utf8(headers.find(name)?).ok()?.parse().ok()
}
