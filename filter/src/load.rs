//! From the bytes of a document to rules: parse, check what spans several sections, compile, lint.
//!
//! A document is accepted as a whole or refused with one sentence. A refused document changes
//! nothing: the rules in force stay in force.

use crate::config::{
    ConfigError, ControlSpec, Document, DrainMode, DrainStateSpec, MediaType, PageText, Place,
    Problem, Read as _, Span, check_percent,
};
use crate::hash::Map;
use crate::lint::{self, Warning};
use crate::rules::{DEFAULT_INTERVAL, DEFAULT_REFRESH, Rules};

/// An accepted document.
#[derive(Debug)]
pub struct Loaded {
    /// The compiled rules.
    pub rules: Rules,
    /// The lint's warnings.
    pub warnings: Vec<Warning>,
}

/// Reads, checks and compiles a document.
///
/// # Errors
/// The first mistake, with its place.
pub fn load(document: &[u8]) -> Result<Loaded, ConfigError> {
    let document = Document::parse(document)?;
    let routes = check_names(&document)?;
    check_hosts(&document)?;
    check_health(&document)?;
    check_drain(&document, &routes)?;
    check_error_pages(&document)?;
    let rules = Rules::compile(document);
    let warnings = lint::warnings(&rules);
    Ok(Loaded { rules, warnings })
}

/// The positions of the routes, by name.
type Routes = Map<Box<str>, usize>;

fn check_names(document: &Document) -> Result<Routes, ConfigError> {
    let mut names = Map::default();
    for (index, route) in document.routes.iter().flatten().enumerate() {
        if let Some(first) = names.insert(route.name.as_str().into(), index) {
            let found = format!("{:?}", route.name.as_str());
            let first = format!("routes[{first}]");
            let routes = Place::Field(&Place::Root, "routes");
            return Place::Field(&Place::Item(&routes, index), "name")
                .refuse(Problem::DuplicateName { found, first });
        }
    }
    Ok(names)
}

/// The most hosts in all routes together. Each is an entry of the index in every worker.
const MAX_HOSTS: usize = 250_000;

fn check_hosts(document: &Document) -> Result<(), ConfigError> {
    let routes = document.routes.iter().flatten();
    let hosts = routes.filter_map(|route| route.r#match.as_ref()?.hosts.as_ref());
    let found = hosts.map(|hosts| hosts.len()).sum();
    if found <= MAX_HOSTS {
        return Ok(());
    }
    let limit = MAX_HOSTS;
    Place::Field(&Place::Root, "routes").refuse(Problem::TooManyHosts { found, limit })
}

fn check_health(document: &Document) -> Result<(), ConfigError> {
    if document.health.is_none() || document.drain.is_some() {
        return Ok(());
    }
    let reason = "found without a drain section, which decides when the health check fails; add \"drain\": {}";
    Place::Field(&Place::Root, "health").refuse(Problem::Misplaced { reason })
}

fn check_drain(document: &Document, routes: &Routes) -> Result<(), ConfigError> {
    let Some(drain) = &document.drain else { return Ok(()) };
    let at = Place::Field(&Place::Root, "drain");
    if let Some(control) = &drain.control {
        let refresh = drain.refresh.map_or(DEFAULT_REFRESH, |refresh| refresh.span());
        check_interval(control, refresh, &at)?;
    }
    let health = document.health.as_ref().map(|health| &health.path);
    if let Some(admin) = &drain.admin
        && health == Some(&admin.path)
    {
        let reason = "found the path of the health section, expected a different one";
        return Place::Field(&Place::Field(&at, "admin"), "path")
            .refuse(Problem::Misplaced { reason });
    }
    match &drain.state {
        Some(state) => check_state(state, routes, &Place::Field(&at, "state")),
        None => Ok(()),
    }
}

/// If the leader fails, another worker takes over within two intervals. That worker notices the
/// failure on a refresh.
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
        "at least twice drain.refresh, the interval at which workers notice that the leader failed",
    )
}

fn check_state(state: &DrainStateSpec, routes: &Routes, at: &Place<'_>) -> Result<(), ConfigError> {
    check_percent(state.mode, state.percent, at)?;
    if state.mode == DrainMode::Off && (state.window.is_some() || state.routes.is_some()) {
        let name = if state.window.is_some() { "window" } else { "routes" };
        let reason = "found with the mode off, which closes no connection; remove it";
        return Place::Field(at, name).refuse(Problem::Misplaced { reason });
    }
    for (index, name) in state.routes.iter().flat_map(|routes| routes.iter()).enumerate() {
        if !routes.contains_key(name.as_str()) {
            let found = format!("{:?}", name.as_str());
            return Place::Item(&Place::Field(at, "routes"), index)
                .refuse(Problem::NoSuchRoute { found });
        }
    }
    Ok(())
}

/// A body needs a content type, and a content type needs a body. Alternatives need a default body.
fn check_error_pages(document: &Document) -> Result<(), ConfigError> {
    let Some(errors) = &document.errors else { return Ok(()) };
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
