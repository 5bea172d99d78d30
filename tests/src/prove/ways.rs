//! The ways to restart a proxy under load: with the filter, and what people do without it.

mod envoy;
mod nginx;

use std::time::Duration;

use crate::haproxy::{HaProxy, Server};

/// How proxies are restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Envoy is drained like this, killed and started again.
    Envoy(Drain),
    /// nginx is reloaded.
    NginxReload,
}

/// How an Envoy is drained before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// The filter terminates, and closes what is there within this window.
    Sluice(Duration),
    /// By Envoy's own `/healthcheck/fail`.
    HealthcheckFail,
    /// By Envoy's own `/drain_listeners?graceful`.
    Listeners,
    /// Not at all: HAProxy is told by hand to send no new connection.
    None,
}

impl Way {
    /// Those that the filter is compared with.
    pub const RIVALS: [Self; 4] = [
        Self::Envoy(Drain::HealthcheckFail),
        Self::Envoy(Drain::Listeners),
        Self::Envoy(Drain::None),
        Self::NginxReload,
    ];

    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Envoy(Drain::Sluice(_)) => "Sluice, terminate",
            Self::Envoy(Drain::HealthcheckFail) => "Envoy, /healthcheck/fail",
            Self::Envoy(Drain::Listeners) => "Envoy, /drain_listeners?graceful",
            Self::Envoy(Drain::None) => "Envoy, killed once HAProxy has it out",
            Self::NginxReload => "nginx, reload",
        }
    }

    /// Two running proxies in front of this port.
    pub(super) fn fleet(self, upstream: u16) -> Box<dyn Fleet> {
        match self {
            Self::Envoy(drain) => Box::new(envoy::Pair::start(drain, upstream)),
            Self::NginxReload => Box::new(nginx::Pair::start(upstream)),
        }
    }
}

/// Proxies behind a balancer.
pub(super) trait Fleet {
    /// Where the balancer finds them.
    fn servers(&self) -> Vec<Server>;

    /// Takes one out, stops it, and has it back; how long it took until it could be stopped.
    fn restart(&mut self, index: usize, balancer: &HaProxy) -> Duration;
}
