//! What is legal in a configuration but hardly meant. A warning refuses nothing: a control plane may have its reasons.

use super::{Config, span::Span};
use crate::matching::cover::covering;

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
}

pub(super) fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        let place = format!("routes[{index}]");
        if let Some(by) = covering(config, index) {
            let name = route.name.as_str().to_owned();
            let by_name = config.routes[by].name.as_str().to_owned();
            warnings.push(Warning {
                place: place.clone(),
                oddity: Oddity::Unreachable { name, by, by_name },
            });
        }
        if let (Some(per_try), Some(request)) = (route.policy.per_try, route.policy.request)
            && request.as_millis() > 0
            && per_try >= request
        {
            let oddity = Oddity::PerTryTooLong { per_try, request };
            warnings.push(Warning { place: format!("{place}.timeouts"), oddity });
        }
    }
    warnings
}
