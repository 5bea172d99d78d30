//! The retry policy of a route, and the conditions for retries from Envoy's documentation of
//! `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::names::by_name;
use crate::trace::{Text, duration, optional_duration};

/// A condition under which the router delivers a request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryCondition {
    Any5xx,
    GatewayError,
    Reset,
    ResetBeforeRequest,
    ConnectFailure,
    EnvoyRateLimited,
    Retriable4xx,
    RefusedStream,
    RetriableStatusCodes,
    RetriableHeaders,
    Http3PostConnectFailure,
    Cancelled,
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    Unavailable,
}

impl RetryCondition {
    /// The conditions of `x-envoy-retry-on`.
    pub const HTTP: [Self; 11] = [
        Self::Any5xx,
        Self::GatewayError,
        Self::Reset,
        Self::ResetBeforeRequest,
        Self::ConnectFailure,
        Self::EnvoyRateLimited,
        Self::Retriable4xx,
        Self::RefusedStream,
        Self::RetriableStatusCodes,
        Self::RetriableHeaders,
        Self::Http3PostConnectFailure,
    ];

    /// The conditions of `x-envoy-retry-grpc-on`. A route's policy lists both kinds.
    pub const GRPC: [Self; 5] = [
        Self::Cancelled,
        Self::DeadlineExceeded,
        Self::Internal,
        Self::ResourceExhausted,
        Self::Unavailable,
    ];

    /// The word in headers and policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any5xx => "5xx",
            Self::GatewayError => "gateway-error",
            Self::Reset => "reset",
            Self::ResetBeforeRequest => "reset-before-request",
            Self::ConnectFailure => "connect-failure",
            Self::EnvoyRateLimited => "envoy-ratelimited",
            Self::Retriable4xx => "retriable-4xx",
            Self::RefusedStream => "refused-stream",
            Self::RetriableStatusCodes => "retriable-status-codes",
            Self::RetriableHeaders => "retriable-headers",
            Self::Http3PostConnectFailure => "http3-post-connect-failure",
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Internal => "internal",
            Self::ResourceExhausted => "resource-exhausted",
            Self::Unavailable => "unavailable",
        }
    }

    fn parse(word: &str) -> Result<Self, String> {
        let known: Vec<Self> = Self::HTTP.into_iter().chain(Self::GRPC).collect();
        by_name(word, ("retry condition", "retry conditions"), &known, Self::name)
    }
}

/// The retry policy of a route. The default never retries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object such as {\"retry_on\":\"5xx\"}")]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The conditions, as a list or separated by commas.
    #[serde(deserialize_with = "conditions")]
    pub retry_on: Vec<RetryCondition>,
    /// The maximum number of retries; 1 if it is absent.
    pub num_retries: Option<u32>,
    /// The timeout of one attempt; the route's timeout if it is absent or 0.
    #[serde(deserialize_with = "optional_duration")]
    pub per_try_timeout: Option<Duration>,
    /// The statuses that `retriable-status-codes` retries.
    pub retriable_status_codes: Vec<u16>,
    /// The names of response headers that `retriable-headers` retries.
    pub retriable_headers: Vec<String>,
    /// The pauses before retries.
    pub retry_back_off: BackOff,
}

/// The bounds of the random pause before a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object such as {\"base_interval\":\"25ms\"}")]
#[non_exhaustive]
pub struct BackOff {
    /// The upper bound before the first retry. It doubles with each retry.
    #[serde(deserialize_with = "duration")]
    pub base_interval: Duration,
    /// The maximum of that bound; ten times the base if it is absent.
    #[serde(deserialize_with = "optional_duration")]
    pub max_interval: Option<Duration>,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { base_interval: Duration::from_millis(25), max_interval: None }
    }
}

/// Deserializes conditions: a list of words, or a string with commas.
fn conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RetryCondition>, D::Error> {
    struct Conditions;
    impl<'de> Visitor<'de> for Conditions {
        type Value = Vec<RetryCondition>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("conditions such as \"connect-failure,refused-stream\", or a list of them")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            words.map(RetryCondition::parse).collect::<Result<_, _>>().map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut conditions = Vec::new();
            while let Some(word) = seq.next_element::<Text<'de>>()? {
                conditions.push(RetryCondition::parse(&word).map_err(A::Error::custom)?);
            }
            Ok(conditions)
        }
    }
    deserializer.deserialize_any(Conditions)
}
