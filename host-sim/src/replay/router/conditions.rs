//! The conditions for retries. As measured on Envoy 1.40, the conditions of headers are added to
//! those of the route's policy; each header has its own words.

use crate::HeaderMap;
use crate::proxy::{RetryCondition, RetryPolicy};
use crate::replay::failure::Failure;

/// The conditions of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::replay) struct RetryConditions {
    /// One bit for each condition.
    conditions: u32,
    statuses: Vec<u16>,
    header_names: Vec<String>,
}

impl RetryConditions {
    /// The conditions of the route's policy and of the request headers.
    pub(super) fn of(
        policy: &RetryPolicy,
        headers: &HeaderMap,
        unmodelled: &mut dyn FnMut(String),
    ) -> Self {
        let mut conditions = Self::default();
        for condition in &policy.retry_on {
            conditions.add(*condition, unmodelled);
        }
        for (name, known) in [
            ("x-envoy-retry-on", &RetryCondition::HTTP[..]),
            ("x-envoy-retry-grpc-on", &RetryCondition::GRPC[..]),
        ] {
            for word in words(headers, name) {
                match known.iter().find(|condition| condition.name() == word) {
                    Some(condition) => conditions.add(*condition, unmodelled),
                    None => {
                        unmodelled(format!("{name}: {word:?} is not a condition; Envoy ignores it"))
                    }
                }
            }
        }
        if conditions.is_empty() {
            return Self::default();
        }
        conditions.statuses.extend(&policy.retriable_status_codes);
        let codes = words(headers, "x-envoy-retriable-status-codes");
        conditions.statuses.extend(codes.filter_map(|code| code.parse::<u16>().ok()));
        conditions.header_names.extend(policy.retriable_headers.iter().cloned());
        let names = words(headers, "x-envoy-retriable-header-names");
        conditions.header_names.extend(names.map(str::to_owned));
        conditions
    }

    pub(super) fn is_empty(&self) -> bool {
        self.conditions == 0
    }

    fn add(&mut self, condition: RetryCondition, unmodelled: &mut dyn FnMut(String)) {
        if condition == RetryCondition::Http3PostConnectFailure {
            unmodelled(format!("{}: HTTP/3 upstreams are not simulated", condition.name()));
        }
        self.conditions |= bit(condition);
    }

    fn has(&self, condition: RetryCondition) -> bool {
        self.conditions & bit(condition) != 0
    }

    pub(super) fn include_failure(&self, failure: Failure) -> bool {
        use RetryCondition::{
            Any5xx, ConnectFailure, GatewayError, RefusedStream, Reset, ResetBeforeRequest,
        };
        let any_failure = self.has(Any5xx) || self.has(GatewayError) || self.has(Reset);
        match failure {
            Failure::Connect => {
                any_failure || self.has(ResetBeforeRequest) || self.has(ConnectFailure)
            }
            Failure::RefusedStream => any_failure || self.has(RefusedStream),
            Failure::Reset | Failure::Protocol | Failure::AttemptTimeout => any_failure,
            _ => false,
        }
    }

    pub(super) fn include_response<'h>(
        &self,
        status: u16,
        headers: impl Iterator<Item = (&'h str, &'h str)> + Clone,
    ) -> bool {
        use RetryCondition::{
            Any5xx, EnvoyRateLimited, GatewayError, Retriable4xx, RetriableHeaders,
            RetriableStatusCodes,
        };
        if self.is_empty() {
            return false;
        }
        let mut names = headers.clone().map(|(name, _)| name);
        if names.any(|name| name.eq_ignore_ascii_case("x-envoy-ratelimited")) {
            return self.has(EnvoyRateLimited);
        }
        (self.has(Any5xx) && (500..600).contains(&status))
            || (self.has(GatewayError) && (502..=504).contains(&status))
            || (self.has(Retriable4xx) && status == 409)
            || (self.has(RetriableStatusCodes) && self.statuses.contains(&status))
            || (self.has(RetriableHeaders) && self.names_one_of(headers.clone()))
            || self.include_grpc_status(headers)
    }

    fn names_one_of<'h>(&self, mut headers: impl Iterator<Item = (&'h str, &'h str)>) -> bool {
        headers
            .any(|(name, _)| self.header_names.iter().any(|known| known.eq_ignore_ascii_case(name)))
    }

    /// Reads the gRPC status of a response without a body, whose trailers are its headers.
    fn include_grpc_status<'h>(
        &self,
        mut headers: impl Iterator<Item = (&'h str, &'h str)>,
    ) -> bool {
        let status = headers.find(|(name, _)| name.eq_ignore_ascii_case("grpc-status"));
        let Some(status) = status.and_then(|(_, value)| value.parse::<u32>().ok()) else {
            return false;
        };
        RetryCondition::GRPC
            .into_iter()
            .any(|condition| grpc_status(condition) == Some(status) && self.has(condition))
    }
}

/// The gRPC status that a condition retries.
fn grpc_status(condition: RetryCondition) -> Option<u32> {
    match condition {
        RetryCondition::Cancelled => Some(1),
        RetryCondition::DeadlineExceeded => Some(4),
        RetryCondition::ResourceExhausted => Some(8),
        RetryCondition::Internal => Some(13),
        RetryCondition::Unavailable => Some(14),
        _ => None,
    }
}

fn bit(condition: RetryCondition) -> u32 {
    1 << condition as u32
}

/// The words of a header, which commas separate.
fn words<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    let value = headers.find(name).and_then(|value| std::str::from_utf8(value).ok());
    value.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty())
}
