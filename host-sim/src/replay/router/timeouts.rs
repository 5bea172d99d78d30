//! The timeouts of a request: those of the route, unless a header sets another.

use std::time::Duration;

use crate::HeaderMap;
use crate::profile::RouterRules;
use crate::proxy::ProxySettings;

/// The header with which a proxy tells the next one how long it waits.
const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";

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
        let request = request.or(settings.route_timeout).unwrap_or_default();
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
            headers.set(EXPECTED, shorter.as_millis().to_string());
        }
        Self { request, attempt }
    }
}

fn milliseconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    number(headers, name).map(Duration::from_millis)
}

/// The number in a header.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    std::str::from_utf8(headers.find(name)?).ok()?.parse().ok()
}
