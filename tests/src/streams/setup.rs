//! The setups that are compared: an Envoy without the filter, and one with it. A third setup
//! without a proxy shows how much of each delay comes from the measurement.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_test_kit::inputs;

use super::process_usage::Usage;
use crate::envoy::{Bootstrap, Envoy};

/// The route of the streams, as in a deployment.
const ROUTE: &str = r#"{ "name": "events", "match": { "path": { "prefix": "/events/" } },
                         "buffering": "off", "timeouts": { "read": "60s" } }"#;

/// The path that the clients request.
pub(super) const PATH: &str = "/events/feed";

/// The value of each circuit breaker of the cluster; the defaults of 1,024 are too low.
const CIRCUIT_BREAKER: u32 = 1_000_000;

/// The proxy between upstream and client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setup {
    NoProxy,
    Envoy,
    EnvoyWithFilter,
}

impl Setup {
    pub(super) const ALL: [Setup; 3] = [Setup::NoProxy, Setup::Envoy, Setup::EnvoyWithFilter];

    /// The order in a turn. The two compared setups are neighbors, and each of them is first in
    /// every other turn.
    pub(super) fn in_turn(turn: u32) -> [Setup; 3] {
        match turn % 2 {
            0 => [Setup::NoProxy, Setup::Envoy, Setup::EnvoyWithFilter],
            _ => [Setup::EnvoyWithFilter, Setup::Envoy, Setup::NoProxy],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Setup::NoProxy => "no proxy",
            Setup::Envoy => "Envoy",
            Setup::EnvoyWithFilter => "Envoy with Sluice",
        }
    }

    /// Starts the proxy of this setup in front of an upstream.
    fn start_envoy(self, upstream: u16) -> Option<Envoy> {
        let bootstrap = Bootstrap::discovered(upstream, &configuration())
            .changed("route", |route| {
                if route.get("cluster").is_some() {
                    // Without the filter, Envoy's default timeout of 15 s would cut the streams.
                    route["timeout"] = json!("0s");
                }
            })
            .changed("clusters", |clusters| {
                let limits = json!([{ "max_connections": CIRCUIT_BREAKER, "max_pending_requests": CIRCUIT_BREAKER,
                                      "max_requests": CIRCUIT_BREAKER }]);
                clusters[0]["circuit_breakers"] = json!({ "thresholds": limits });
            });
        match self {
            Setup::NoProxy => None,
            Setup::Envoy => {
                Some(Envoy::start(bootstrap.without("sluice").without("sluice-drain-bridge")))
            }
            Setup::EnvoyWithFilter => Some(Envoy::start(bootstrap)),
        }
    }
}

/// The filter's configuration: the hundred routes of a gateway, one of which is for the streams.
fn configuration() -> Value {
    let text = inputs::configuration(inputs::ROUTES);
    let mut configuration: Value = serde_json::from_str(&text).expect("the inputs are JSON");
    configuration["routes"][inputs::ROUTES / 2] = serde_json::from_str(ROUTE).expect("valid JSON");
    configuration["drain"] = json!({ "refresh": "250ms" });
    configuration
}

/// A setup whose proxy is running.
pub(super) struct RunningSetup {
    /// The port for clients.
    pub(super) port: u16,
    envoy: Option<Envoy>,
    at_start: Option<Usage>,
}

/// The resident memory of a proxy, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Before the first stream.
    pub(super) empty: u64,
    /// With all streams, after the last turn.
    pub(super) full: u64,
}

impl RunningSetup {
    /// Starts a setup in front of an upstream.
    pub(super) fn start(setup: Setup, upstream: u16) -> Self {
        let envoy = setup.start_envoy(upstream);
        let port = envoy.as_ref().map_or(upstream, |envoy| envoy.port);
        let at_start = usage(envoy.as_ref());
        Self { port, envoy, at_start }
    }

    /// The proxy's resource usage so far.
    pub(super) fn usage(&self) -> Option<Usage> {
        usage(self.envoy.as_ref())
    }

    /// The proxy's processor time since `before`.
    pub(super) fn cpu_since(&self, before: Option<Usage>) -> Option<Duration> {
        Some(self.usage()?.cpu - before?.cpu)
    }

    /// The proxy's memory at the start and now.
    pub(super) fn memory(&self) -> Option<Memory> {
        Some(Memory { empty: self.at_start?.resident, full: self.usage()?.resident })
    }
}

fn usage(envoy: Option<&Envoy>) -> Option<Usage> {
    envoy.map(|envoy| Usage::of(envoy.process()))
}
