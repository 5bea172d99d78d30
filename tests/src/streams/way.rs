//! The ways from the upstream to a client that are compared: through an Envoy without the filter and through one with it. A third
//! one without a proxy says how much of each delay is the measurement's own.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_test_kit::inputs;

use super::process::Usage;
use crate::envoy::{Bootstrap, Envoy};

/// What the filter has to do for the streams, as one would deploy it.
const ROUTE: &str = r#"{ "name": "events", "match": { "path": { "prefix": "/events/" } },
                         "buffering": "off", "timeouts": { "read": "60s" } }"#;

/// What the clients ask for.
pub(super) const PATH: &str = "/events/feed";

/// The cluster's limits are 1024 of each by default.
const PLENTY: u32 = 1_000_000;

/// How an event comes to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Direct,
    Without,
    With,
}

impl Way {
    pub(super) const ALL: [Way; 3] = [Way::Direct, Way::Without, Way::With];

    /// All of them, with the two that are compared side by side and each of them first in every other turn.
    pub(super) fn in_turn(turn: u32) -> [Way; 3] {
        match turn % 2 {
            0 => [Way::Direct, Way::Without, Way::With],
            _ => [Way::With, Way::Without, Way::Direct],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Direct => "no proxy",
            Way::Without => "Envoy",
            Way::With => "Envoy with Sluice",
        }
    }

    /// The proxy on this way in front of an upstream.
    fn envoy(self, upstream: u16) -> Option<Envoy> {
        let bootstrap = Bootstrap::discovered(upstream, &configuration())
            .changed("route", |route| {
                if route.get("cluster").is_some() {
                    // Envoy's own limit of 15 s would cut the streams where no filter lifts it.
                    route["timeout"] = json!("0s");
                }
            })
            .changed("clusters", |clusters| {
                let limits = json!([{ "max_connections": PLENTY, "max_pending_requests": PLENTY, "max_requests": PLENTY }]);
                clusters[0]["circuit_breakers"] = json!({ "thresholds": limits });
            });
        match self {
            Way::Direct => None,
            Way::Without => {
                Some(Envoy::start(bootstrap.without("sluice").without("sluice-drain-bridge")))
            }
            Way::With => Some(Envoy::start(bootstrap)),
        }
    }
}

/// The filter's configuration: a gateway's hundred routes, one of which is for the streams.
fn configuration() -> Value {
    let text = inputs::configuration(inputs::ROUTES);
    let mut configuration: Value = serde_json::from_str(&text).expect("the inputs are JSON");
    configuration["routes"][inputs::ROUTES / 2] = serde_json::from_str(ROUTE).expect("it is JSON");
    configuration["drain"] = json!({ "refresh": "250ms" });
    configuration
}

/// A way that is open.
pub(super) struct Road {
    /// Where clients connect.
    pub(super) port: u16,
    envoy: Option<Envoy>,
    at_start: Option<Usage>,
}

/// What a proxy keeps in memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Before the first stream.
    pub(super) empty: u64,
    /// With all streams, after the last turn.
    pub(super) full: u64,
}

impl Road {
    /// Opens a way to an upstream.
    pub(super) fn open(way: Way, upstream: u16) -> Self {
        let envoy = way.envoy(upstream);
        let port = envoy.as_ref().map_or(upstream, |envoy| envoy.port);
        let at_start = usage(envoy.as_ref());
        Self { port, envoy, at_start }
    }

    /// What the proxy has used so far, if there is one.
    pub(super) fn usage(&self) -> Option<Usage> {
        usage(self.envoy.as_ref())
    }

    /// Processor time of the proxy since then.
    pub(super) fn cpu_since(&self, before: Option<Usage>) -> Option<Duration> {
        Some(self.usage()?.cpu - before?.cpu)
    }

    /// What the proxy keeps in memory now.
    pub(super) fn memory(&self) -> Option<Memory> {
        Some(Memory { empty: self.at_start?.resident, full: self.usage()?.resident })
    }
}

fn usage(envoy: Option<&Envoy>) -> Option<Usage> {
    envoy.map(|envoy| Usage::of(envoy.process()))
}
