//! The lint: warnings about a configuration that is valid but probably wrong. A warning refuses
//! nothing.

mod cover;

use std::collections::BTreeMap;
use std::fmt;

use crate::config::{BufferingMode, MatchSpec, OnDrain, PathCondition, Span, quoted, write_place};
use crate::drain::{Bound, Command, DEFAULT_WINDOW_MS, Record};
use crate::error_pages::ErrorPages;
use crate::matching::literal_prefix;
use crate::policy::Policy;
use crate::rules::{DrainSettings, Rules};

/// A place in a configuration, and what is probably wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The place as a JSON path, such as `routes[2]`.
    pub place: String,
    /// The quoted name of the route that contains the place.
    pub route: Option<Box<str>>,
    /// The finding.
    pub lint: Lint,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.place, self.route.as_deref())?;
        write!(f, ": {}", self.lint)
    }
}

/// Something that is valid but probably wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lint {
    /// An earlier route matches every request that this one matches.
    #[error(
        "never reached, because routes[{by}] {by_name:?} matches every request that it matches"
    )]
    Unreachable {
        /// The position of the earlier route.
        by: usize,
        /// The earlier route's name.
        by_name: String,
    },
    /// Envoy ignores a timeout for one attempt unless it is shorter than the one for the request.
    #[error("{per_try} never takes effect, because the request timeout is {request}; lower it")]
    PerTryTooLong {
        /// The timeout of one attempt.
        per_try: Span,
        /// The timeout of the request.
        request: Span,
    },
    /// The filter ends idle streams on a tick, three times in a refresh.
    #[error("{timeout} can expire up to {refresh} late; lower drain.refresh, which is {refresh}")]
    BelowRefresh {
        /// The idle timeout.
        timeout: Span,
        /// The refresh interval.
        refresh: Span,
    },
    /// The proxy ends the request before the first event is late.
    #[error("{first_event} never takes effect, because the request timeout is {request}; lower it")]
    FirstEventTooLong {
        /// The timeout of the first event.
        first_event: Span,
        /// The timeout of the request.
        request: Span,
    },
    /// The proxy's own route ends the response first. Only `proxy_settings` finds this.
    #[error(
        "{timeout} never takes effect, because the proxy's own route ends a response after {route} ({origin}) and \
         timeouts.request is not set; set timeouts.request, to \"0s\" for no limit"
    )]
    RouteTimeout {
        /// The timeout of the configuration.
        timeout: Span,
        /// The timeout of the route.
        route: Span,
        /// Where the timeout of the route comes from.
        origin: &'static str,
    },
    /// The proxy ends a silent stream first. Only `proxy_settings` finds this.
    #[error(
        "the proxy ends a stream that is silent for {idle} ({origin}), so {timeout} does not take effect for such a \
         stream; raise stream_idle_timeout in the connection manager, or idle_timeout in the proxy's route"
    )]
    StreamIdle {
        /// The timeout of the configuration.
        timeout: Span,
        /// The proxy's idle timeout.
        idle: Span,
        /// Where the idle timeout comes from.
        origin: &'static str,
    },
    /// A path is compared as it is, and `*` has no meaning.
    #[error(
        "matches only paths with a literal \"*\"; for all paths below it, write {{\"prefix\": {prefix:?}}}"
    )]
    LiteralStar {
        /// The text before the `*`.
        prefix: String,
    },
    /// A field has an effect only together with another one.
    #[error("has no effect without {needed}; add it")]
    Needs {
        /// The other field.
        needed: &'static str,
    },
    /// The proxy's default buffer limit is smaller.
    #[error(
        "{bytes} exceeds the proxy's buffer limit of {limit} bytes{}, at which it cuts a body; raise \
         per_connection_buffer_limit_bytes",
        if *limit == ENVOY_BUFFER_LIMIT { " (Envoy's default)" } else { "" }
    )]
    ManyBytes {
        /// `buffering.max_bytes`.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// An error page with a JSON content type is not valid JSON once its placeholders are replaced.
    #[error("not valid JSON once its placeholders are replaced, but its content_type is JSON")]
    InvalidJson,
    /// The index cannot separate regular expressions with the same literal start.
    #[error(
        "{count} routes have a regular expression whose matches start with {start:?}; the filter tries them one \
         after the other, so let their paths start differently, or combine them"
    )]
    ManyExpressions {
        /// The number of routes.
        count: usize,
        /// The start that every match has.
        start: String,
    },
    /// A drain should end streams of a route, but the configuration has no drain section.
    #[error("{} has no effect without a drain section; add \"drain\": {{}}", .streams.word())]
    NoDrain {
        /// When a drain would end them.
        streams: OnDrain,
    },
    /// A stream may last longer in a drain than others wait for it.
    #[error(
        "a stream may last {total} after a drain starts ({within} after the window of {window}), but AWS target groups \
         wait for {PATIENCE} by default; lower within or the window, or raise their limit (deregistration delay, \
         termination grace period)"
    )]
    LongDrain {
        /// The bound.
        within: Span,
        /// The window of the drain.
        window: Span,
        /// Both.
        total: Span,
    },
}

/// How long a load balancer is likely to wait for the requests of an instance that it removes: the
/// default deregistration delay of AWS target groups. The configuration does not state it.
const PATIENCE: Span = Span::from_millis(300_000);

/// Envoy's default buffer limit, in bytes.
pub(crate) const ENVOY_BUFFER_LIMIT: u64 = 1 << 20;

/// Checks `rules` in the order of the document.
pub(crate) fn warnings(rules: &Rules) -> Vec<Warning> {
    let defaults = policy_lints(rules, &rules.defaults);
    let mut warnings: Vec<Warning> =
        defaults.iter().cloned().map(|found| warning("defaults", None, found)).collect();
    let mut comparisons = cover::Comparisons::default();
    for (index, route) in rules.routes.iter().enumerate() {
        let place = format!("routes[{index}]");
        let name = Some(route.name.as_str());
        if let Some(by) = cover::covering_route(rules, index, &mut comparisons) {
            let by_name = rules.routes[by].name.as_str().to_owned();
            warnings.push(Warning {
                place: place.clone(),
                route: name.map(quoted).map(Into::into),
                lint: Lint::Unreachable { by, by_name },
            });
        }
        warnings.extend(literal_star(&route.conditions).map(|found| warning(&place, name, found)));
        // A finding that the route inherits is reported once, at the defaults.
        let found = policy_lints(rules, &route.policy).into_iter();
        let found = found.filter(|found| !defaults.contains(found));
        warnings.extend(found.map(|found| warning(&place, name, found)));
    }
    warnings.extend(many_expressions(rules));
    warnings.extend(unused_lingering(rules));
    let pages = rules.error_pages.iter().flat_map(ErrorPages::invalid_json);
    warnings.extend(pages.map(|index| {
        let place = match index {
            0 => "errors".to_owned(),
            _ => format!("errors.alternatives[{}]", index - 1),
        };
        warning(&place, None, ("body", Lint::InvalidJson))
    }));
    warnings
}

/// A path that is probably meant as a pattern.
fn literal_star(conditions: &MatchSpec) -> Option<(&'static str, Lint)> {
    let (PathCondition::Exact(path) | PathCondition::Prefix(path)) = conditions.path.as_ref()?
    else {
        return None;
    };
    let (prefix, _) = path.as_str().split_once('*')?;
    Some(("match.path", Lint::LiteralStar { prefix: prefix.to_owned() }))
}

/// The most regular expressions with the same literal start that cause no warning. Each takes up to
/// a few milliseconds for the longest path that is matched.
const EXPRESSIONS: usize = 16;

/// The groups of too many regular expressions, each at its first route.
fn many_expressions(rules: &Rules) -> Vec<Warning> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, route) in rules.routes.iter().enumerate() {
        if let Some(path @ PathCondition::Regex(_)) = &route.conditions.path {
            let host = route.conditions.hosts.as_ref().map(|hosts| hosts[0].as_str());
            groups.entry((host, literal_prefix(Some(path)))).or_default().push(index);
        }
    }
    let many = groups.into_iter().filter(|(_, routes)| routes.len() > EXPRESSIONS);
    let lints = many.map(|((_, start), routes)| {
        let (count, first) = (routes.len(), routes[0]);
        let start = String::from_utf8_lossy(start).into_owned();
        let name = Some(rules.routes[first].name.as_str());
        let lint = Lint::ManyExpressions { count, start };
        warning(&format!("routes[{first}]"), name, ("match.path", lint))
    });
    lints.collect()
}

/// Lingering where the filter refuses no upload.
fn unused_lingering(rules: &Rules) -> Option<Warning> {
    let refuses = |policy: &Policy| policy.buffer_request;
    let is_used = rules.admin().is_some()
        || refuses(&rules.defaults)
        || rules.routes.iter().any(|route| refuses(&route.policy));
    (rules.lingering.is_some() && !is_used).then(|| Warning {
        place: "lingering".to_owned(),
        route: None,
        lint: Lint::Needs { needed: "buffering.request or drain.admin" },
    })
}

pub(crate) fn warning(place: &str, route: Option<&str>, (field, lint): (&str, Lint)) -> Warning {
    let route = route.map(quoted).map(Into::into);
    Warning { place: format!("{place}.{field}"), route, lint }
}

/// The findings in a policy, each with its field.
fn policy_lints(rules: &Rules, policy: &Policy) -> Vec<(&'static str, Lint)> {
    let mut found = Vec::new();
    if let (Some(per_try), Some(request)) = (policy.per_try_timeout, policy.request_timeout)
        && !request.is_zero()
        && per_try >= request
    {
        found.push(("timeouts.per_try", Lint::PerTryTooLong { per_try, request }));
    }
    let refresh = rules.refresh();
    let (idle, events) = (policy.idle_timeouts, policy.event_timeouts);
    if let (Some(first_event), Some(request)) = (events.first, policy.request_timeout)
        && !request.is_zero()
        && first_event >= request
    {
        found.push(("timeouts.first_event", Lint::FirstEventTooLong { first_event, request }));
    }
    let timeouts = [
        ("timeouts.read", idle.read),
        ("timeouts.send", idle.send),
        ("timeouts.first_event", events.first),
        ("timeouts.event_gap", events.gap),
    ];
    for (field, timeout) in timeouts {
        if let Some(timeout) = timeout.filter(|timeout| *timeout < refresh) {
            found.push((field, Lint::BelowRefresh { timeout, refresh }));
        }
    }
    if !policy.ignored_events.is_empty() && !events.any() {
        let needed = "timeouts.first_event or timeouts.event_gap";
        found.push(("timeouts.ignore_events", Lint::Needs { needed }));
    }
    if policy.hold_headers && !policy.holds_headers() {
        let needed = "timeouts.first_event";
        found.push(("buffering.hold_headers", Lint::Needs { needed }));
    }
    found.extend(many_bytes(policy, ENVOY_BUFFER_LIMIT));
    if let Some(bound) = &policy.bound {
        found.extend(match &rules.drain {
            None => Some(("drain", Lint::NoDrain { streams: bound.streams() })),
            Some(drain) => long_drain(bound, drain).map(|lint| ("drain.within", lint)),
        });
    }
    found
}

/// A body that the filter buffers, or keeps while it watches it, and that exceeds the proxy's limit.
pub(crate) fn many_bytes(policy: &Policy, limit: u64) -> Option<(&'static str, Lint)> {
    let buffers = policy.buffer_request
        || matches!(policy.response_buffering, Some(BufferingMode::On | BufferingMode::Auto));
    let keeps = buffers || policy.holds_headers() || policy.idle_timeouts.read.is_some();
    let bytes = policy.max_bytes;
    (keeps && bytes > limit).then_some(("buffering.max_bytes", Lint::ManyBytes { bytes, limit }))
}

fn long_drain(bound: &Bound, drain: &DrainSettings) -> Option<Lint> {
    let within = bound.within_ms()?;
    let state = drain.state.as_ref();
    let record = state.and_then(|state| {
        Record::from_command(&Command::configured(state), state.epoch.value(), 0).ok()
    });
    let window = record.map_or(DEFAULT_WINDOW_MS, |record| record.window_ms);
    let total = Span::from_millis(within.saturating_add(window));
    let (within, window) = (Span::from_millis(within), Span::from_millis(window));
    (total > PATIENCE).then_some(Lint::LongDrain { within, window, total })
}
