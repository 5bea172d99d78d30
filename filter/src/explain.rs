//! Explains a decision in words: the routes that did not match, the conditions that failed, and
//! each effect of the policy.

use serde::Serialize;

use crate::buffering::ACCEL;
use crate::config::{
    BufferingMode, DrainMode, DrainStateSpec, EventName, MatchSpec, NO_ROUTE, RetryOn, RouteName,
    Signal, Span,
};
use crate::decision::{HEADER, PROPERTY};
use crate::drain::{Command, Record};
use crate::error_pages::ErrorPages;
use crate::lingering::Lingering;
use crate::matching::conditions;
use crate::policy::{Policy, Retry};
use crate::request::RequestView;
use crate::reserved_headers;
use crate::rules::{ControlStore, DrainSettings, Rules};

/// The decision on one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The route that matched; `None` if the defaults apply.
    pub route: Option<String>,
    /// The routes before it, in order, each with the conditions that failed.
    pub tried: Vec<Mismatch>,
    /// The actions of the filter on the request and its response.
    pub effects: Vec<Effect>,
}

/// A route that did not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Its position in `routes`, from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// The conditions that failed, at least one.
    pub failed: Vec<FailedCondition>,
}

/// A condition that the request does not meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedCondition {
    /// The field in `match`: `hosts`, `path`, `methods`, `headers[0]`, `route_name` or `policy`.
    pub condition: String,
    /// The value in the request, as readable text.
    pub found: String,
    /// The requirement of the condition, as readable text.
    pub expected: String,
}

/// One effect of the rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// The field that causes it, such as `timeouts.request`.
    pub setting: String,
    /// The effect, as a sentence without a full stop.
    pub text: String,
}

/// All rules in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The routes in their order, then a row `default` for requests that match none.
    pub routes: Vec<SummaryRow>,
    /// The effects that all routes share.
    pub general: Vec<Effect>,
}

/// One route of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SummaryRow {
    /// The route's name.
    pub name: String,
    /// Its conditions.
    pub conditions: String,
    /// Its effects.
    pub effects: Vec<Effect>,
}

/// Explains the decision on `request`.
pub fn explain(rules: &Rules, request: &RequestView<'_>) -> Explanation {
    let matched = rules.match_route(request);
    let before = &rules.routes[..matched.unwrap_or(rules.routes.len())];
    let tried = before.iter().enumerate().map(|(index, route)| Mismatch {
        index,
        name: route.name.as_str().to_owned(),
        failed: failed_conditions(&route.conditions, request),
    });
    let mut effects = policy_effects(rules.policy(matched));
    effects.extend(removed_headers(request));
    effects.extend(general_effects(rules));
    Explanation {
        route: matched.and_then(|index| rules.route_name(index)).map(str::to_owned),
        tried: tried.collect(),
        effects,
    }
}

/// Describes every route with its conditions and effects.
pub fn summarize(rules: &Rules) -> Summary {
    let row = |name: &str, conditions: String, policy: &Policy| SummaryRow {
        name: name.to_owned(),
        conditions,
        effects: policy_effects(policy),
    };
    let routes = rules
        .routes
        .iter()
        .map(|route| row(route.name.as_str(), conditions_text(&route.conditions), &route.policy));
    let rest = row(NO_ROUTE, "any other request".into(), &rules.defaults);
    Summary { routes: routes.chain([rest]).collect(), general: general_effects(rules) }
}

fn effect(setting: &str, text: impl Into<String>) -> Effect {
    Effect { setting: setting.to_owned(), text: text.into() }
}

fn failed_conditions(spec: &MatchSpec, request: &RequestView<'_>) -> Vec<FailedCondition> {
    let failed = conditions(spec).filter(|condition| !condition.matches(request));
    let failed = failed.map(|condition| FailedCondition {
        condition: condition.place(),
        found: condition.found(request),
        expected: condition.expected(),
    });
    failed.collect()
}

fn conditions_text(spec: &MatchSpec) -> String {
    let texts: Vec<String> = conditions(spec).map(|condition| condition.expected()).collect();
    if texts.is_empty() { "any request".into() } else { texts.join(", ") }
}

fn policy_effects(policy: &Policy) -> Vec<Effect> {
    let effects = [
        response_buffering_effect(policy),
        request_buffering_effect(policy),
        request_timeout_effect(policy),
        per_try_timeout_effect(policy),
        read_timeout_effect(policy),
        send_timeout_effect(policy),
        first_event_effect(policy),
        event_gap_effect(policy),
        hold_headers_effect(policy),
        cut_effect(policy),
        retry_effect(policy),
    ];
    effects.into_iter().flatten().collect()
}

fn response_buffering_effect(policy: &Policy) -> Option<Effect> {
    let max = policy.max_bytes;
    let text = match policy.response_buffering? {
        BufferingMode::Off => {
            format!("streamed; sets {ACCEL}: no, so that proxies in front stream too")
        }
        BufferingMode::On => {
            format!(
                "buffered until complete if its declared length is at most {max} bytes, else streamed"
            )
        }
        BufferingMode::Auto => format!(
            "buffered until complete if its declared length is at most {max} bytes and its content type is not one of a stream, \
             else streamed; {ACCEL} from the upstream takes precedence"
        ),
    };
    Some(effect("buffering.response", text))
}

fn request_buffering_effect(policy: &Policy) -> Option<Effect> {
    let text = format!(
        "a body with a declared length is buffered until complete, or gets 413 if it exceeds {} bytes; \
         one without is streamed",
        policy.max_bytes
    );
    policy.buffer_request.then(|| effect("buffering.request", text))
}

fn request_timeout_effect(policy: &Policy) -> Option<Effect> {
    let text = match policy.request_timeout {
        None => {
            "not set, so the timeout of the proxy's own route applies (15s in Envoy by default)"
                .into()
        }
        Some(timeout) if timeout.is_zero() => "no timeout for the whole request".into(),
        Some(timeout) => format!("504 if the response is not complete after {timeout}"),
    };
    Some(effect("timeouts.request", text))
}

fn per_try_timeout_effect(policy: &Policy) -> Option<Effect> {
    let timeout = policy.per_try_timeout?;
    let text = match timeout.is_zero() {
        true => "no timeout for one attempt".into(),
        false => format!("an attempt fails if its response has not started after {timeout}"),
    };
    Some(effect("timeouts.per_try", text))
}

fn read_timeout_effect(policy: &Policy) -> Option<Effect> {
    let timeout = policy.idle_timeouts.read?;
    let text = format!(
        "504 if the upstream sends nothing for {timeout}; cut if the response has started; \
         of a response with a declared length, the first {} bytes are watched",
        policy.max_bytes
    );
    Some(effect("timeouts.read", text))
}

fn send_timeout_effect(policy: &Policy) -> Option<Effect> {
    let timeout = policy.idle_timeouts.send?;
    let text = format!(
        "504 if no chunk of an incomplete request reaches the upstream for {timeout}; cut if the response has started"
    );
    Some(effect("timeouts.send", text))
}

fn first_event_effect(policy: &Policy) -> Option<Effect> {
    let timeout = policy.event_timeouts.first?;
    let after = match policy.holds_headers() {
        true => "",
        false => "; cut if the response has started",
    };
    let text = format!(
        "504 if no event arrives within {timeout} after the request{after}{}",
        counted_events(policy)
    );
    Some(effect("timeouts.first_event", text))
}

fn event_gap_effect(policy: &Policy) -> Option<Effect> {
    let timeout = policy.event_timeouts.gap?;
    let counted = match policy.event_timeouts.first {
        None => counted_events(policy),
        Some(_) => String::new(),
    };
    let text = format!(
        "cut if no further event arrives for {timeout}; of a response with a declared length, the first {} bytes are \
         watched{counted}",
        policy.max_bytes
    );
    Some(effect("timeouts.event_gap", text))
}

fn counted_events(policy: &Policy) -> String {
    let names: Vec<&str> = policy.ignored_events.iter().map(EventName::as_str).collect();
    let ignored =
        if names.is_empty() { String::new() } else { format!(" other than {}", names.join(", ")) };
    format!(
        "; counts events with data{ignored} and lines that are not blank, and otherwise all bytes"
    )
}

fn hold_headers_effect(policy: &Policy) -> Option<Effect> {
    let text = format!(
        "the response headers wait for the first event, or for {} bytes; in Envoy, requires \
         allow_on_headers_stop_iteration: true",
        policy.max_bytes
    );
    policy.holds_headers().then(|| effect("buffering.hold_headers", text))
}

fn cut_effect(policy: &Policy) -> Option<Effect> {
    let bound = policy.bound.as_ref()?;
    let mut text: String = match bound.within_ms() {
        None => "a drain cuts an event stream between two events, and JSON lines between two lines"
            .into(),
        Some(ms) => format!(
            "in a drain, a stream may last {} after its connection is due; it then ends after a whole event, line, \
             gRPC message or WebSocket frame, or a second later in any case; WebSockets get code {}",
            Span::from_millis(ms),
            bound.close_code()
        ),
    };
    if let Some(event) = bound.last_event() {
        text.push_str(&format!("; event streams end with {event:?}"));
    }
    Some(effect("drain", text))
}

fn retry_effect(policy: &Policy) -> Option<Effect> {
    let text = match policy.retry.as_ref()? {
        Retry::Off => "1 attempt; ends the retries of the proxy's own route too".into(),
        Retry::On(retries) => {
            let on = retries.on.iter().map(|on| match (on, &retries.status) {
                (RetryOn::RetriableStatusCodes, Some(statuses)) => {
                    let statuses: Vec<_> =
                        statuses.iter().map(|status| status.value().to_string()).collect();
                    format!("status {}", statuses.join(", "))
                }
                _ => on.word().to_owned(),
            });
            let on: Vec<String> = on.collect();
            format!(
                "up to {} attempts; retried after {}, and after what the proxy's own route retries",
                retries.attempts.value(),
                on.join(" or ")
            )
        }
    };
    Some(effect("retry", text))
}

fn removed_headers(request: &RequestView<'_>) -> Option<Effect> {
    let names = request.headers.iter().map(|(name, _)| name);
    let names = names.filter(|name| reserved_headers::is_reserved(name));
    let names: Vec<_> = names.map(String::from_utf8_lossy).collect();
    let text = format!("removed, because clients must not send them: {}", names.join(", "));
    (!names.is_empty()).then(|| effect("headers", text))
}

fn general_effects(rules: &Rules) -> Vec<Effect> {
    let mut effects = rules.drain.as_ref().map(drain_effects).unwrap_or_default();
    if let Some(health) = &rules.health {
        let text = format!(
            "while the proxy terminates, {} gets {}; otherwise {}",
            health.path.as_str(),
            health.drain_status,
            if health.local { "200" } else { "the upstream's response" }
        );
        effects.push(effect("health", text));
    }
    effects.extend(rules.error_pages.as_ref().map(error_pages_effect));
    if let Some(Lingering { max_bytes, timeout }) = rules.lingering {
        let text = format!(
            "the filter receives up to {max_bytes} bytes of a refused upload for at most {timeout} before it \
             replies, if the proxy delivers them"
        );
        effects.push(effect("lingering", text));
    }
    if rules.report.access_log {
        let text = format!("the decision is in the stream's property {PROPERTY}");
        effects.push(effect("report.access_log", text));
    }
    if rules.report.header {
        let text = format!("the decision is in the response header {HEADER}");
        effects.push(effect("report.header", text));
    }
    effects
}

fn drain_effects(drain: &DrainSettings) -> Vec<Effect> {
    let mut effects = Vec::new();
    effects.extend(drain.state.as_ref().map(drain_state_effect));
    let signal = match drain.signal {
        Signal::Auto => {
            "connections close through the drain marker in Envoy, and through connection: close in other proxies"
        }
        Signal::Marker => {
            "connections close through the drain marker, which requires the drain bridge"
        }
        Signal::Header => "connections close through connection: close, in HTTP/1.x only",
    };
    effects.push(effect("drain.signal", signal));
    effects.push(effect(
        "drain.refresh",
        format!("workers read the drain record every {}", drain.refresh),
    ));
    effects.extend(drain.control.as_ref().map(control_effect));
    effects.extend(drain.admin.as_ref().map(|admin| {
        let path = admin.path.as_str();
        effect(
            "drain.admin",
            format!("{path} reads and changes the drain; requires the bearer token"),
        )
    }));
    effects
}

fn drain_state_effect(state: &DrainStateSpec) -> Effect {
    effect("drain.state", drain_state_text(state))
}

fn drain_state_text(state: &DrainStateSpec) -> String {
    let epoch = state.epoch.value();
    let record = Record::from_command(&Command::configured(state), epoch, 0);
    let spread = match record.map_or(0, |record| record.window_ms) {
        0 => "at once".to_owned(),
        ms => format!("spread over {}", Span::from_millis(ms)),
    };
    let which = match state.mode {
        DrainMode::Reload => {
            "each connection older than this epoch closes after a response".to_owned()
        }
        DrainMode::Terminate => "each connection closes after a response".to_owned(),
        DrainMode::Rebalance => {
            let percent = state.percent.map_or(0, |percent| percent.value());
            format!("{percent} % of the connections older than this epoch close after a response")
        }
        DrainMode::Off => return format!("epoch {epoch}: ends the previous drain"),
    };
    let routes = state.routes.as_ref().map_or(String::new(), |routes| {
        let names: Vec<&str> = routes.iter().map(RouteName::as_str).collect();
        format!(", only after responses of {}", names.join(", "))
    });
    format!("epoch {epoch}: {which}, {spread}{routes}")
}

fn control_effect(control: &ControlStore) -> Effect {
    let text = format!(
        "one worker polls the key {} of the {} store in cluster {} every {}, with a timeout of {}",
        control.key.as_str(),
        control.format.word(),
        control.cluster.as_str(),
        control.interval,
        control.timeout
    );
    effect("drain.control", text)
}

fn error_pages_effect(pages: &ErrorPages) -> Effect {
    let types: Vec<&str> = pages.content_types().collect();
    let text = match types.is_empty() {
        true => {
            "the reasons of failures are counted and reported; error responses keep their bodies"
                .into()
        }
        false => {
            format!(
                "error responses of the filter and the proxy have a body in {}",
                types.join(" or ")
            )
        }
    };
    effect("errors", text)
}
