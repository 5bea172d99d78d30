//! The reply to a load balancer's health check. While the proxy terminates, the status takes the
//! instance out of rotation, and the body shows a termination hook when no request is in flight.

use crate::drain::DrainView;
use crate::reply::LocalReply;
use crate::request::RequestView;
use crate::rules::Rules;
use crate::state::State;

/// The status of the filter's reply to `request`, if it is a health check that the filter replies
/// to: while a terminate is in force, or if the configuration makes health checks local. Calls
/// `now_ms` only if the result depends on it.
pub fn status(
    rules: &Rules,
    drain: &DrainView,
    request: &RequestView<'_>,
    now_ms: impl FnOnce() -> Option<u64>,
) -> Option<u16> {
    let health = rules.health.as_ref()?;
    if health.path.as_str().as_bytes() != request.path {
        return None;
    }
    if drain.is_terminating(now_ms) {
        return Some(health.drain_status);
    }
    health.local.then_some(200)
}

/// The reply to a health check.
pub fn reply(status: u16, state: &State<'_>) -> LocalReply {
    LocalReply::new(status, "application/json", state.to_json())
}
