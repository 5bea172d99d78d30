//! The configuration: the JSON document that a proxy hands to the filter, checked completely before any of it takes effect.
//!
//! A configuration is either accepted as a whole or refused with one sentence that names the place, what was
//! found there and what was expected; so a mistake never half-applies, and the one in force stays in force.

mod drain;
mod error;
mod json;
mod read;
mod scalar;
#[cfg(feature = "schema")]
mod schema;
pub mod span;
pub mod spec;
mod warning;

pub(crate) use drain::check_percent;
pub use drain::{
    Admin, Control, DEFAULT_INTERVAL, DEFAULT_REFRESH, DEFAULT_TIMEOUT, Drain, Health,
};
pub use error::{ConfigError, Problem};
pub(crate) use json::Node;
pub use read::OneOrMore;
pub(crate) use read::{Fields, Place, Read, text};
pub use scalar::{
    Attempts, DrainStatus, Epoch, ForeignName, HeaderName, HeaderText, HostName, HostPattern,
    MaxBytes, MediaType, Method, PageText, PathText, Pattern, Percent, RouteName, StoreKey,
    TokenHash, UnixMs, Version, WindowMs, is_store_key,
};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use warning::{Oddity, Warning};

use crate::errors::Errors;
use crate::hash::Map;
use crate::live::TICKS_PER_REFRESH;
use crate::matching::Router;
use crate::policy::Policy;
use crate::request::RequestView;
use span::Span;
pub(crate) use span::Window;
use spec::{ConfigSpec, MatchSpec, PolicySpec, ReportSpec};

/// The longest document that is read, in bytes: some 50,000 routes. It bounds what a mistake of a control plane costs.
pub const MAX_DOCUMENT: usize = 8 * 1024 * 1024;

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
    /// What clients read when the filter or the proxy answers in the upstream's place; without it the filter does not look after that.
    pub errors: Option<Errors>,
    /// Where decisions are said.
    pub report: Report,
    /// Whether a tick has to look at streams.
    watches: bool,
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

/// Where the filter says what it decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// In a property of the stream, which an access log can print.
    pub access_log: bool,
    /// In a response header.
    pub header: bool,
}

impl Report {
    fn new(spec: &ReportSpec) -> Self {
        let on = |field: Option<bool>| field.unwrap_or(false);
        Self { access_log: on(spec.access_log), header: on(spec.header) }
    }

    /// Whether decisions are said anywhere.
    pub const fn any(self) -> bool {
        self.access_log || self.header
    }
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
        drain::check_drain(&spec, &check_names(&spec)?)?;
        check_errors(&spec)?;
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
                    drain: route.drain,
                };
                Route {
                    name: route.name,
                    conditions: route.r#match.unwrap_or_default(),
                    policy: Policy::new(&own, &defaults),
                }
            })
            .collect();
        let defaults = Policy::new(&PolicySpec::default(), &defaults);
        let watches = defaults.watches() || routes.iter().any(|route| route.policy.watches());
        Self {
            router: Router::new(routes.iter().map(|route| &route.conditions)),
            watches,
            routes,
            defaults,
            drain: spec.drain.map(Drain::new),
            health: spec.health.map(Health::new),
            errors: spec.errors.map(Errors::new),
            report: spec.report.as_ref().map(Report::new).unwrap_or_default(),
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

    /// The name under which requests of `route`, or of none, are counted and reported.
    pub fn route_word(&self, route: Option<usize>) -> &str {
        route.and_then(|index| self.route_label(index)).unwrap_or(NO_ROUTE)
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

    /// Whether anybody wants to know why the proxy itself answered, or why a response broke off.
    pub fn asks_why(&self) -> bool {
        self.errors.is_some() || self.report.any()
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

    /// How often a worker looks at shared data and reports its metrics.
    pub fn refresh(&self) -> Span {
        self.drain.as_ref().map_or(DEFAULT_REFRESH, |drain| drain.refresh)
    }

    /// How many ticks come in a refresh: more than one only where streams are to be looked at.
    pub fn ticks_per_refresh(&self) -> u64 {
        if self.watches { TICKS_PER_REFRESH } else { 1 }
    }

    /// How often a worker ticks.
    pub fn tick(&self) -> Span {
        Span::from_millis(self.refresh().as_millis() / self.ticks_per_refresh())
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

/// A body and its type belong together, and are what others are alternatives to.
fn check_errors(spec: &ConfigSpec) -> Result<(), ConfigError> {
    let Some(errors) = &spec.errors else { return Ok(()) };
    let missing = |name, expected| {
        let at = Place::Field(&Place::Root, "errors");
        Place::Field(&at, name).refuse(Problem::Missing { expected })
    };
    match (&errors.content_type, &errors.body, &errors.alternatives) {
        (None, Some(_), _) => missing("content_type", MediaType::EXPECTED),
        (Some(_), None, _) | (None, None, Some(_)) => missing("body", PageText::EXPECTED),
        _ => Ok(()),
    }
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
