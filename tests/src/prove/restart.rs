//! The methods of restarting a proxy under load: with the filter, and the alternatives without it.

mod envoy;
mod nginx;

use std::time::Duration;

use crate::haproxy::{HaProxy, Server};

/// How proxies are restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartMethod {
    /// Envoy is drained, killed and started again.
    Envoy(DrainMethod),
    /// nginx is reloaded.
    NginxReload,
}

/// How an Envoy is drained before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainMethod {
    /// By the filter's mode `terminate`, which closes connections within this window.
    Sluice(Duration),
    /// By Envoy's `/healthcheck/fail`.
    HealthcheckFail,
    /// By Envoy's `/drain_listeners?graceful`.
    Listeners,
    /// Envoy is not drained; HAProxy is set to send no new connections.
    None,
}

impl RestartMethod {
    /// The methods that do not use the filter.
    pub const ALTERNATIVES: [Self; 4] = [
        Self::Envoy(DrainMethod::HealthcheckFail),
        Self::Envoy(DrainMethod::Listeners),
        Self::Envoy(DrainMethod::None),
        Self::NginxReload,
    ];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Envoy(DrainMethod::Sluice(_)) => "Sluice, terminate",
            Self::Envoy(DrainMethod::HealthcheckFail) => "Envoy, /healthcheck/fail",
            Self::Envoy(DrainMethod::Listeners) => "Envoy, /drain_listeners?graceful",
            Self::Envoy(DrainMethod::None) => "Envoy, killed without a drain",
            Self::NginxReload => "nginx, reload",
        }
    }

    /// Starts two proxies in front of this port.
    pub(super) fn start_fleet(self, upstream: u16) -> Box<dyn Fleet> {
        match self {
            Self::Envoy(drain) => Box::new(envoy::Pair::start(drain, upstream)),
            Self::NginxReload => Box::new(nginx::Pair::start(upstream)),
        }
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
