//! What is legal in a configuration but hardly meant. A warning refuses nothing: a control plane may have its reasons.

use super::spec::BufferingMode;
use super::{Config, span::Span};
use crate::errors::Errors;
use crate::matching::cover::covering;
use crate::policy::Policy;

/// Something legal that is hardly meant; `Display` is one sentence, `place: what`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {oddity}")]
pub struct Warning {
    /// Where, as `routes[2]`.
    pub place: String,
    /// What is odd there.
    pub oddity: Oddity,
}

/// What is odd.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Oddity {
    /// An earlier route matches everything that this one could.
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
    /// Envoy ignores a limit for one try that is not below the one for the request.
    #[error("per_try {per_try} is not below request {request}, so it never takes effect")]
    PerTryTooLong {
        /// The limit of one try.
        per_try: Span,
        /// The limit of the request.
        request: Span,
    },
    /// The filter looks after idle streams three times in a refresh, and no oftener.
    #[error("{limit} is shorter than drain.refresh {refresh}, by which it may be late")]
    BelowRefresh {
        /// The limit between two pieces.
        limit: Span,
        /// How often workers look.
        refresh: Span,
    },
    /// More may be held, or of a download watched, than a proxy's buffer takes unless it was made larger.
    #[error(
        "{bytes} is more than Envoy's buffers take unless per_connection_buffer_limit_bytes says otherwise; a body that does not fit there would be cut"
    )]
    ManyBytes {
        /// The largest body that is held.
        bytes: u64,
    },
    /// A page whose type is JSON.
    #[error("with its words filled in this is no JSON, which its content_type says it is")]
    NoJson,
    /// A route's wish that nothing carries out.
    #[error("nothing is ever cut without a drain section")]
    NoDrain,
}

/// The buffer of an Envoy that was not told otherwise, in bytes.
const ENVOY_BUFFER: u64 = 1 << 20;

pub(super) fn warnings(config: &Config) -> Vec<Warning> {
    let everywhere = oddities(config, config.policy(None));
    let mut warnings: Vec<Warning> =
        everywhere.iter().cloned().map(|found| warning("defaults", found)).collect();
    for (index, route) in config.routes.iter().enumerate() {
        let place = format!("routes[{index}]");
        if let Some(by) = covering(config, index) {
            let name = route.name.as_str().to_owned();
            let by_name = config.routes[by].name.as_str().to_owned();
            let oddity = Oddity::Unreachable { name, by, by_name };
            warnings.push(Warning { place: place.clone(), oddity });
        }
        // What a route has from the defaults was said there.
        let own = oddities(config, &route.policy).into_iter();
        let own = own.filter(|found| !everywhere.contains(found));
        warnings.extend(own.map(|found| warning(&place, found)));
    }
    let pages = config.errors.iter().flat_map(Errors::broken_json);
    warnings.extend(pages.map(|index| match index {
        0 => warning("errors", ("body", Oddity::NoJson)),
        _ => warning(&format!("errors.alternatives[{}]", index - 1), ("body", Oddity::NoJson)),
    }));
    warnings
}

fn warning(place: &str, (field, oddity): (&str, Oddity)) -> Warning {
    Warning { place: format!("{place}.{field}"), oddity }
}

/// What is odd in a policy, and in which of its fields.
fn oddities(config: &Config, policy: &Policy) -> Vec<(&'static str, Oddity)> {
    let mut oddities = Vec::new();
    if let (Some(per_try), Some(request)) = (policy.per_try, policy.request)
        && request.as_millis() > 0
        && per_try >= request
    {
        oddities.push(("timeouts", Oddity::PerTryTooLong { per_try, request }));
    }
    let refresh = config.refresh();
    let limits = [("timeouts.read", policy.limits.read), ("timeouts.send", policy.limits.send)];
    for (field, limit) in limits {
        if let Some(limit) = limit.filter(|limit| *limit < refresh) {
            oddities.push((field, Oddity::BelowRefresh { limit, refresh }));
        }
    }
    let holds = policy.hold_request
        || matches!(policy.response, Some(BufferingMode::On | BufferingMode::Auto));
    if (holds || policy.limits.read.is_some()) && policy.max_bytes > ENVOY_BUFFER {
        oddities.push(("buffering.max_bytes", Oddity::ManyBytes { bytes: policy.max_bytes }));
    }
    if policy.cut && config.drain.is_none() {
        oddities.push(("drain", Oddity::NoDrain));
    }
    oddities
}
