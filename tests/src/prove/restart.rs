//! The methods of restarting a proxy under load: with the filter, and the alternatives without it.

mod drain_method;
mod envoy;
mod haproxy;
mod nginx;

use std::time::Duration;

pub use drain_method::DrainMethod;
pub use haproxy::Closes;

use self::drain_method::Health;
use crate::envoy::version;
use crate::haproxy::{HaProxy, Server};
use crate::nginx::Release;

/// How long a drain and its streams may last.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long an operator waits for the end of a drain. Then the proxy is killed.
    pub patience: Duration,
    /// With the filter: how long streams without an end may last after their connection is due.
    pub endless: Duration,
    /// With the filter: how long completions may last after their connection is due.
    pub completions: Duration,
}

/// How proxies are restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartMethod {
    /// Envoy is drained, killed and started again.
    Envoy(DrainMethod),
    /// HAProxy is reloaded.
    HaProxyReload(Closes),
    /// nginx is reloaded.
    NginxReload(Release),
}

impl RestartMethod {
    /// The methods that do not use the filter.
    pub const ALTERNATIVES: [Self; 10] = [
        Self::Envoy(DrainMethod::HealthcheckFail),
        Self::Envoy(DrainMethod::HealthcheckFailJitter),
        Self::Envoy(DrainMethod::Listeners),
        Self::Envoy(DrainMethod::ListenersSkipExit),
        Self::Envoy(DrainMethod::MaxConnectionDuration),
        Self::Envoy(DrainMethod::None),
        Self::HaProxyReload(Closes::Spread),
        Self::HaProxyReload(Closes::OnResponse),
        Self::NginxReload(Release::Current),
        Self::NginxReload(Release::Debian),
    ];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Envoy(drain) => drain.settings().name,
            Self::HaProxyReload(Closes::Spread) => "HAProxy, close-spread-time",
            Self::HaProxyReload(Closes::OnResponse) => "HAProxy, idle-close-on-response",
            Self::NginxReload(Release::Debian) => "nginx, reload",
            Self::NginxReload(Release::Current) => "nginx, keepalive_min_timeout",
        }
    }

    /// Whether the proxies run the filter.
    pub fn uses_filter(self) -> bool {
        matches!(self, Self::Envoy(drain) if drain.settings().health == Health::Sluice)
    }

    /// Why this method cannot run with the Envoy at hand; `None` if it can.
    pub fn unsupported(self) -> Option<String> {
        let Self::Envoy(drain) = self else {
            return None;
        };
        let since @ (major, minor) = drain.settings().since;
        (version() < since).then(|| format!("needs Envoy {major}.{minor} or later"))
    }

    /// Starts two proxies in front of this port.
    pub(super) fn start_fleet(self, upstream: u16, bounds: Bounds) -> Box<dyn Fleet> {
        match self {
            Self::Envoy(drain) => Box::new(envoy::Pair::start(drain.settings(), upstream, bounds)),
            Self::HaProxyReload(closes) => {
                Box::new(haproxy::Pair::start(closes, upstream, bounds.patience))
            }
            Self::NginxReload(release) => {
                Box::new(nginx::Pair::start(release, upstream, bounds.patience))
            }
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        let [patience, endless, completions] = [50, 5, 42].map(Duration::from_secs);
        Self { patience, endless, completions }
    }
}

/// The proxies behind a balancer.
pub(super) trait Fleet {
    /// The addresses for the balancer.
    fn servers(&self) -> Vec<Server>;

    /// Drains one proxy, restarts it, and waits until the balancer uses it again. Returns the time
    /// until the proxy could be stopped.
    fn restart(&mut self, index: usize, balancer: &HaProxy) -> Duration;
}
