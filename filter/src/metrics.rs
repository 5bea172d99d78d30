//! The metrics of the filter and their names.
//!
//! The filter counts in the VM's memory and reports the sums to the host on the tick. One host call
//! for each request would cost more than the whole decision. All names are defined here;
//! `docs/metrics.md` describes each of them.

use crate::hash::Map;
use crate::host::{Host, MetricKind, log_refusal};
use crate::reason::Reason;

/// Metrics of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum General {
    /// In-flight requests, without health and admin requests that the filter replies to, and
    /// without gRPC health checks with `Watch` that the upstream replies to.
    InFlight,
    /// The epoch of the drain record in force.
    DrainEpoch,
    /// Drain records that were ignored.
    DrainStale,
    /// Responses that closed their connection for a drain.
    DrainClosed,
    /// Valid responses of the control store.
    ControlAnswered,
    /// Polls of the control store without a valid response.
    ControlFailed,
    /// Commands to the admin path that were applied.
    AdminCommands,
    /// Responses whose drain marker no bridge removed: Envoy has no drain bridge.
    BridgeMissing,
    /// Responses of earlier filters on connections that a drain would have closed.
    DrainBypassed,
    /// Responses with a framing that the filter could not follow, so that a drain ends them without
    /// a boundary.
    BrokenFraming,
    /// Plugin configurations that were refused.
    ConfigRejected,
}

/// Metrics of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerRoute {
    /// Requests.
    Requests,
    /// Responses that closed their connection for a drain.
    DrainClosed,
    /// Responses with a buffered body.
    Buffered,
    /// Requests with a buffered body.
    RequestBuffered,
}

impl General {
    /// All metrics of the process.
    pub const ALL: [Self; 11] = [
        Self::InFlight,
        Self::DrainEpoch,
        Self::DrainStale,
        Self::DrainClosed,
        Self::ControlAnswered,
        Self::ControlFailed,
        Self::AdminCommands,
        Self::BridgeMissing,
        Self::DrainBypassed,
        Self::BrokenFraming,
        Self::ConfigRejected,
    ];

    /// The name and the kind.
    pub const fn name(self) -> (&'static str, MetricKind) {
        match self {
            Self::InFlight => ("sluice.in_flight", MetricKind::Gauge),
            Self::DrainEpoch => ("sluice.drain.epoch", MetricKind::Gauge),
            Self::DrainStale => ("sluice.drain.stale", MetricKind::Counter),
            Self::DrainClosed => ("sluice.drain.closed", MetricKind::Counter),
            Self::ControlAnswered => ("sluice.drain.control.answered", MetricKind::Counter),
            Self::ControlFailed => ("sluice.drain.control.failed", MetricKind::Counter),
            Self::AdminCommands => ("sluice.drain.admin.commands", MetricKind::Counter),
            Self::BridgeMissing => ("sluice.drain.bridge_missing", MetricKind::Counter),
            Self::DrainBypassed => ("sluice.drain.bypassed", MetricKind::Counter),
            Self::BrokenFraming => ("sluice.drain.broken_framing", MetricKind::Counter),
            Self::ConfigRejected => ("sluice.config.rejected", MetricKind::Counter),
        }
    }
}

impl PerRoute {
    /// All metrics of a route.
    pub const ALL: [Self; 4] =
        [Self::Requests, Self::DrainClosed, Self::Buffered, Self::RequestBuffered];

    /// The last part of the name, after `sluice.route.NAME.`. All of them are counters.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::DrainClosed => "drain_closed",
            Self::Buffered => "buffered",
            Self::RequestBuffered => "request_buffered",
        }
    }

    /// The full name for a route.
    pub fn name(self, route: &str) -> String {
        format!("sluice.route.{route}.{}", self.suffix())
    }
}

/// The name of the metric that counts the failed exchanges of a route, by reason.
pub fn failure_name(reason: Reason, route: &str) -> String {
    format!("sluice.route.{route}.ended.{}", reason.word())
}

/// The counters of a route in [`Metrics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteSlot(usize);

/// The counts of a VM since the last flush. Routes of the same name share their counters across
/// configurations.
#[derive(Debug, Default)]
pub struct Metrics {
    general: [Count<i64>; General::ALL.len()],
    slots: Map<Box<str>, usize>,
    routes: Vec<RouteCounts>,
    /// The routes with new counts since the last flush.
    touched: Vec<usize>,
}

/// A count, and the host's id of its metric. A metric is defined once: defining it again can return
/// another id.
#[derive(Debug, Clone, Copy, Default)]
struct Count<T> {
    change: T,
    id: Option<u32>,
}

impl<T: Default + PartialEq + Into<i64>> Count<T> {
    fn flush(&mut self, host: &mut impl Host, kind: MetricKind, name: impl FnOnce() -> String) {
        // A metric is defined even if it is 0, because a rate shows the first count only after a
        // value.
        self.id = self.id.or_else(|| host.define_metric(kind, &name()).ok());
        let change = std::mem::take(&mut self.change);
        if let Some(id) = self.id.filter(|_| change != T::default()) {
            let added = host.add_to_metric(id, change.into());
            log_refusal(host, added, "metric");
        }
    }
}

impl Count<u32> {
    fn add_one(&mut self) {
        // A flush happens long before the count reaches four billion.
        self.change = self.change.saturating_add(1);
    }
}

#[derive(Debug)]
struct RouteCounts {
    name: Box<str>,
    counts: [Count<u32>; PerRoute::ALL.len()],
    /// Failed exchanges by reason. A reason is added at its first failure, because most routes have
    /// few reasons, and there may be thousands of routes.
    failures: Vec<(Reason, Count<u32>)>,
    is_touched: bool,
}

impl Metrics {
    /// The counters of the route `name`.
    pub fn slot(&mut self, name: &str) -> RouteSlot {
        if let Some(slot) = self.slots.get(name) {
            return RouteSlot(*slot);
        }
        let slot = self.routes.len();
        self.slots.insert(name.into(), slot);
        let counts = Default::default();
        self.routes.push(RouteCounts {
            name: name.into(),
            counts,
            failures: Vec::new(),
            is_touched: false,
        });
        RouteSlot(slot)
    }

    /// The name of the route.
    pub(crate) fn route(&self, slot: RouteSlot) -> &str {
        &self.routes[slot.0].name
    }

    /// Adds to a metric of the process.
    pub fn add(&mut self, metric: General, change: i64) {
        self.general[metric as usize].change += change;
    }

    /// The host's id of a metric of the process.
    pub fn id(&mut self, metric: General, host: &mut impl Host) -> Option<u32> {
        let (name, kind) = metric.name();
        let count = &mut self.general[metric as usize];
        count.id = count.id.or_else(|| host.define_metric(kind, name).ok());
        count.id
    }

    /// Sets a gauge of the process.
    pub(crate) fn set(&mut self, metric: General, value: u64, host: &mut impl Host) {
        if let Some(id) = self.id(metric, host) {
            let set = host.set_metric(id, value);
            log_refusal(host, set, "metric");
        }
    }

    /// Adds one to a metric of a route.
    pub fn count(&mut self, slot: RouteSlot, metric: PerRoute) {
        self.routes[slot.0].counts[metric as usize].add_one();
        self.touch(slot);
    }

    /// Counts a failed exchange of a route.
    pub fn count_failure(&mut self, slot: RouteSlot, reason: Reason) {
        let failures = &mut self.routes[slot.0].failures;
        match failures.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => count.add_one(),
            None => failures.push((reason, Count { change: 1, id: None })),
        }
        self.touch(slot);
    }

    fn touch(&mut self, slot: RouteSlot) {
        let route = &mut self.routes[slot.0];
        if !std::mem::replace(&mut route.is_touched, true) {
            self.touched.push(slot.0);
        }
    }

    /// Reports to the host what was counted since the last flush.
    pub fn flush(&mut self, host: &mut impl Host) {
        for metric in General::ALL {
            let (name, kind) = metric.name();
            self.general[metric as usize].flush(host, kind, || name.to_owned());
        }
        for slot in self.touched.drain(..) {
            let route = &mut self.routes[slot];
            route.is_touched = false;
            for metric in PerRoute::ALL {
                let count = &mut route.counts[metric as usize];
                count.flush(host, MetricKind::Counter, || metric.name(&route.name));
            }
            for (reason, count) in &mut route.failures {
                count.flush(host, MetricKind::Counter, || failure_name(*reason, &route.name));
            }
        }
    }
}
