//! The decisions over a stream in a form that an embedding host may ask for: one compact JSON object for the request and one for the
//! response. Simulators show them; an access log can, if the configuration asks for it. Else nothing is made.

use std::fmt::Write as _;

use crate::policy::Policy;
use crate::reason::Reason;
use crate::rules::Rules;
use crate::stream::ResponseEffects;

/// The foreign function by which a host is told. It is called once with no argument, to ask whether the host wants to know.
pub const FUNCTION: &str = "sluice_decision";

/// The property of a stream that says the same to an access log, where the configuration wants that.
pub const PROPERTY: &str = "sluice.decision";

/// The fields that say something by not being there: no limit of ours, no retry, and so on.
pub const OPTIONAL: [&str; 12] = [
    "route",
    "timeout_ms",
    "per_try_ms",
    "read_ms",
    "send_ms",
    "retry",
    "drain",
    "hold",
    "close",
    "accel",
    "epoch",
    "reason",
];

/// The response header that says the same as the property, where the configuration wants that.
pub const HEADER: &str = "x-sluice-decision";

/// How every decision over a request begins.
const BEGIN: &str = "{\"phase\":\"request\"";

/// The decision over a request, without a word on its body. Names and words in it come from small alphabets, so that nothing needs
/// escaping.
fn request(route: Option<&str>, policy: &Policy) -> String {
    let mut json = String::from(BEGIN);
    if let Some(route) = route {
        let _ = write!(json, ",\"route\":\"{route}\"");
    }
    let limits = [
        ("timeout_ms", policy.request_timeout),
        ("per_try_ms", policy.per_try_timeout),
        ("read_ms", policy.idle_timeouts.read),
        ("send_ms", policy.idle_timeouts.send),
    ];
    for (name, limit) in limits {
        if let Some(limit) = limit {
            let _ = write!(json, ",\"{name}\":{}", limit.as_millis());
        }
    }
    if let Some(retry) = &policy.retry {
        let on: Vec<&str> = retry.on.iter().map(|on| on.word()).collect();
        let attempts = retry.attempts.value();
        let _ = write!(json, ",\"retry\":\"{}\",\"attempts\":{attempts}", on.join(","));
    }
    if policy.cut_on_drain {
        json.push_str(",\"drain\":\"cut\"");
    }
    json
}

/// What is said of requests: the same for every request of a route, but for whether the body is held.
#[derive(Debug)]
pub struct Decisions {
    /// For each route, and then for requests without one, with a streamed and with a held body.
    requests: Vec<[Box<str>; 2]>,
}

impl Decisions {
    /// Writes down what can be decided under `config`.
    pub fn new(config: &Rules) -> Self {
        let named = config.routes.iter().map(|route| (Some(route.name.as_str()), &route.policy));
        let both = |(route, policy)| {
            let json = request(route, policy);
            [format!("{json}}}").into(), format!("{json},\"hold\":true}}").into()]
        };
        Self { requests: named.chain([(None, &config.defaults)]).map(both).collect() }
    }

    /// The decision over a request of `route`.
    pub fn request(&self, route: Option<usize>, hold: bool) -> &str {
        let last = self.requests.len() - 1;
        &self.requests[route.map_or(last, |index| index.min(last))][usize::from(hold)]
    }
}

/// The decision over a response. `accel` says that the filter itself asked the hops in front to stream.
pub fn response(effects: &ResponseEffects) -> &'static str {
    match (effects.hold, effects.close, effects.ask_to_stream) {
        (true, false, _) => r#"{"phase":"response","body":"hold"}"#,
        (true, true, _) => r#"{"phase":"response","body":"hold","close":true}"#,
        (false, false, false) => r#"{"phase":"response","body":"stream"}"#,
        (false, true, false) => r#"{"phase":"response","body":"stream","close":true}"#,
        (false, false, true) => r#"{"phase":"response","body":"stream","accel":"no"}"#,
        (false, true, true) => r#"{"phase":"response","body":"stream","close":true,"accel":"no"}"#,
    }
}

/// A decision, and what is known beside it: the drain in force, and why the stream failed.
pub fn with(decision: &str, epoch: Option<u64>, reason: Option<Reason>) -> String {
    let mut json = decision.strip_suffix('}').unwrap_or(decision).to_owned();
    if let Some(epoch) = epoch {
        let _ = write!(json, ",\"epoch\":{epoch}");
    }
    if let Some(reason) = reason {
        let _ = write!(json, ",\"reason\":\"{}\"", reason.word());
    }
    json.push('}');
    json
}

/// What is said of a stream that failed, at its end.
pub fn ended(reason: Reason) -> String {
    format!("{{\"reason\":\"{}\"}}", reason.word())
}

/// Both decisions over a stream as one object, for a log that has one line for it. Its `phase` says how far the stream came.
pub fn both(request: &str, response: Option<&str>) -> String {
    let both = response
        .and_then(|response| Some([response.strip_suffix('}')?, request.strip_prefix(BEGIN)?]));
    both.map_or_else(|| request.to_owned(), |both| both.concat())
}
