//! The configuration: the JSON document that a proxy hands to the filter, checked completely before any of it takes effect.
//!
//! A configuration is either accepted as a whole or refused with one sentence that names the place, what was
//! found there and what was expected; so a mistake never half-applies, and the one in force stays in force.

mod error;
mod json;
mod read;
mod scalar;
#[cfg(feature = "schema")]
mod schema;
pub mod span;
pub mod spec;
mod warning;

pub use error::{ConfigError, Problem};
pub(crate) use json::Node;
pub use read::OneOrMore;
pub(crate) use read::{Fields, Place, Read, text};
pub use scalar::{
    Attempts, DrainStatus, Epoch, ForeignName, HeaderName, HeaderText, HostName, HostPattern,
    MaxBytes, Method, PathText, Pattern, Percent, RouteName, StoreKey, TokenHash, UnixMs, Version,
    WindowMs,
};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use warning::{Oddity, Warning};

use crate::hash::Map;
use crate::matching::Router;
use crate::policy::Policy;
use crate::request::RequestView;
use span::Span;
pub(crate) use span::Window;
use spec::{
    AdminSpec, ConfigSpec, ControlSpec, DrainMode, DrainSpec, DrainStateSpec, HealthSpec,
    MatchSpec, PolicySpec, Signal, StoreFormat,
};

/// The longest document that is read, in bytes: some 50,000 routes. It bounds what a mistake of a control plane costs.
pub const MAX_DOCUMENT: usize = 8 * 1024 * 1024;

/// How often workers look at the drain record and report metrics when the configuration does not say.
pub const DEFAULT_REFRESH: Span = Span::from_millis(250);

/// How often the control store is asked when the configuration does not say.
pub const DEFAULT_INTERVAL: Span = Span::from_millis(1_000);

/// How long the control store may take to answer when the configuration does not say.
pub const DEFAULT_TIMEOUT: Span = Span::from_millis(500);

/// The name under which requests without a route are counted and reported. No route can have it.
pub const NO_ROUTE: &str = "default";

/// A configuration that was accepted, ready to decide.
#[derive(Debug)]
pub struct Config {
    /// The routes in their order.
    pub routes: Vec<Route>,
    /// What holds for requests that no route matches.
    pub defaults: Policy,
    /// Taking part in drains, if at all.
    pub drain: Option<Drain>,
    /// The health path, if any.
    pub health: Option<Health>,
    /// Where decisions are said.
    pub report: Report,
    router: Router,
}

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// Its conditions.
    pub conditions: MatchSpec,
    /// What it decides.
    pub policy: Policy,
}

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

/// Where the filter says what it decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// In a property of the stream, which an access log can print.
    pub access_log: bool,
}

/// What [`Config::parse`] returns for a configuration that it accepts.
#[derive(Debug)]
pub struct Parsed {
    /// The compiled configuration.
    pub config: Config,
    /// What is legal but hardly meant.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// Reads and checks a whole configuration document.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(document: &[u8]) -> Result<Parsed, ConfigError> {
        let spec = ConfigSpec::parse(document)?;
        check_drain(&spec, &check_names(&spec)?)?;
        let config = Self::compile(spec);
        let warnings = warning::warnings(&config);
        Ok(Parsed { config, warnings })
    }

    /// Why a document of `bytes` is not even read.
    pub fn too_large(bytes: usize) -> ConfigError {
        Place::Root.error(Problem::TooLarge { found: bytes, limit: MAX_DOCUMENT })
    }

    fn compile(spec: ConfigSpec) -> Self {
        let defaults = spec.defaults.unwrap_or_default();
        let routes: Vec<Route> = spec
            .routes
            .unwrap_or_default()
            .into_iter()
            .map(|route| {
                let own = PolicySpec {
                    buffering: route.buffering,
                    timeouts: route.timeouts,
                    retry: route.retry,
                };
                Route {
                    name: route.name,
                    conditions: route.r#match.unwrap_or_default(),
                    policy: Policy::new(&own, &defaults),
                }
            })
            .collect();
        Self {
            router: Router::new(routes.iter().map(|route| &route.conditions)),
            routes,
            defaults: Policy::new(&PolicySpec::default(), &defaults),
            drain: spec.drain.map(Drain::new),
            health: spec.health.map(Health::new),
            report: Report {
                access_log: spec.report.and_then(|report| report.access_log).unwrap_or(false),
            },
        }
    }

    /// The position of the first route whose every condition `request` meets; `None` when the defaults apply.
    pub fn route(&self, request: &RequestView<'_>) -> Option<usize> {
        self.router.first(request, |index| self.routes[index].conditions.hold(request))
    }

    /// The name of the route at `index`.
    pub fn route_label(&self, index: usize) -> Option<&str> {
        self.routes.get(index).map(|route| route.name.as_str())
    }

    /// What holds for requests of `route`, or of none.
    pub fn policy(&self, route: Option<usize>) -> &Policy {
        route.and_then(|index| self.routes.get(index)).map_or(&self.defaults, |route| &route.policy)
    }

    /// Whether some route asks for the route name of the control plane.
    pub fn needs_route_name(&self) -> bool {
        self.router.uses_route_name()
    }

    /// Whether some route asks for the policy in the route's metadata.
    pub fn needs_policy(&self) -> bool {
        self.router.uses_policy()
    }

    /// The store that holds the drain of the fleet, if any.
    pub fn control(&self) -> Option<&Control> {
        self.drain.as_ref()?.control.as_ref()
    }

    /// The admin path, if any.
    pub fn admin(&self) -> Option<&Admin> {
        self.drain.as_ref()?.admin.as_ref()
    }

    /// The first of the names that is not one of a route here.
    pub fn first_unknown<'n>(&self, names: Option<&'n [RouteName]>) -> Option<&'n str> {
        let mut names = names.into_iter().flatten().map(RouteName::as_str);
        names.find(|name| self.routes.iter().all(|route| route.name.as_str() != *name))
    }

    /// How often the worker ticks.
    pub fn tick(&self) -> Span {
        self.drain.as_ref().map_or(DEFAULT_REFRESH, |drain| drain.refresh)
    }

    pub(crate) fn router(&self) -> &Router {
        &self.router
    }
}

impl Drain {
    fn new(spec: DrainSpec) -> Self {
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
    fn new(spec: ControlSpec) -> Self {
        let cluster = spec.cluster.as_str();
        let authority = match &spec.authority {
            Some(authority) => authority.as_str(),
            // Control planes put characters into names of clusters that servers refuse in a host.
            None if scalar::is_host_name(cluster) => cluster,
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
    fn new(spec: HealthSpec) -> Self {
        Self {
            path: spec.path,
            drain_status: spec.drain_status.map_or(503, |status| status.value() as u16),
            local: spec.local.unwrap_or(false),
        }
    }
}

impl ConfigSpec {
    /// Reads a document, without the rules that span several places.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(document: &[u8]) -> Result<Self, ConfigError> {
        let at = &Place::Root;
        if document.len() > MAX_DOCUMENT {
            return Err(Config::too_large(document.len()));
        }
        let text = match std::str::from_utf8(document) {
            Ok(text) => text,
            Err(error) => return at.refuse(Problem::NotUtf8 { at: error.valid_up_to() }),
        };
        if text.trim().is_empty() {
            return at.refuse(Problem::Empty);
        }
        let root = parse_json(text).or_else(|problem| at.refuse(problem))?;
        // Before anything else: what a later version adds should be refused as a version, not field by field.
        if let Node::Object(fields) = &root
            && let Some((_, version)) = fields.iter().find(|(key, _)| key == "version")
        {
            Version::read(version, &Place::Field(at, "version"))?;
        }
        Self::read(&root, at)
    }
}

/// Reads JSON text.
pub(crate) fn parse_json(text: &str) -> Result<Node, Problem> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let reason = error.to_string();
        let position = format!(" at line {line} column {column}");
        let reason = reason.strip_suffix(&position).unwrap_or(&reason).to_owned();
        Problem::NotJson { line, column, reason }
    })
}

/// The routes by name, each name once.
fn check_names(spec: &ConfigSpec) -> Result<Map<Box<str>, usize>, ConfigError> {
    let mut names = Map::default();
    for (index, route) in spec.routes.iter().flatten().enumerate() {
        if let Some(first) = names.insert(route.name.as_str().into(), index) {
            let found = format!("{:?}", route.name.as_str());
            let first = format!("routes[{first}]");
            return Place::Field(
                &Place::Item(&Place::Field(&Place::Root, "routes"), index),
                "name",
            )
            .refuse(Problem::DuplicateName { found, first });
        }
    }
    Ok(names)
}

fn check_drain(spec: &ConfigSpec, names: &Map<Box<str>, usize>) -> Result<(), ConfigError> {
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
    match (state.mode, state.percent) {
        (DrainMode::Rebalance, None) => {
            return Place::Field(at, "percent")
                .refuse(Problem::Missing { expected: Percent::EXPECTED });
        }
        (DrainMode::Rebalance, Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            let reason =
                "only a rebalance closes a share of the connections; leave it out for other modes";
            return Place::Field(at, "percent").refuse(Problem::NotOurs { reason });
        }
    }
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
