//! The router of the simulated proxy: how long an upstream may take and what is tried again.
//!
//! In the `envoy` profile the rules are those of Envoy's router filter, steered by the request headers
//! that it reads and removes (`x-envoy-upstream-rq-timeout-ms` and its relatives). The `generic` profile
//! has no router of its own: nothing times out and nothing is retried, because the ABI says nothing of it.

use std::time::Duration;

use crate::{HeaderMap, Profile};

use super::failure::Failure;

/// Envoy's route timeout where neither route nor request says otherwise.
const ENVOY_ROUTE_TIMEOUT: Duration = Duration::from_secs(15);

/// The base of Envoy's back-off between tries; the pause is random below `base * (2^n - 1)`.
const BACK_OFF_BASE: Duration = Duration::from_millis(25);

/// Ten times the base, Envoy's cap.
const BACK_OFF_CAP: Duration = Duration::from_millis(250);

/// How one request is routed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RoutePolicy {
    /// The longest time from the end of the request to the end of the response.
    pub(super) timeout: Option<Duration>,
    /// The longest time for one try, until its response begins.
    pub(super) per_try: Option<Duration>,
    /// Tries beyond the first.
    pub(super) retries: u32,
    on: RetryOn,
}

/// The conditions of `x-envoy-retry-on` that can come up in a trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct RetryOn {
    any_5xx: bool,
    gateway_error: bool,
    reset: bool,
    connect_failure: bool,
    refused_stream: bool,
    retriable_4xx: bool,
}

impl RoutePolicy {
    /// Reads the policy from what the filter let pass, and removes what the router keeps to itself.
    pub(super) fn take(profile: Profile, headers: &mut HeaderMap) -> Self {
        if profile == Profile::Generic {
            return Self::default();
        }
        let timeout = match milliseconds(headers, "x-envoy-upstream-rq-timeout-ms") {
            Some(limit) => Some(limit).filter(|limit| !limit.is_zero()),
            None => Some(ENVOY_ROUTE_TIMEOUT),
        };
        let per_try = milliseconds(headers, "x-envoy-upstream-rq-per-try-timeout-ms")
            .filter(|limit| !limit.is_zero() && timeout.is_none_or(|total| *limit < total));
        let on = headers.find("x-envoy-retry-on").map(RetryOn::parse).unwrap_or_default();
        let retries = match on == RetryOn::default() {
            true => 0,
            false => number(headers, "x-envoy-max-retries").unwrap_or(1),
        };
        for name in [
            "x-envoy-upstream-rq-timeout-ms",
            "x-envoy-upstream-rq-per-try-timeout-ms",
            "x-envoy-retry-on",
            "x-envoy-max-retries",
        ] {
            headers.remove(name);
        }
        Self { timeout, per_try, retries: u32::try_from(retries).unwrap_or(u32::MAX), on }
    }

    /// Whatever comes, there is one try.
    pub(super) fn never_retry(&mut self) {
        (self.retries, self.on) = (0, RetryOn::default());
    }

    /// Whether a try that failed so is made again, as long as there are retries.
    pub(super) fn covers_failure(&self, failure: Failure) -> bool {
        let on = self.on;
        on.any_5xx
            || on.gateway_error
            || on.reset
            || match failure {
                Failure::Connect => on.connect_failure,
                Failure::RefusedStream => on.refused_stream,
                Failure::Reset | Failure::Protocol | Failure::PerTry | Failure::Request => false,
            }
    }

    /// The same for a response with this status.
    pub(super) fn covers_status(&self, status: u16) -> bool {
        (self.on.any_5xx && (500..600).contains(&status))
            || (self.on.gateway_error && (502..=504).contains(&status))
            || (self.on.retriable_4xx && status == 409)
    }
}

/// The pause before try number `tries + 1`.
pub(super) fn back_off(tries: u32, rng: &mut fastrand::Rng) -> Duration {
    let factor = 1u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    let most = BACK_OFF_BASE.saturating_mul(factor).min(BACK_OFF_CAP);
    Duration::from_millis(rng.u64(0..most.as_millis() as u64))
}

impl RetryOn {
    fn parse(value: &[u8]) -> Self {
        let mut on = Self::default();
        for word in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            match word {
                b"5xx" => on.any_5xx = true,
                b"gateway-error" => on.gateway_error = true,
                b"reset" => on.reset = true,
                b"connect-failure" => on.connect_failure = true,
                b"refused-stream" => on.refused_stream = true,
                b"retriable-4xx" => on.retriable_4xx = true,
                _ => {}
            }
        }
        on
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    std::str::from_utf8(headers.find(name)?).ok()?.parse().ok()
}

fn milliseconds(headers: &HeaderMap, name: &str) -> Option<Duration> {
    number(headers, name).map(Duration::from_millis)
}
