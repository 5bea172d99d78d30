//! What the filter counts, and under which names.
//!
//! Counting happens in the VM's memory; the sums go to the host on the tick, because a host call for each request would cost more than the
//! request's whole decision. Names are fixed here, in one place; `docs/metrics.md` describes each of them.

use crate::hash::Map;
use crate::reason::Reason;

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only goes up.
    Counter,
    /// It goes up and down; its value is that of the whole process.
    Gauge,
}

/// Metrics of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum General {
    /// Requests between their head and their end, those about the filter's own state left out.
    InFlight,
    /// The epoch of the drain record in force.
    DrainEpoch,
    /// Drain records that were ignored: no record, or an epoch below the known one.
    DrainStale,
    /// Responses that closed their connection for a drain.
    DrainClosed,
    /// Answers of the control store that could be used.
    ControlAnswered,
    /// Questions to the control store without an answer that could be used.
    ControlFailed,
    /// Commands that the admin path carried out.
    AdminCommands,
    /// Streams whose closing marker nobody took off: Envoy runs without the drain bridge.
    BridgeMissing,
    /// Configurations that were refused.
    ConfigRejected,
}

/// Metrics of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerRoute {
    /// Requests.
    Requests,
    /// Responses that closed their connection for a drain.
    DrainClosed,
    /// Responses whose body was held.
    Buffered,
    /// Requests whose body was held.
    RequestBuffered,
}

impl General {
    /// Every one of them.
    pub const ALL: [Self; 9] = [
        Self::InFlight,
        Self::DrainEpoch,
        Self::DrainStale,
        Self::DrainClosed,
        Self::ControlAnswered,
        Self::ControlFailed,
        Self::AdminCommands,
        Self::BridgeMissing,
        Self::ConfigRejected,
    ];

    /// The name and the kind.
    pub const fn name(self) -> (&'static str, Kind) {
        match self {
            Self::InFlight => ("sluice.in_flight", Kind::Gauge),
            Self::DrainEpoch => ("sluice.drain.epoch", Kind::Gauge),
            Self::DrainStale => ("sluice.drain.stale", Kind::Counter),
            Self::DrainClosed => ("sluice.drain.closed", Kind::Counter),
            Self::ControlAnswered => ("sluice.drain.control.answered", Kind::Counter),
            Self::ControlFailed => ("sluice.drain.control.failed", Kind::Counter),
            Self::AdminCommands => ("sluice.drain.admin.commands", Kind::Counter),
            Self::BridgeMissing => ("sluice.drain.bridge_missing", Kind::Counter),
            Self::ConfigRejected => ("sluice.config.rejected", Kind::Counter),
        }
    }
}

impl PerRoute {
    /// Every one of them.
    pub const ALL: [Self; 4] =
        [Self::Requests, Self::DrainClosed, Self::Buffered, Self::RequestBuffered];

    /// The last part of the name, after `sluice.route.NAME.`; all of them are counters.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::DrainClosed => "drain_closed",
            Self::Buffered => "buffered",
            Self::RequestBuffered => "request_buffered",
        }
    }

    /// The whole name for a route.
    pub fn name(self, route: &str) -> String {
        format!("sluice.route.{route}.{}", self.suffix())
    }
}

/// The metric that counts the exchanges of a route that ended for a reason.
pub fn ended_name(reason: Reason, route: &str) -> String {
    format!("sluice.route.{route}.ended.{}", reason.word())
}

/// Where sums go: the host, which gives each metric a number when it is first used.
pub trait Sink {
    /// The number of a metric, or `None` when the host refuses it.
    fn define(&mut self, kind: Kind, name: &str) -> Option<u32>;

    /// Adds to a metric.
    fn add(&mut self, id: u32, change: i64);
}

/// The counters of a route in [`Metrics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteSlot(usize);

/// What was counted since the last flush. One for each VM; routes of the same name share their counters across configurations.
#[derive(Debug, Default)]
pub struct Metrics {
    general: [Count<i64>; General::ALL.len()],
    slots: Map<Box<str>, usize>,
    routes: Vec<RouteCounts>,
    /// The routes that counted something since the last flush.
    touched: Vec<usize>,
}

/// A number and, once it was used, the host's number for it: defining a metric again would give it a second one.
#[derive(Debug, Clone, Copy, Default)]
struct Count<T> {
    change: T,
    id: Option<u32>,
}

impl<T: Default + PartialEq + Into<i64>> Count<T> {
    fn flush(&mut self, sink: &mut impl Sink, kind: Kind, name: impl FnOnce() -> String) {
        // Also at 0: whoever watches rates sees the first count only if there was something before it.
        self.id = self.id.or_else(|| sink.define(kind, &name()));
        let change = std::mem::take(&mut self.change);
        if let Some(id) = self.id.filter(|_| change != T::default()) {
            sink.add(id, change.into());
        }
    }
}

impl Count<u32> {
    fn add_one(&mut self) {
        // A flush comes long before four thousand million.
        self.change = self.change.saturating_add(1);
    }
}

#[derive(Debug)]
struct RouteCounts {
    name: Box<str>,
    counts: [Count<u32>; PerRoute::ALL.len()],
    /// How exchanges failed, from the first of each kind on: most routes see few kinds, and there may be thousands of routes.
    ended: Vec<(Reason, Count<u32>)>,
    touched: bool,
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
            ended: Vec::new(),
            touched: false,
        });
        RouteSlot(slot)
    }

    /// Adds to a metric of the process.
    pub fn add(&mut self, metric: General, change: i64) {
        self.general[metric as usize].change += change;
    }

    /// The host's number of a metric of the process.
    pub fn id(&mut self, metric: General, sink: &mut impl Sink) -> Option<u32> {
        let (name, kind) = metric.name();
        let count = &mut self.general[metric as usize];
        count.id = count.id.or_else(|| sink.define(kind, name));
        count.id
    }

    /// Adds one to a metric of a route.
    pub fn count(&mut self, slot: RouteSlot, metric: PerRoute) {
        self.routes[slot.0].counts[metric as usize].add_one();
        self.touch(slot);
    }

    /// Counts an exchange of a route that did not end well.
    pub fn ended(&mut self, slot: RouteSlot, reason: Reason) {
        let ended = &mut self.routes[slot.0].ended;
        match ended.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => count.add_one(),
            None => ended.push((reason, Count { change: 1, id: None })),
        }
        self.touch(slot);
    }

    fn touch(&mut self, slot: RouteSlot) {
        let route = &mut self.routes[slot.0];
        if !std::mem::replace(&mut route.touched, true) {
            self.touched.push(slot.0);
        }
    }

    /// Hands over what was counted since the last time.
    pub fn flush(&mut self, sink: &mut impl Sink) {
        for metric in General::ALL {
            let (name, kind) = metric.name();
            self.general[metric as usize].flush(sink, kind, || name.to_owned());
        }
        for slot in self.touched.drain(..) {
            let route = &mut self.routes[slot];
            route.touched = false;
            for metric in PerRoute::ALL {
                let count = &mut route.counts[metric as usize];
                count.flush(sink, Kind::Counter, || metric.name(&route.name));
            }
            for (reason, count) in &mut route.ended {
                count.flush(sink, Kind::Counter, || ended_name(*reason, &route.name));
            }
        }
    }
}
