//! Selects the route of a request: the first whose conditions all match.
//!
//! `condition` defines when a condition matches. Matching, `explain` and the lint share that
//! definition. `router` finds the few routes whose conditions have to be checked, so that the cost
//! does not grow with the number of routes.

mod condition;
mod router;

pub use condition::{
    Condition, conditions, host_matches, literal_prefix, matches, path_matches, value_matches,
};
pub(crate) use router::Router;
