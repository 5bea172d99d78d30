//! The retry policy of a route, and the conditions for retries from Envoy's documentation of
//! `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

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
    #[serde(deserialize_with = "header_names")]
    pub retriable_headers: Vec<String>,
    /// The pauses before retries.
    pub retry_back_off: BackOff,
    // Fields that Envoy has and a replay does not simulate: whether they are present.
    #[serde(deserialize_with = "present")]
    pub(super) retry_priority: bool,
    #[serde(deserialize_with = "present")]
    pub(super) retry_host_predicate: bool,
    #[serde(deserialize_with = "present")]
    pub(super) host_selection_retry_max_attempts: bool,
    #[serde(deserialize_with = "present")]
    pub(super) retriable_request_headers: bool,
    #[serde(deserialize_with = "present")]
    pub(super) rate_limited_retry_back_off: bool,
    #[serde(deserialize_with = "present")]
    pub(super) per_try_idle_timeout: bool,
}

impl RetryPolicy {
    /// The fields that have an effect in Envoy, but none here. Which host a retry selects does not
    /// matter: a trace states what each attempt gets.
    pub(crate) fn unmodelled(&self) -> impl Iterator<Item = &'static str> {
        let fields = [
            ("retriable_request_headers", self.retriable_request_headers),
            ("rate_limited_retry_back_off", self.rate_limited_retry_back_off),
            ("per_try_idle_timeout", self.per_try_idle_timeout),
        ];
        fields.into_iter().filter_map(|(name, present)| present.then_some(name))
    }
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

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|IgnoredAny| true)
}

/// Deserializes names of headers. Envoy's matcher is a name too, if it matches every value.
fn header_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let entries = Vec::<Value>::deserialize(deserializer)?;
    let name = |entry: Value| match entry {
        Value::String(name) => Ok(name),
        Value::Object(matcher) => match (matcher.get("name"), matcher.get("present_match")) {
            (Some(Value::String(name)), None | Some(Value::Bool(true))) if matcher.len() <= 2 => {
                Ok(name.clone())
            }
            _ => Err(D::Error::custom(format_args!(
                "found a matcher of values; expected the name of a header such as \"x-again\""
            ))),
        },
        other => Err(D::Error::custom(format_args!(
            "found {other}; expected the name of a header such as \"x-again\""
        ))),
    };
    entries.into_iter().map(name).collect()
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
