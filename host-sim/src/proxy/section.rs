//! The proxy as a trace or a file describes it: every field is optional.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::actions::{EscapedSlashes, Underscores};
use super::address::AddressRange;
use super::kind::{Preset, Version};
use super::retry::RetryPolicy;
use crate::options::FailurePolicy;
use crate::trace::optional_duration;

/// The settings that a trace or a file changes. A missing field has the value of the preset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object such as {\"preset\":\"envoy\"}")]
#[non_exhaustive]
pub struct ProxySection {
    pub preset: Option<Preset>,
    pub version: Option<Version>,
    /// From the end of the request to the end of the response; 0 for none.
    #[serde(deserialize_with = "optional_duration")]
    pub route_timeout: Option<Duration>,
    /// The most that the header `grpc-timeout` of a gRPC request can ask for, which then replaces
    /// the route's timeout; 0 for no maximum.
    #[serde(deserialize_with = "optional_duration")]
    pub max_grpc_timeout: Option<Duration>,
    /// The route's own `idle_timeout`, which replaces the stream idle timeout; 0 for none.
    #[serde(deserialize_with = "optional_duration")]
    pub route_idle_timeout: Option<Duration>,
    /// The time without a byte in either direction after which a stream ends; 0 for none.
    #[serde(deserialize_with = "optional_duration")]
    pub stream_idle_timeout: Option<Duration>,
    /// From the request headers to the end of the request; 0 for none.
    #[serde(deserialize_with = "optional_duration")]
    pub request_timeout: Option<Duration>,
    /// From the request headers to the end of the response; 0 for none.
    #[serde(deserialize_with = "optional_duration")]
    pub max_stream_duration: Option<Duration>,
    /// The route's retry policy. It replaces that of the preset as a whole.
    pub retry_policy: Option<RetryPolicy>,
    /// The most bytes of a body that the proxy buffers.
    pub buffer_limit: Option<u32>,
    /// Whether the proxy accepts HTTP/1.0.
    pub http10: Option<bool>,
    pub normalize_path: Option<bool>,
    pub merge_slashes: Option<bool>,
    pub path_with_escaped_slashes_action: Option<EscapedSlashes>,
    pub headers_with_underscores_action: Option<Underscores>,
    pub strip_trailing_host_dot: Option<bool>,
    pub use_remote_address: Option<bool>,
    /// Whether requests without an `x-request-id` get one.
    pub generate_request_id: Option<bool>,
    /// The addresses of internal clients, such as `10.0.0.0/8`.
    #[serde(deserialize_with = "ranges")]
    pub internal_addresses: Option<Vec<AddressRange>>,
    pub respect_expected_rq_timeout: Option<bool>,
    /// The values of `upgrade` that the proxy accepts.
    pub upgrades: Option<Vec<String>>,
    pub failure_policy: Option<FailurePolicy>,
    /// The base interval of the back-off between two VMs with `FAIL_RELOAD`.
    #[serde(deserialize_with = "optional_duration")]
    pub reload_backoff: Option<Duration>,
    pub allow_on_headers_stop_iteration: Option<bool>,
}

impl ProxySection {
    /// Adds the fields of `other`, which replace those of `self`.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        macro_rules! merge {
            ($($field:ident),* $(,)?) => {
                Self { $($field: other.$field.clone().or_else(|| self.$field.clone())),* }
            };
        }
        merge!(
            preset,
            version,
            route_timeout,
            max_grpc_timeout,
            route_idle_timeout,
            stream_idle_timeout,
            request_timeout,
            max_stream_duration,
            retry_policy,
            buffer_limit,
            http10,
            normalize_path,
            merge_slashes,
            path_with_escaped_slashes_action,
            headers_with_underscores_action,
            strip_trailing_host_dot,
            use_remote_address,
            generate_request_id,
            internal_addresses,
            respect_expected_rq_timeout,
            upgrades,
            failure_policy,
            reload_backoff,
            allow_on_headers_stop_iteration,
        )
    }
}

fn ranges<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<AddressRange>>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(deserializer)?;
    let range = |text: &String| {
        AddressRange::parse(text).ok_or_else(|| {
            let expected = "expected a range of addresses such as \"10.0.0.0/8\"";
            D::Error::custom(format_args!("found {text:?}; {expected}"))
        })
    };
    texts.map(|texts| texts.iter().map(range).collect()).transpose()
}
