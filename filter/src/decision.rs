//! The decisions on a stream as one compact JSON object: for a host that requests them, for an
//! access log, or for a response header. Without any of these, no JSON is created.

use serde::Serialize;

use crate::boundary::Framing;
use crate::drain::Bound;
use crate::policy::{Policy, Retry};
use crate::reason::Reason;
use crate::rules::Rules;

/// The foreign function that receives each decision. The filter calls it once without an argument;
/// if the host has the function, it receives the decisions.
pub const FUNCTION: &str = "sluice_decision";

/// The property of a stream that an access log can print.
pub const PROPERTY: &str = "sluice.decision";

/// The response header with the decision.
pub const HEADER: &str = "x-sluice-decision";

/// The fields that a decision leaves out if they do not apply: no timeout, no retry, and the like.
pub const OPTIONAL: [&str; 17] = [
    "route",
    "timeout_ms",
    "per_try_ms",
    "read_ms",
    "send_ms",
    "first_event_ms",
    "event_gap_ms",
    "holds_headers",
    "retry",
    "retry_status",
    "drain",
    "within_ms",
    "hold",
    "close",
    "accel",
    "epoch",
    "reason",
];

/// The decision on response headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseDecision {
    /// Set `x-accel-buffering: no`, for the proxies in front.
    pub disable_buffering: bool,
    /// Remove a drain marker from the upstream.
    pub remove_marker: bool,
    /// Close the connection after this response.
    pub close: bool,
    /// Buffer the body.
    pub buffer: bool,
    /// Both directions stay open until one side closes.
    pub tunnel: bool,
    /// A drain may end the response, at these boundaries.
    pub cut: Option<Framing>,
    /// Timeouts count the events of the response, which is divided like this.
    pub events: Option<Framing>,
    /// The headers wait for the first event.
    pub holds_headers: bool,
}

/// The decision of the filter on a request, on its response, or on both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Decision<'a> {
    /// How far the stream got.
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'static str>,
    #[serde(skip_serializing_if = "is_false")]
    close: bool,
    #[serde(skip_serializing_if = "is_false")]
    holds_headers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    accel: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_try_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_event_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_gap_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    within_ms: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    hold: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

impl<'a> Decision<'a> {
    /// Adds the decision on the response.
    pub fn with_response(self, response: &ResponseDecision) -> Self {
        Self {
            phase: Some("response"),
            body: Some(if response.buffer { "hold" } else { "stream" }),
            close: response.close,
            holds_headers: response.holds_headers,
            accel: (response.disable_buffering && !response.buffer).then_some("no"),
            ..self
        }
    }

    /// Adds the epoch of the drain that closes connections.
    pub fn with_epoch(self, epoch: Option<u64>) -> Self {
        Self { epoch, ..self }
    }

    /// Adds why the stream failed.
    pub fn with_reason(self, reason: Option<Reason>) -> Self {
        Self { reason: reason.map(Reason::word), ..self }
    }

    /// The JSON object.
    pub fn to_json(&self) -> String {
        // Numbers, words and names always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The parts of decisions that are the same for every request of a route.
#[derive(Debug)]
pub struct Decisions {
    /// The retries of each route, and then those of the defaults.
    retries: Vec<RetryWords>,
}

/// The retries of a route, each list as one word.
#[derive(Debug, Default)]
struct RetryWords {
    on: Option<String>,
    statuses: Option<String>,
}

impl RetryWords {
    fn new(policy: &Policy) -> Self {
        let retry = policy.retry.as_ref();
        Self { on: retry.map(Retry::words), statuses: retry.and_then(Retry::statuses) }
    }
}

impl Decisions {
    /// Prepares the decisions of `rules`.
    pub fn new(rules: &Rules) -> Self {
        let policies = rules.routes.iter().map(|route| &route.policy).chain([&rules.defaults]);
        Self { retries: policies.map(RetryWords::new).collect() }
    }

    /// The decision on a request of `route`. `hold`: the filter buffers its body.
    pub fn request<'a>(
        &'a self,
        rules: &'a Rules,
        route: Option<usize>,
        hold: bool,
    ) -> Decision<'a> {
        let policy = rules.policy(route);
        let retries = self.retries.get(route.unwrap_or(rules.routes.len()));
        Decision {
            phase: Some("request"),
            route: route.and_then(|index| rules.route_name(index)),
            timeout_ms: policy.request_timeout.map(|timeout| timeout.as_millis()),
            per_try_ms: policy.per_try_timeout.map(|timeout| timeout.as_millis()),
            read_ms: policy.idle_timeouts.read.map(|timeout| timeout.as_millis()),
            send_ms: policy.idle_timeouts.send.map(|timeout| timeout.as_millis()),
            first_event_ms: policy.event_timeouts.first.map(|timeout| timeout.as_millis()),
            event_gap_ms: policy.event_timeouts.gap.map(|timeout| timeout.as_millis()),
            retry: retries.and_then(|retries| retries.on.as_deref()),
            retry_status: retries.and_then(|retries| retries.statuses.as_deref()),
            attempts: policy.retry.as_ref().map(Retry::attempts),
            drain: policy.bound.as_ref().map(|bound| bound.streams().word()),
            within_ms: policy.bound.as_ref().and_then(Bound::within_ms),
            hold,
            ..Decision::default()
        }
    }
}
