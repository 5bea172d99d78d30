//! The rules: a configuration document with its defaults filled in and its routes indexed, ready to
//! decide.

mod drain;

pub(crate) use drain::{DEFAULT_INTERVAL, DEFAULT_REFRESH};

pub use drain::{ControlStore, DrainSettings, HealthPath};

use crate::config::{
    AdminSpec, Document, MatchSpec, NO_ROUTE, PolicySpec, ReportSpec, RouteName, Span,
};
use crate::error_pages::{ErrorContext, ErrorPages, Failure};
use crate::lingering::Lingering;
use crate::matching::{Router, matches};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::reply::LocalReply;
use crate::request::RequestView;

/// The number of ticks in one refresh where streams have to be watched. A chunk arrives between two
/// ticks, which delays its idle timeout by up to two tick periods, and the tick after the timeout
/// ends the stream: three periods in all.
pub const TICKS_PER_REFRESH: u64 = 3;

/// The rules of one plugin configuration.
#[derive(Debug)]
pub struct Rules {
    /// The routes, in the order of the document.
    pub routes: Vec<Route>,
    /// The policy of requests that match no route.
    pub defaults: Policy,
    /// How this process takes part in drains.
    pub drain: Option<DrainSettings>,
    /// The path that a load balancer probes.
    pub health: Option<HealthPath>,
    /// The bodies of error responses. `None` leaves the proxy's responses unchanged and their
    /// reasons unknown.
    pub error_pages: Option<ErrorPages>,
    /// How much of an upload is received after the filter has refused it. `None`: the filter
    /// replies at once.
    pub lingering: Option<Lingering>,
    /// Where the filter reports its decisions.
    pub report: ReportTargets,
    watches_streams: bool,
    router: Router,
}

/// A route, with the defaults filled in.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// Its conditions.
    pub conditions: MatchSpec,
    /// The policy of its requests.
    pub policy: Policy,
}

/// Where the filter reports its decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportTargets {
    /// In a property of the stream, for access logs.
    pub access_log: bool,
    /// In a response header.
    pub header: bool,
}

impl ReportTargets {
    fn new(spec: &ReportSpec) -> Self {
        let is_on = |field: Option<bool>| field.unwrap_or(false);
        Self { access_log: is_on(spec.access_log), header: is_on(spec.header) }
    }

    /// Whether decisions are reported anywhere.
    pub const fn any(self) -> bool {
        self.access_log || self.header
    }
}

impl Rules {
    /// Compiles a document whose sections agree with each other.
    pub(crate) fn compile(document: Document) -> Self {
        let defaults = document.defaults.unwrap_or_default();
        let routes: Vec<Route> = document
            .routes
            .unwrap_or_default()
            .into_iter()
            .map(|route| {
                let policy = PolicySpec {
                    buffering: route.buffering,
                    timeouts: route.timeouts,
                    retry: route.retry,
                    drain: route.drain,
                };
                Route {
                    name: route.name,
                    conditions: route.r#match.unwrap_or_default(),
                    policy: Policy::new(&policy, &defaults),
                }
            })
            .collect();
        let defaults = Policy::new(&PolicySpec::default(), &defaults);
        let watches_streams =
            defaults.watches_streams() || routes.iter().any(|route| route.policy.watches_streams());
        Self {
            router: Router::new(routes.iter().map(|route| &route.conditions)),
            watches_streams,
            routes,
            defaults,
            drain: document.drain.map(DrainSettings::new),
            health: document.health.map(HealthPath::new),
            error_pages: document.errors.map(ErrorPages::new),
            lingering: document.lingering.as_ref().map(Lingering::new),
            report: document.report.as_ref().map(ReportTargets::new).unwrap_or_default(),
        }
    }

    /// The position of the first route whose conditions all match; `None` selects the defaults.
    pub fn match_route(&self, request: &RequestView<'_>) -> Option<usize> {
        self.router.first(request, |index| matches(&self.routes[index].conditions, request))
    }

    /// The name of the route at `index`.
    pub fn route_name(&self, index: usize) -> Option<&str> {
        self.routes.get(index).map(|route| route.name.as_str())
    }

    /// The name of `route` in metrics and reports; [`NO_ROUTE`] for requests that match none.
    pub fn metric_name(&self, route: Option<usize>) -> &str {
        route.and_then(|index| self.route_name(index)).unwrap_or(NO_ROUTE)
    }

    /// The policy of `route`, or the defaults.
    pub fn policy(&self, route: Option<usize>) -> &Policy {
        route.and_then(|index| self.routes.get(index)).map_or(&self.defaults, |route| &route.policy)
    }

    /// Whether a route has a condition on the name of the control plane's route.
    pub fn needs_route_name(&self) -> bool {
        self.router.uses_route_name()
    }

    /// Whether a route has a condition on the policy in the metadata of the proxy's route.
    pub fn needs_metadata_policy(&self) -> bool {
        self.router.uses_policy()
    }

    /// Whether the reason of a failure is used: in an error page, a metric or a report.
    pub fn wants_failure_reason(&self) -> bool {
        self.error_pages.is_some() || self.report.any()
    }

    /// The store that holds the drain record of the fleet.
    pub fn control_store(&self) -> Option<&ControlStore> {
        self.drain.as_ref()?.control.as_ref()
    }

    /// The admin path.
    pub fn admin(&self) -> Option<&AdminSpec> {
        self.drain.as_ref()?.admin.as_ref()
    }

    /// The first of `names` that no route has.
    pub fn unknown_route<'n>(&self, names: Option<&'n [RouteName]>) -> Option<&'n str> {
        let mut names = names.into_iter().flatten().map(RouteName::as_str);
        names.find(|name| self.routes.iter().all(|route| route.name.as_str() != *name))
    }

    /// The interval at which a worker reads shared data and reports its metrics.
    pub fn refresh(&self) -> Span {
        self.drain.as_ref().map_or(DEFAULT_REFRESH, |drain| drain.refresh)
    }

    /// The number of ticks in one refresh.
    pub fn ticks_per_refresh(&self) -> u64 {
        if self.watches_streams { TICKS_PER_REFRESH } else { 1 }
    }

    /// The period of a worker's tick.
    pub fn tick_period(&self) -> Span {
        Span::from_millis(self.refresh().as_millis() / self.ticks_per_refresh())
    }

    /// The filter's local reply to a failed request of `route`. `plain` is the body where there is
    /// no error page.
    pub fn error_reply(
        &self,
        route: Option<usize>,
        context: &ErrorContext,
        reason: Reason,
        status: u16,
        plain: impl FnOnce() -> String,
    ) -> LocalReply {
        let failure = Failure { reason, status, route: self.metric_name(route) };
        ErrorPages::reply(self.error_pages.as_ref(), &failure, context, plain)
    }

    pub(crate) fn router(&self) -> &Router {
        &self.router
    }
}
