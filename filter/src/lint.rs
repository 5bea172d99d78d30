//! The lint: warnings about a configuration that is valid but probably wrong. A warning refuses nothing.

mod cover;

use crate::config::{BufferingMode, Span};
use crate::error_pages::ErrorPages;
use crate::policy::Policy;
use crate::rules::Rules;

/// A place in a configuration, and what is probably wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {lint}")]
pub struct Warning {
    /// The place, such as `routes[2]`.
    pub place: String,
    /// The finding.
    pub lint: Lint,
}

/// Something that is valid but probably wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lint {
    /// An earlier route matches every request that this one matches.
    #[error(
        "{name:?} is never reached: routes[{by}] ({by_name:?}) matches every request that it could"
    )]
    Unreachable {
        /// The route's name.
        name: String,
        /// The position of the earlier route.
        by: usize,
        /// The earlier route's name.
        by_name: String,
    },
    /// Envoy ignores a timeout for one attempt unless it is shorter than the one for the request.
    #[error("per_try {per_try} is not below request {request}, so it never takes effect")]
    PerTryTooLong {
        /// The timeout of one attempt.
        per_try: Span,
        /// The timeout of the request.
        request: Span,
    },
    /// The filter ends idle streams on a tick, three times in a refresh.
    #[error("{timeout} is shorter than drain.refresh {refresh}, by which it may be late")]
    BelowRefresh {
        /// The idle timeout.
        timeout: Span,
        /// The refresh interval.
        refresh: Span,
    },
    /// The proxy's default buffer limit is smaller.
    #[error(
        "{bytes} is more than Envoy's buffers take unless per_connection_buffer_limit_bytes says otherwise; a body that does not fit there would be cut"
    )]
    ManyBytes {
        /// `buffering.max_bytes`.
        bytes: u64,
    },
    /// An error page with a JSON content type is not valid JSON once its placeholders are replaced.
    #[error("with its words filled in this is no JSON, which its content_type says it is")]
    InvalidJson,
    /// A route cuts streams in a drain, and the configuration takes part in none.
    #[error("nothing is ever cut without a drain section")]
    NoDrain,
}

/// Envoy's default buffer limit, in bytes.
const ENVOY_BUFFER_LIMIT: u64 = 1 << 20;

/// Checks `rules` in the order of the document.
pub(crate) fn warnings(rules: &Rules) -> Vec<Warning> {
    let defaults = policy_lints(rules, &rules.defaults);
    let mut warnings: Vec<Warning> =
        defaults.iter().cloned().map(|found| warning("defaults", found)).collect();
    for (index, route) in rules.routes.iter().enumerate() {
        let place = format!("routes[{index}]");
        if let Some(by) = cover::covering_route(rules, index) {
            let name = route.name.as_str().to_owned();
            let by_name = rules.routes[by].name.as_str().to_owned();
            let lint = Lint::Unreachable { name, by, by_name };
            warnings.push(Warning { place: place.clone(), lint });
        }
        // A finding that the route inherits is reported once, at the defaults.
        let found = policy_lints(rules, &route.policy).into_iter();
        let found = found.filter(|found| !defaults.contains(found));
        warnings.extend(found.map(|found| warning(&place, found)));
    }
    let pages = rules.error_pages.iter().flat_map(ErrorPages::invalid_json);
    warnings.extend(pages.map(|index| match index {
        0 => warning("errors", ("body", Lint::InvalidJson)),
        _ => warning(&format!("errors.alternatives[{}]", index - 1), ("body", Lint::InvalidJson)),
    }));
    warnings
}

fn warning(place: &str, (field, lint): (&str, Lint)) -> Warning {
    Warning { place: format!("{place}.{field}"), lint }
}

/// The findings in a policy, each with its field.
fn policy_lints(rules: &Rules, policy: &Policy) -> Vec<(&'static str, Lint)> {
    let mut found = Vec::new();
    if let (Some(per_try), Some(request)) = (policy.per_try_timeout, policy.request_timeout)
        && !request.is_zero()
        && per_try >= request
    {
        found.push(("timeouts", Lint::PerTryTooLong { per_try, request }));
    }
    let refresh = rules.refresh();
    let idle = policy.idle_timeouts;
    for (field, timeout) in [("timeouts.read", idle.read), ("timeouts.send", idle.send)] {
        if let Some(timeout) = timeout.filter(|timeout| *timeout < refresh) {
            found.push((field, Lint::BelowRefresh { timeout, refresh }));
        }
    }
    let buffers = policy.buffer_request
        || matches!(policy.response_buffering, Some(BufferingMode::On | BufferingMode::Auto));
    if (buffers || idle.read.is_some()) && policy.max_bytes > ENVOY_BUFFER_LIMIT {
        found.push(("buffering.max_bytes", Lint::ManyBytes { bytes: policy.max_bytes }));
    }
    if policy.cut_on_drain && rules.drain.is_none() {
        found.push(("drain", Lint::NoDrain));
    }
    found
}
