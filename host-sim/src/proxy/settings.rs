//! The settings of the simulated proxy: a preset with the changes of a section.

use std::time::Duration;

use super::preset::{Preset, Version};
use super::retry::RetryPolicy;
use super::section::ProxySection;
use crate::options::FailurePolicy;

/// The settings that a replay applies. `None` disables a timeout.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxySettings {
    pub preset: Preset,
    pub version: Version,
    pub route_timeout: Option<Duration>,
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
    pub strip_trailing_host_dot: bool,
    pub use_remote_address: bool,
    pub respect_expected_rq_timeout: bool,
    pub upgrades: Vec<String>,
    pub failure_policy: FailurePolicy,
    pub allow_on_headers_stop_iteration: bool,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Preset::default().settings()
    }
}

impl ProxySettings {
    /// The preset of the section, with its other fields.
    pub fn of(section: &ProxySection) -> Self {
        let mut settings = section.preset.unwrap_or_default().settings();
        let set = |setting: &mut Option<Duration>, field: Option<Duration>| {
            if let Some(timeout) = field {
                *setting = enabled(timeout);
            }
        };
        set(&mut settings.route_timeout, section.route_timeout);
        set(&mut settings.stream_idle_timeout, section.stream_idle_timeout);
        set(&mut settings.request_timeout, section.request_timeout);
        set(&mut settings.max_stream_duration, section.max_stream_duration);
        if let Some(timeout) = section.route_idle_timeout {
            settings.route_idle_timeout = Some(enabled(timeout));
        }
        macro_rules! set {
            ($($field:ident),* $(,)?) => {$(
                if let Some(value) = section.$field.clone() {
                    settings.$field = value;
                }
            )*};
        }
        set!(
            version,
            retry_policy,
            buffer_limit,
            http10,
            normalize_path,
            merge_slashes,
            strip_trailing_host_dot,
            use_remote_address,
            respect_expected_rq_timeout,
            upgrades,
            failure_policy,
            allow_on_headers_stop_iteration,
        );
        settings
    }

    /// The time without a byte after which a stream ends.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.route_idle_timeout.unwrap_or(self.stream_idle_timeout)
    }

    /// Whether the proxy accepts an upgrade to this protocol. As in Envoy, the case does not
    /// matter.
    pub fn upgrades_to(&self, protocol: &str) -> bool {
        self.upgrades.iter().any(|known| known.eq_ignore_ascii_case(protocol))
    }
}

/// Envoy disables a timeout of 0.
fn enabled(timeout: Duration) -> Option<Duration> {
    Some(timeout).filter(|timeout| !timeout.is_zero())
}
