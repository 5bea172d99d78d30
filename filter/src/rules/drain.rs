//! The sections `drain` and `health` with their defaults filled in.

use crate::config::{
    AdminSpec, ControlSpec, DrainSpec, DrainStateSpec, ForeignName, HealthSpec, PathText, Signal,
    Span, StoreFormat, StoreKey, is_host_name,
};

/// The default of `drain.refresh`.
pub(crate) const DEFAULT_REFRESH: Span = Span::from_millis(250);

/// The default of `drain.control.interval`.
pub(crate) const DEFAULT_INTERVAL: Span = Span::from_millis(1_000);

/// The default of `drain.control.timeout`.
const DEFAULT_TIMEOUT: Span = Span::from_millis(500);

/// How this process takes part in drains.
#[derive(Debug, Clone, PartialEq)]
pub struct DrainSettings {
    /// A drain that starts with this configuration.
    pub state: Option<DrainStateSpec>,
    /// The interval at which workers read the drain record.
    pub refresh: Span,
    /// How the filter requests that the proxy closes a connection.
    pub signal: Signal,
    /// The store that holds the drain record of the fleet.
    pub control: Option<ControlStore>,
    /// The admin path.
    pub admin: Option<AdminSpec>,
}

impl DrainSettings {
    pub(super) fn new(spec: DrainSpec) -> Self {
        Self {
            state: spec.state,
            refresh: spec.refresh.map_or(DEFAULT_REFRESH, |refresh| refresh.span()),
            signal: spec.signal.unwrap_or(Signal::Auto),
            control: spec.control.map(ControlStore::new),
            admin: spec.admin,
        }
    }
}

/// The store that holds the drain record of the fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlStore {
    /// The proxy's cluster for the store.
    pub cluster: ForeignName,
    /// The kind of store.
    pub format: StoreFormat,
    /// The key.
    pub key: StoreKey,
    /// The interval between two polls while the store responds.
    pub interval: Span,
    /// The timeout of one poll.
    pub timeout: Span,
    /// The authority of the requests.
    pub authority: Box<str>,
}

impl ControlStore {
    fn new(spec: ControlSpec) -> Self {
        let cluster = spec.cluster.as_str();
        let authority = match &spec.authority {
            Some(authority) => authority.as_str(),
            // Names of clusters can contain characters that servers refuse in an authority.
            None if is_host_name(cluster) => cluster,
            None => "sluice",
        };
        Self {
            authority: authority.into(),
            format: spec.format,
            interval: spec.interval.map_or(DEFAULT_INTERVAL, |interval| interval.span()),
            timeout: spec.timeout.map_or(DEFAULT_TIMEOUT, |timeout| timeout.span()),
            key: spec.key,
            cluster: spec.cluster,
        }
    }
}

/// The path that a load balancer probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthPath {
    /// The path, compared without the query.
    pub path: PathText,
    /// The status while the proxy terminates.
    pub drain_status: u16,
    /// Whether the filter replies with 200 at other times, instead of the upstream.
    pub local: bool,
}

impl HealthPath {
    pub(super) fn new(spec: HealthSpec) -> Self {
        Self {
            path: spec.path,
            drain_status: spec.drain_status.map_or(503, |status| status.value() as u16),
            local: spec.local.unwrap_or(false),
        }
    }
}
