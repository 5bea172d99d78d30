//! The answer to "why did this request get that treatment?": each route that was tried, the condition that failed and with what,
//! and every effect of the policy that won, in words.

use serde::Serialize;

use crate::config::Config;
use crate::request::RequestView;

/// Why a request is treated as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The route that won; `None` when none matched and the defaults apply.
    pub route: Option<String>,
    /// The routes before the winner, in order, each with what ruled it out.
    pub tried: Vec<Tried>,
    /// What the filter does to this request and its response.
    pub effects: Vec<Effect>,
}

/// A route that did not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Position in `routes`, from 0.
    pub index: usize,
    /// The route's name.
    pub name: String,
    /// Every condition that failed, at least one.
    pub failed: Vec<FailedCondition>,
}

/// A condition that a request did not meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedCondition {
    /// Which one, as the configuration calls it: `hosts`, `path`, `methods`, `headers[0]`, `route_name`, `policy`.
    pub condition: String,
    /// What the request carried, for people to read.
    pub found: String,
    /// What the route asks for, for people to read.
    pub expected: String,
}

/// One thing that the filter does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// The setting behind it, as the configuration calls it: `timeouts.request`, `buffering.response`, …
    pub setting: String,
    /// What happens, as a sentence without a full stop.
    pub text: String,
}

/// A compiled configuration at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The routes in their order, then one row named `default` for requests that no route matches.
    pub routes: Vec<SummaryRow>,
    /// What holds for all routes: drain and health, in words.
    pub general: Vec<Effect>,
}

/// One route of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SummaryRow {
    /// The route's name.
    pub name: String,
    /// Its conditions, in words; `any request` when it has none.
    pub conditions: String,
    /// What it does.
    pub effects: Vec<Effect>,
}

impl Config {
    /// Explains what happens to `request`, condition by condition.
    pub fn explain(&self, request: &RequestView<'_>) -> Explanation {
        let _ = request;
        Explanation { route: None, tried: Vec::new(), effects: Vec::new() }
    }

    /// Every route with its conditions and effects in words.
    pub fn summary(&self) -> Summary {
        Summary { routes: Vec::new(), general: Vec::new() }
    }
}
