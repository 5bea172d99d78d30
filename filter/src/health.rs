//! The reply to a load balancer's health check. While the proxy terminates, the reply takes the
//! instance out of rotation. The body of the reply to an HTTP request has the number of in-flight
//! requests, for a stop hook that waits until there are none.

use crate::drain::DrainView;
use crate::grpc_health::{Method, ServingStatus};
use crate::reply::LocalReply;
use crate::request::RequestView;
use crate::rules::Rules;
use crate::state::State;

/// A health check that the filter replies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthCheck {
    /// A request to the health path, and the status of its reply.
    Http(u16),
    /// A gRPC request, and the state that its reply reports.
    Grpc(Method, ServingStatus),
}

/// Decides whether `request` is a health check that the filter replies to: while a terminate is in
/// force, or if the configuration makes health checks local. Calls `now_ms` only if the result
/// depends on it.
pub fn check(
    rules: &Rules,
    drain: &DrainView,
    request: &RequestView<'_>,
    now_ms: impl FnOnce() -> Option<u64>,
) -> Option<HealthCheck> {
    let health = rules.health.as_ref()?;
    let method = Method::called_by(request);
    if method.is_none() && health.path.as_str().as_bytes() != request.path {
        return None;
    }
    let is_terminating = drain.is_terminating(now_ms);
    if !is_terminating && !health.local {
        return None;
    }
    Some(match (method, is_terminating) {
        (Some(method), true) => HealthCheck::Grpc(method, ServingStatus::NotServing),
        (Some(method), false) => HealthCheck::Grpc(method, ServingStatus::Serving),
        (None, true) => HealthCheck::Http(health.drain_status),
        (None, false) => HealthCheck::Http(200),
    })
}

/// The reply to a request for the health path.
pub fn reply(status: u16, state: &State<'_>) -> LocalReply {
    LocalReply::new(status, "application/json", state.to_json())
}
