//! Drains and health in a configuration: what they default to, and the rules that span several of their fields.

use super::error::{ConfigError, Problem};
use super::read::{Place, Read as _};
use super::scalar::{ForeignName, PathText, Percent, StoreKey, is_host_name};
use super::span::Span;
use super::spec::{
    AdminSpec, ConfigSpec, ControlSpec, DrainMode, DrainSpec, DrainStateSpec, HealthSpec, Signal,
    StoreFormat,
};
use crate::hash::Map;

/// How often workers look at the drain record and report metrics when the configuration does not say.
pub const DEFAULT_REFRESH: Span = Span::from_millis(250);

/// How often the control store is asked when the configuration does not say.
pub const DEFAULT_INTERVAL: Span = Span::from_millis(1_000);

/// How long the control store may take to answer when the configuration does not say.
pub const DEFAULT_TIMEOUT: Span = Span::from_millis(500);

/// How this configuration takes part in drains.
#[derive(Debug, Clone, PartialEq)]
pub struct Drain {
    /// A drain that the configuration asks for.
    pub state: Option<DrainStateSpec>,
    /// How often workers look at the drain record.
    pub refresh: Span,
    /// How the proxy is told to close.
    pub signal: Signal,
    /// The store that holds the drain of the fleet, if any.
    pub control: Option<Control>,
    /// The admin path, if any.
    pub admin: Option<Admin>,
}

/// The path by which an operator sees and changes the drain of this process.
pub type Admin = AdminSpec;

/// The store that holds the drain of the fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// The proxy's cluster that leads to it.
    pub cluster: ForeignName,
    /// What kind of store it is.
    pub format: StoreFormat,
    /// The key.
    pub key: StoreKey,
    /// How often it is asked while it answers.
    pub interval: Span,
    /// How long an answer may take.
    pub timeout: Span,
    /// The host that requests to it name.
    pub authority: Box<str>,
}

/// The path that answers a load balancer's health check while the proxy terminates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The path, compared without the query.
    pub path: PathText,
    /// The status of that answer.
    pub drain_status: u16,
    /// The filter answers at other times too, with 200.
    pub local: bool,
}

impl Drain {
    pub(super) fn new(spec: DrainSpec) -> Self {
        Self {
            state: spec.state,
            refresh: spec.refresh.map_or(DEFAULT_REFRESH, |refresh| refresh.span()),
            signal: spec.signal.unwrap_or(Signal::Auto),
            control: spec.control.map(Control::new),
            admin: spec.admin,
        }
    }
}

impl Control {
    pub(super) fn new(spec: ControlSpec) -> Self {
        let cluster = spec.cluster.as_str();
        let authority = match &spec.authority {
            Some(authority) => authority.as_str(),
            // Control planes put characters into names of clusters that servers refuse in a host.
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

impl Health {
    pub(super) fn new(spec: HealthSpec) -> Self {
        Self {
            path: spec.path,
            drain_status: spec.drain_status.map_or(503, |status| status.value() as u16),
            local: spec.local.unwrap_or(false),
        }
    }
}

pub(super) fn check_drain(
    spec: &ConfigSpec,
    names: &Map<Box<str>, usize>,
) -> Result<(), ConfigError> {
    let root = &Place::Root;
    if spec.health.is_some() && spec.drain.is_none() {
        let reason = "answers only while a drain terminates the proxy, and this configuration takes part in none; \
                      expected a drain section beside it";
        return Place::Field(root, "health").refuse(Problem::NotOurs { reason });
    }
    let Some(drain) = &spec.drain else { return Ok(()) };
    let at = Place::Field(root, "drain");
    if let Some(control) = &drain.control {
        check_interval(
            control,
            drain.refresh.map_or(DEFAULT_REFRESH, |refresh| refresh.span()),
            &at,
        )?;
    }
    let health = spec.health.as_ref().map(|health| &health.path);
    if let Some(admin) = &drain.admin
        && health == Some(&admin.path)
    {
        let reason = "is the health path too; expected a path of its own";
        return Place::Field(&Place::Field(&at, "admin"), "path")
            .refuse(Problem::NotOurs { reason });
    }
    match &drain.state {
        Some(state) => check_state(state, names, &Place::Field(&at, "state")),
        None => Ok(()),
    }
}

/// Another worker takes over within two intervals from one that fails, and notices that at its looks.
fn check_interval(
    control: &ControlSpec,
    refresh: Span,
    drain: &Place<'_>,
) -> Result<(), ConfigError> {
    let interval = control.interval.map_or(DEFAULT_INTERVAL, |interval| interval.span());
    if interval.as_millis() >= 2 * refresh.as_millis() {
        return Ok(());
    }
    let control = Place::Field(drain, "control");
    Place::Field(&control, "interval").unexpected(
        interval,
        "at least twice drain.refresh, at which workers notice that one of them failed",
    )
}

fn check_state(
    state: &DrainStateSpec,
    names: &Map<Box<str>, usize>,
    at: &Place<'_>,
) -> Result<(), ConfigError> {
    check_percent(state.mode, state.percent, at)?;
    if state.mode == DrainMode::Off && (state.window.is_some() || state.routes.is_some()) {
        let name = if state.window.is_some() { "window" } else { "routes" };
        let reason = "mode off closes nothing; leave it out";
        return Place::Field(at, name).refuse(Problem::NotOurs { reason });
    }
    for (index, name) in state.routes.iter().flat_map(|routes| routes.iter()).enumerate() {
        if !names.contains_key(name.as_str()) {
            let found = format!("{:?}", name.as_str());
            return Place::Item(&Place::Field(at, "routes"), index)
                .refuse(Problem::NoSuchRoute { found });
        }
    }
    Ok(())
}

/// Only a rebalance has a share, and it has to have one.
pub(crate) fn check_percent(
    mode: DrainMode,
    percent: Option<Percent>,
    at: &Place<'_>,
) -> Result<(), ConfigError> {
    let problem = match (mode, percent) {
        (DrainMode::Rebalance, None) => Problem::Missing { expected: Percent::EXPECTED },
        (DrainMode::Rebalance, Some(_)) | (_, None) => return Ok(()),
        (_, Some(_)) => Problem::NotOurs {
            reason: "only a rebalance closes a share of the connections; leave it out for other modes",
        },
    };
    Place::Field(at, "percent").refuse(problem)
}
