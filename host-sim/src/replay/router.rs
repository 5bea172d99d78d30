//! The router of the simulated proxy: the timeouts of a request and its attempts, and its retries.
//!
//! The filter sets timeouts and retries with request headers, which the router reads and removes. A
//! host without a router has neither, because the ABI does not specify any.

use std::time::Duration;

use crate::HeaderMap;
use crate::profile::RouterRules;

use super::failure::Failure;

/// The timeouts and retries of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RoutePolicy {
    /// From the end of the request to the end of the response.
    pub(super) timeout: Option<Duration>,
    /// From the end of the request, or the start of a later attempt, to the response headers.
    pub(super) attempt_timeout: Option<Duration>,
    /// The maximum number of attempts after the first.
    pub(super) retries: u32,
    retry_on: RetryConditions,
}

/// The conditions for a retry that a trace can cause, from Envoy's documentation of
/// `x-envoy-retry-on`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct RetryConditions {
    any_5xx: bool,
    gateway_error: bool,
    reset: bool,
    connect_failure: bool,
    refused_stream: bool,
    retriable_4xx: bool,
}

impl RoutePolicy {
    /// Reads the policy of a request that leaves the filter, and removes its headers.
    pub(super) fn take(rules: Option<&RouterRules>, headers: &mut HeaderMap) -> Self {
        let Some(rules) = rules else { return Self::default() };
        let timeout = match milliseconds(headers, rules.timeout_header) {
            Some(timeout) => Some(timeout).filter(|timeout| !timeout.is_zero()),
            None => Some(rules.default_timeout),
        };
        let attempt_timeout = milliseconds(headers, rules.attempt_timeout_header)
            .filter(|limit| !limit.is_zero() && timeout.is_none_or(|timeout| *limit < timeout));
        let retry_on = headers
            .find(rules.retry_conditions_header)
            .map(RetryConditions::parse)
            .unwrap_or_default();
        let retries = match retry_on == RetryConditions::default() {
            true => 0,
            false => number(headers, rules.max_retries_header).unwrap_or(1),
        };
        for name in [
            rules.timeout_header,
            rules.attempt_timeout_header,
            rules.retry_conditions_header,
            rules.max_retries_header,
        ] {
            headers.remove(name);
        }
        let retries = u32::try_from(retries).unwrap_or(u32::MAX);
        Self { timeout, attempt_timeout, retries, retry_on }
    }

    pub(super) fn disable_retries(&mut self) {
        (self.retries, self.retry_on) = (0, RetryConditions::default());
    }

    /// Whether the conditions include the failure of an attempt.
    pub(super) fn retries_failure(&self, failure: Failure) -> bool {
        let on = self.retry_on;
        on.any_5xx
            || on.gateway_error
            || on.reset
            || match failure {
                Failure::Connect => on.connect_failure,
                Failure::RefusedStream => on.refused_stream,
                Failure::Reset
                | Failure::Protocol
                | Failure::AttemptTimeout
                | Failure::RequestTimeout => false,
            }
    }

    /// Whether the conditions include the status of a response.
    pub(super) fn retries_status(&self, status: u16) -> bool {
        let on = self.retry_on;
        (on.any_5xx && (500..600).contains(&status))
            || (on.gateway_error && (502..=504).contains(&status))
            || (on.retriable_4xx && status == 409)
    }
}

/// The random pause before the next attempt, after `attempts` attempts.
pub(super) fn back_off(
    rules: Option<&RouterRules>,
    attempts: u32,
    rng: &mut fastrand::Rng,
) -> Duration {
    let Some(rules) = rules else { return Duration::ZERO };
    let factor = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let bound = rules.back_off_base.saturating_mul(factor).min(rules.back_off_max);
    Duration::from_millis(rng.u64(0..bound.as_millis() as u64))
}

impl RetryConditions {
    fn parse(value: &[u8]) -> Self {
        let mut conditions = Self::default();
        for condition in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            match condition {
                b"5xx" => conditions.any_5xx = true,
                b"gateway-error" => conditions.gateway_error = true,
                b"reset" => conditions.reset = true,
                b"connect-failure" => conditions.connect_failure = true,
                b"refused-stream" => conditions.refused_stream = true,
                b"retriable-4xx" => conditions.retriable_4xx = true,
                _ => {}
            }
        }
        conditions
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    std::str::from_utf8(headers.find(name)?).ok()?.parse().ok()
}

fn milliseconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    number(headers, name).map(Duration::from_millis)
}
