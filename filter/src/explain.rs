//! The answer to "why did this request get that treatment?": each route that was tried, the condition that failed and with what,
//! and every effect of the policy that won, in words.

use serde::Serialize;

use crate::buffering;
use crate::config::spec::{BufferingMode, DrainMode, DrainStateSpec, MatchSpec, Signal};
use crate::config::{Config, Control, NO_ROUTE, RouteName};
use crate::decision::{HEADER, PROPERTY};
use crate::drain::Command;
use crate::policy::Policy;
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
        let winner = self.route(request);
        let before = &self.routes[..winner.unwrap_or(self.routes.len())];
        let tried = before.iter().enumerate().map(|(index, route)| Tried {
            index,
            name: route.name.as_str().to_owned(),
            failed: failures(&route.conditions, request),
        });
        let mut effects = policy_effects(self.policy(winner));
        effects.extend(reserved(request));
        effects.extend(self.general_effects());
        Explanation {
            route: winner.and_then(|index| self.route_label(index)).map(str::to_owned),
            tried: tried.collect(),
            effects,
        }
    }

    /// Every route with its conditions and effects in words.
    pub fn summary(&self) -> Summary {
        let row = |name: &str, conditions: String, policy: &Policy| SummaryRow {
            name: name.to_owned(),
            conditions,
            effects: policy_effects(policy),
        };
        let routes = self
            .routes
            .iter()
            .map(|route| row(route.name.as_str(), in_words(&route.conditions), &route.policy));
        let rest = row(NO_ROUTE, "any other request".into(), &self.defaults);
        Summary { routes: routes.chain([rest]).collect(), general: self.general_effects() }
    }

    fn general_effects(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(drain) = &self.drain {
            if let Some(state) = &drain.state {
                effects.push(effect("drain.state", drain_in_words(state)));
            }
            let signal = match drain.signal {
                Signal::Auto => {
                    "a drain closes connections by the marker header under Envoy, by connection: close elsewhere"
                }
                Signal::Marker => {
                    "a drain closes connections by the marker header, which needs the drain bridge"
                }
                Signal::Header => {
                    "a drain closes connections by connection: close, on HTTP/1.x only"
                }
            };
            effects.push(effect("drain.signal", signal.into()));
            effects.push(effect(
                "drain.refresh",
                format!("workers look at the drain record every {}", drain.refresh),
            ));
            effects.extend(drain.control.as_ref().map(control_in_words));
            effects.extend(drain.admin.as_ref().map(|admin| {
                let path = admin.path.as_str();
                effect(
                    "drain.admin",
                    format!("{path} shows and changes the drain for who has the token"),
                )
            }));
        }
        if let Some(health) = &self.health {
            let text = format!(
                "while the proxy terminates, {} answers {}; otherwise {}",
                health.path.as_str(),
                health.drain_status,
                if health.local { "200" } else { "the upstream does" }
            );
            effects.push(effect("health", text));
        }
        if let Some(errors) = &self.errors {
            effects.push(effect("errors", errors.in_words()));
        }
        if self.report.access_log {
            let text = format!("decisions are in the property {PROPERTY} of each stream");
            effects.push(effect("report.access_log", text));
        }
        if self.report.header {
            let text = format!("decisions are in the response header {HEADER}");
            effects.push(effect("report.header", text));
        }
        effects
    }
}

fn control_in_words(control: &Control) -> Effect {
    let text = format!(
        "one worker asks the cluster {} for the key {} every {}, as {} does it, for at most {}",
        control.cluster.as_str(),
        control.key.as_str(),
        control.interval,
        control.format.word(),
        control.timeout
    );
    effect("drain.control", text)
}

fn effect(setting: &str, text: String) -> Effect {
    Effect { setting: setting.to_owned(), text }
}

fn failures(conditions: &MatchSpec, request: &RequestView<'_>) -> Vec<FailedCondition> {
    let failed = conditions.conditions().filter(|condition| !condition.holds(request));
    let failed = failed.map(|condition| FailedCondition {
        condition: condition.place(),
        found: condition.found(request),
        expected: condition.expected(),
    });
    failed.collect()
}

fn in_words(conditions: &MatchSpec) -> String {
    let words: Vec<String> =
        conditions.conditions().map(|condition| condition.expected()).collect();
    if words.is_empty() { "any request".into() } else { words.join(", ") }
}

fn policy_effects(policy: &Policy) -> Vec<Effect> {
    let mut effects = Vec::new();
    let max = policy.max_bytes;
    match policy.response {
        None => {}
        Some(BufferingMode::Off) => effects.push(effect(
            "buffering.response",
            format!("streamed, and {}: no tells the hops in front", buffering::ACCEL),
        )),
        Some(BufferingMode::On) => {
            let text = format!(
                "held until complete if its declared length is at most {max} bytes, else streamed"
            );
            effects.push(effect("buffering.response", text));
        }
        Some(BufferingMode::Auto) => {
            let text = format!(
                "held until complete if its declared length is at most {max} bytes and it is no stream by its type, \
                 else streamed; {} of the upstream decides first",
                buffering::ACCEL
            );
            effects.push(effect("buffering.response", text));
        }
    }
    if policy.hold_request {
        let text = format!(
            "a body with a declared length is held until complete, over {max} bytes it gets 413; \
             one without passes as it comes"
        );
        effects.push(effect("buffering.request", text));
    }
    if let Some(limit) = policy.request {
        let text = if limit.as_millis() == 0 {
            "no limit for the whole request".into()
        } else {
            format!("504 when the whole response has not come after {limit}")
        };
        effects.push(effect("timeouts.request", text));
    }
    if let Some(limit) = policy.per_try {
        let text = if limit.as_millis() == 0 {
            "no limit for one try".into()
        } else {
            format!("a try ends when the response has not begun after {limit}")
        };
        effects.push(effect("timeouts.per_try", text));
    }
    if let Some(limit) = policy.limits.read {
        let text = format!(
            "504 when nothing has come from the upstream for {limit}, a cut once the response has begun; \
             of a download the first {} bytes are watched",
            policy.max_bytes
        );
        effects.push(effect("timeouts.read", text));
    }
    if let Some(limit) = policy.limits.send {
        let text = format!(
            "504 when nothing of an incomplete request has gone to the upstream for {limit}, a cut once the response has begun"
        );
        effects.push(effect("timeouts.send", text));
    }
    if policy.cut {
        let text = "a drain cuts an event stream between two events, JSON lines between two lines";
        effects.push(effect("drain", text.into()));
    }
    if let Some(retry) = &policy.retry {
        let text = match retry.attempts.value() {
            1 => "one try, no retry".into(),
            attempts => {
                let on: Vec<&str> = retry.on.iter().map(|on| on.word()).collect();
                format!("up to {attempts} tries in all, after {}", on.join(" or "))
            }
        };
        effects.push(effect("retry", text));
    }
    effects
}

fn reserved(request: &RequestView<'_>) -> Option<Effect> {
    let names = request.headers.iter().map(|(name, _)| name.as_str());
    let names: Vec<&str> = names.filter(|name| crate::hygiene::is_reserved(name)).collect();
    let text = format!(
        "taken from the client's request, it is not the client's to send: {}",
        names.join(", ")
    );
    (!names.is_empty()).then(|| effect("headers", text))
}

fn drain_in_words(state: &DrainStateSpec) -> String {
    let epoch = state.epoch.value();
    let record = Command::configured(state).record(epoch, 0);
    let spread = match record.map_or(0, |record| record.window_ms) {
        0 => "at once".to_owned(),
        ms => format!("spread over {}", crate::config::span::Span::from_millis(ms)),
    };
    let which = match state.mode {
        DrainMode::Reload => {
            "every connection older than this epoch is closed after a response".to_owned()
        }
        DrainMode::Terminate => "every connection is closed after a response".to_owned(),
        DrainMode::Rebalance => {
            let percent = state.percent.map_or(0, |percent| percent.value());
            format!(
                "{percent} % of the connections older than this epoch are closed after a response"
            )
        }
        DrainMode::Off => return format!("epoch {epoch} ends any drain before it"),
    };
    let routes = state.routes.as_ref().map_or(String::new(), |routes| {
        let names: Vec<&str> = routes.iter().map(RouteName::as_str).collect();
        format!(", by responses of {} only", names.join(", "))
    });
    format!("epoch {epoch}: {which}, {spread}{routes}")
}
