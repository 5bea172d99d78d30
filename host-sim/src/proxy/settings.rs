//! The settings of the simulated proxy: a preset with the changes of a section.

use std::net::IpAddr;
use std::time::Duration;

use super::actions::{EscapedSlashes, Underscores};
use super::address::AddressRange;
use super::kind::{Preset, Version};
use super::retry::RetryPolicy;
use crate::options::FailurePolicy;

/// The settings that a replay applies. `None` disables a timeout.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxySettings {
    pub preset: Preset,
    pub version: Version,
    pub route_timeout: Option<Duration>,
    /// The most that `grpc-timeout` can ask for; 0 for no maximum. With `None`, the header has no
    /// effect.
    pub max_grpc_timeout: Option<Duration>,
    /// Replaces the stream idle timeout; the inner `None` disables it.
    pub route_idle_timeout: Option<Option<Duration>>,
    pub stream_idle_timeout: Option<Duration>,
    pub request_timeout: Option<Duration>,
    pub max_stream_duration: Option<Duration>,
    pub retry_policy: RetryPolicy,
    pub buffer_limit: u32,
    pub http10: bool,
    pub normalize_path: bool,
    pub merge_slashes: bool,
    pub path_with_escaped_slashes_action: EscapedSlashes,
    pub headers_with_underscores_action: Underscores,
    pub strip_trailing_host_dot: bool,
    pub use_remote_address: bool,
    pub generate_request_id: bool,
    pub internal_addresses: Vec<AddressRange>,
    pub respect_expected_rq_timeout: bool,
    pub upgrades: Vec<String>,
    pub failure_policy: FailurePolicy,
    pub allow_on_headers_stop_iteration: bool,
}

impl ProxySettings {
    /// The time without a byte after which a stream ends.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.route_idle_timeout.unwrap_or(self.stream_idle_timeout)
    }

    pub(super) fn is_internal(&self, address: IpAddr) -> bool {
        self.internal_addresses.iter().any(|range| range.contains(address))
    }

    /// Whether the proxy accepts an upgrade to this protocol. As in Envoy, the case does not
    /// matter.
    pub fn upgrades_to(&self, protocol: &str) -> bool {
        self.upgrades.iter().any(|known| known.eq_ignore_ascii_case(protocol))
    }
}
