//! Which route a request gets: the first whose every condition holds.
//!
//! [`condition`] says what each condition means, once, for matching, for `explain` and for the warning about unreachable
//! routes; `router` finds the few routes that are worth asking, so that the cost does not grow with their number.

pub mod condition;
pub(crate) mod cover;
mod router;

pub(crate) use router::Router;
