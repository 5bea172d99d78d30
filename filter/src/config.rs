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
pub(crate) use read::{Fields, Place, Read};
pub use scalar::{
    Attempts, DrainStatus, Epoch, ForeignName, HeaderName, HeaderText, HostPattern, MaxBytes,
    Method, PathText, Pattern, Percent, RouteName, UnixMs, Version, WindowMs,
};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use warning::{Oddity, Warning};

use crate::hash::Map;
use crate::matching::Router;
use crate::policy::Policy;
use crate::request::RequestView;
use span::Span;
use spec::{ConfigSpec, DrainMode, DrainStateSpec, MatchSpec, PolicySpec, Signal};

/// The longest document that is read, in bytes: some 50,000 routes. It bounds what a mistake of a control plane costs.
pub const MAX_DOCUMENT: usize = 8 * 1024 * 1024;

/// How often workers look at the drain record and report metrics when the configuration does not say.
pub const DEFAULT_REFRESH: Span = Span::from_millis(250);

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
}

/// The path that answers a load balancer's health check while the proxy terminates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The path, compared without the query.
    pub path: PathText,
    /// The status of that answer.
    pub drain_status: u16,
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
        let problem = Problem::TooLarge { found: bytes, limit: MAX_DOCUMENT };
        ConfigError { place: Place::Root.to_string(), problem: Box::new(problem) }
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
            drain: spec.drain.map(|drain| Drain {
                state: drain.state,
                refresh: drain.refresh.map_or(DEFAULT_REFRESH, |refresh| refresh.span()),
                signal: drain.signal.unwrap_or(Signal::Auto),
            }),
            health: spec.health.map(|health| Health {
                path: health.path,
                drain_status: health.drain_status.map_or(503, |status| status.value() as u16),
            }),
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

    /// How often the worker ticks.
    pub fn tick(&self) -> Span {
        self.drain.as_ref().map_or(DEFAULT_REFRESH, |drain| drain.refresh)
    }

    pub(crate) fn router(&self) -> &Router {
        &self.router
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
    let Some(state) = spec.drain.as_ref().and_then(|drain| drain.state.as_ref()) else {
        return Ok(());
    };
    let drain = Place::Field(root, "drain");
    let at = Place::Field(&drain, "state");
    match (state.mode, state.percent) {
        (DrainMode::Rebalance, None) => {
            return Place::Field(&at, "percent")
                .refuse(Problem::Missing { expected: Percent::EXPECTED });
        }
        (DrainMode::Rebalance, Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            let reason =
                "only a rebalance closes a share of the connections; leave it out for other modes";
            return Place::Field(&at, "percent").refuse(Problem::NotOurs { reason });
        }
    }
    if state.mode == DrainMode::Off && (state.window.is_some() || state.routes.is_some()) {
        let name = if state.window.is_some() { "window" } else { "routes" };
        let reason = "mode off closes nothing; leave it out";
        return Place::Field(&at, name).refuse(Problem::NotOurs { reason });
    }
    for (index, name) in state.routes.iter().flat_map(|routes| routes.iter()).enumerate() {
        if !names.contains_key(name.as_str()) {
            let found = format!("{:?}", name.as_str());
            return Place::Item(&Place::Field(&at, "routes"), index)
                .refuse(Problem::NoSuchRoute { found });
        }
    }
    Ok(())
}
