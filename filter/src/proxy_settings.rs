//! Settings of the proxy that end a request before a timeout of the configuration can, or that cut a
//! body which the configuration buffers.
//!
//! The filter does not know these settings, and warns at runtime only about Envoy's default buffer
//! limit. `sluice check` knows the defaults of Envoy, and the settings if it reads them from a file.

use crate::config::Span;
use crate::lint::{ENVOY_BUFFER_LIMIT, Lint, Warning, many_bytes, warning};
use crate::policy::Policy;
use crate::rules::Rules;

/// The settings of the proxy around the filter. A timeout is `None` if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxySettings {
    /// The route's own timeout, from the end of the request to the end of the response. It applies
    /// if `timeouts.request` is not set.
    pub route: Option<ProxyTimeout>,
    /// The time that a stream may be silent in both directions.
    pub stream_idle: Option<ProxyTimeout>,
    /// The bytes of a body that the proxy buffers.
    pub buffer_limit: u64,
}

/// A timeout of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyTimeout {
    /// The timeout, in milliseconds.
    pub millis: u64,
    /// Whether it is the proxy's default.
    pub is_default: bool,
}

impl ProxyTimeout {
    /// Envoy's default for the timeout of a route (`RouteAction.timeout`).
    pub const ROUTE: Self = Self { millis: 15_000, is_default: true };

    /// Envoy's default for the idle timeout of streams (`stream_idle_timeout`).
    pub const STREAM_IDLE: Self = Self { millis: 300_000, is_default: true };

    /// The timeout that a file of the proxy sets; 0 disables it.
    pub fn configured(millis: u64) -> Option<Self> {
        (millis > 0).then_some(Self { millis, is_default: false })
    }

    fn span(self) -> Span {
        Span::from_millis(self.millis)
    }

    fn origin(self) -> &'static str {
        if self.is_default { "Envoy's default" } else { "as this file sets it" }
    }
}

impl Default for ProxySettings {
    /// The defaults of Envoy.
    fn default() -> Self {
        Self {
            route: Some(ProxyTimeout::ROUTE),
            stream_idle: Some(ProxyTimeout::STREAM_IDLE),
            buffer_limit: ENVOY_BUFFER_LIMIT,
        }
    }
}

/// The timeouts of `rules` that the proxy's own timeouts precede, and the bodies that exceed its
/// buffer limit, in the order of the document.
pub fn proxy_warnings(rules: &Rules, proxy: &ProxySettings) -> Vec<Warning> {
    let defaults = lints(&rules.defaults, proxy);
    let mut warnings: Vec<Warning> =
        defaults.iter().cloned().map(|found| warning("defaults", None, found)).collect();
    for (index, route) in rules.routes.iter().enumerate() {
        // A finding that the route inherits is reported once, at the defaults.
        let found = lints(&route.policy, proxy).into_iter();
        let found = found.filter(|found| !defaults.contains(found));
        let (place, name) = (format!("routes[{index}]"), Some(route.name.as_str()));
        warnings.extend(found.map(|found| warning(&place, name, found)));
    }
    warnings
}

fn lints(policy: &Policy, proxy: &ProxySettings) -> Vec<(&'static str, Lint)> {
    let silent = [
        ("timeouts.read", policy.idle_timeouts.read),
        ("timeouts.first_event", policy.event_timeouts.first),
        ("timeouts.event_gap", policy.event_timeouts.gap),
    ];
    let whole = [
        ("timeouts.request", policy.request_timeout),
        ("timeouts.per_try", policy.per_try_timeout),
    ];
    let mut found: Vec<_> = many_bytes(policy, proxy.buffer_limit).into_iter().collect();
    if let (Some(route), None) = (proxy.route, policy.request_timeout) {
        let late = silent.into_iter().filter_map(|(field, timeout)| Some((field, timeout?)));
        let late = late.filter(|(_, timeout)| *timeout >= route.span());
        found.extend(late.map(|(field, timeout)| {
            (field, Lint::RouteTimeout { timeout, route: route.span(), origin: route.origin() })
        }));
    }
    if let Some(idle) = proxy.stream_idle {
        let late = silent.into_iter().chain(whole);
        let late = late.filter_map(|(field, timeout)| Some((field, timeout?)));
        let late = late.filter(|(_, timeout)| *timeout > idle.span());
        found.extend(late.map(|(field, timeout)| {
            (field, Lint::StreamIdle { timeout, idle: idle.span(), origin: idle.origin() })
        }));
    }
    found
}
