//! A plugin configuration in force: the compiled rules, with what depends on the host and on the
//! VM's metrics.

use crate::config::{NO_ROUTE, Signal};
use crate::decision::Decisions;
use crate::host::{Host, property};
use crate::metrics::{Metrics, RouteSlot};
use crate::rules::Rules;

/// The properties of the host that change decisions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostTraits {
    /// Envoy closes connections through the drain bridge.
    pub(crate) is_envoy: bool,
    /// The host has the foreign function that receives decisions.
    pub(crate) wants_decisions: bool,
}

/// A plugin configuration in force. A stream keeps the one under which it began.
#[derive(Debug)]
pub(crate) struct PluginConfig {
    pub(crate) rules: Rules,
    /// The counters of the routes in their order, and then of requests without a route.
    slots: Vec<RouteSlot>,
    /// Connections close through the drain marker.
    pub(crate) uses_marker: bool,
    /// The host receives each decision.
    pub(crate) wants_decisions: bool,
    /// Set if decisions are reported anywhere.
    pub(crate) decisions: Option<Decisions>,
    /// The node id of the proxy, if the configuration reports it.
    pub(crate) instance: String,
}

impl PluginConfig {
    pub(crate) fn new(
        rules: Rules,
        traits: HostTraits,
        metrics: &mut Metrics,
        host: &mut impl Host,
    ) -> Self {
        let names = rules.routes.iter().map(|route| route.name.as_str()).chain([NO_ROUTE]);
        let slots = names.map(|name| metrics.slot(name)).collect();
        let uses_marker = match rules.drain.as_ref().map(|drain| drain.signal) {
            Some(Signal::Marker) => true,
            Some(Signal::Header) | None => false,
            Some(Signal::Auto) => traits.is_envoy,
        };
        let wants_decisions = traits.wants_decisions;
        let decisions = (wants_decisions || rules.report.any()).then(|| Decisions::new(&rules));
        let reports_instance = rules.health.is_some() || rules.admin().is_some();
        let id = reports_instance.then(|| property(host, &["xds", "node", "id"])).flatten();
        let instance = String::from_utf8_lossy(id.unwrap_or_default()).into_owned();
        Self { rules, slots, uses_marker, wants_decisions, decisions, instance }
    }

    pub(crate) fn slot(&self, route: Option<usize>) -> RouteSlot {
        self.slots[route.unwrap_or(self.slots.len() - 1)]
    }
}
