//! The router of the simulated proxy: the timeouts of a request and its attempts, and its retries.
//!
//! The route has a policy of its own. The filter changes it with request headers, which the router
//! reads and removes. A host without a router has neither, because the ABI does not specify any.

mod conditions;
mod timeouts;

use std::time::Duration;

use crate::HeaderMap;
use crate::profile::RouterRules;
use crate::proxy::{BackOff, ProxySettings};

use super::failure::Failure;
pub(super) use conditions::RetryConditions;
use timeouts::{Timeouts, number};

/// The timeouts and retries of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RoutePolicy {
    /// From the end of the request to the end of the response.
    pub(super) timeout: Option<Duration>,
    /// From the end of the request, or the start of a later attempt, to the response headers.
    pub(super) attempt_timeout: Option<Duration>,
    /// `None` if no failure is retried, as for most requests.
    retry: Option<Box<Retry>>,
}

/// The retries of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Retry {
    on: RetryConditions,
    /// The maximum number of attempts after the first.
    count: u32,
    back_off: BackOff,
}

impl RoutePolicy {
    /// Reads the policy of a request that leaves the filter, and removes the headers that set it.
    /// Calls `unmodelled` with a description of each header that has no effect here, but has one in
    /// Envoy.
    pub(super) fn take(
        rules: &RouterRules,
        settings: &ProxySettings,
        headers: &mut HeaderMap,
        mut unmodelled: impl FnMut(String),
    ) -> Self {
        let Timeouts { request, attempt } = Timeouts::take(rules, settings, headers);
        let policy = &settings.retry_policy;
        let on = RetryConditions::of(policy, headers, &mut unmodelled);
        let retry = (!on.is_empty()).then(|| {
            let count = number(headers, rules.max_retries_header)
                .map(|count| u32::try_from(count).unwrap_or(u32::MAX))
                .or(policy.num_retries)
                .unwrap_or(1);
            Box::new(Retry { on, count, back_off: policy.retry_back_off })
        });
        for (name, effect) in UNMODELLED {
            if headers.find(name).is_some() {
                unmodelled(format!("{name}: {effect} is not simulated"));
            }
        }
        for name in CONSUMED.iter().chain(&[rules.max_retries_header]) {
            headers.remove(name);
        }
        let timeout = Some(request).filter(|timeout| !timeout.is_zero());
        let attempt_timeout = Some(attempt).filter(|timeout| !timeout.is_zero());
        Self { timeout, attempt_timeout, retry }
    }

    pub(super) fn disable_retries(&mut self) {
        self.retry = None;
    }

    /// The maximum number of attempts after the first.
    pub(super) fn retries(&self) -> u32 {
        self.retry.as_ref().map_or(0, |retry| retry.count)
    }

    /// Whether the conditions include the failure of an attempt.
    pub(super) fn retries_failure(&self, failure: Failure) -> bool {
        self.retry.as_ref().is_some_and(|retry| retry.on.include_failure(failure))
    }

    /// Whether the conditions include a response.
    pub(super) fn retries_response<'h>(
        &self,
        status: u16,
        headers: impl Iterator<Item = (&'h str, &'h str)> + Clone,
    ) -> bool {
        self.retry.as_ref().is_some_and(|retry| retry.on.include_response(status, headers))
    }

    /// The random pause before the next attempt, after `attempts` attempts. As in Envoy, its bound
    /// doubles with each attempt.
    pub(super) fn back_off(&self, attempts: u32, rng: &mut fastrand::Rng) -> Duration {
        let Some(retry) = &self.retry else { return Duration::ZERO };
        let BackOff { base_interval, max_interval } = retry.back_off;
        let max = max_interval.unwrap_or(base_interval.saturating_mul(10));
        let factor = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        match base_interval.saturating_mul(factor).min(max).as_millis() as u64 {
            0 => Duration::ZERO,
            bound => Duration::from_millis(rng.u64(0..bound)),
        }
    }
}

/// The headers of retries and timeouts that the router removes, measured on Envoy 1.40. The
/// timeouts remove two others.
const CONSUMED: [&str; 7] = [
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    HEDGE,
    "x-envoy-upstream-alt-stat-name",
    ALT_RESPONSE,
];

const HEDGE: &str = "x-envoy-hedge-on-per-try-timeout";

const ALT_RESPONSE: &str = "x-envoy-upstream-rq-timeout-alt-response";

/// Headers with an effect that is not simulated.
const UNMODELLED: [(&str, &str); 2] = [
    (HEDGE, "the second attempt beside the first"),
    (ALT_RESPONSE, "the status 204 after a timeout"),
];
