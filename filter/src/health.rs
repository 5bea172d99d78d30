//! The answer to a load balancer's health check: while the proxy terminates, a status that takes the instance out, and a body from which a
//! terminate hook reads when nothing is in flight any more.

use crate::drain::Worker;
use crate::reply::LocalReply;
use crate::request::RequestView;
use crate::rules::Rules;
use crate::state::State;

/// The status with which the filter answers `request` itself: the health path, while a terminate is in force or where the upstream is not to
/// be asked.
pub fn status(config: &Rules, worker: &Worker, request: &RequestView<'_>) -> Option<u16> {
    let health = config.health.as_ref()?;
    if health.path.as_str().as_bytes() != request.path {
        return None;
    }
    match worker.terminating() {
        Some(_) => Some(health.drain_status),
        None => health.local.then_some(200),
    }
}

/// The answer.
pub fn answer(status: u16, state: &State<'_>) -> LocalReply {
    LocalReply::new(status, "application/json", state.to_json())
}
