//! The decisions over a stream in a form that an embedding host may ask for: one compact JSON object for the request and one for the
//! response. Simulators show them; proxies do not ask, and nothing is made then.

use std::fmt::Write as _;

use crate::policy::Policy;

/// The foreign function by which a host is told. It is called once with no argument, to ask whether the host wants to know.
pub const FUNCTION: &str = "sluice_decision";

/// The decision over a request. Names and words in it come from small alphabets, so that nothing needs escaping.
pub(crate) fn request(route: Option<&str>, policy: &Policy, hold: bool) -> String {
    let mut json = String::from("{\"phase\":\"request\"");
    let mut put = |key: &str, value: &dyn std::fmt::Display, quote: &str| {
        let _ = write!(json, ",\"{key}\":{quote}{value}{quote}");
    };
    if let Some(route) = route {
        put("route", &route, "\"");
    }
    if let Some(limit) = policy.request {
        put("timeout_ms", &limit.as_millis(), "");
    }
    if let Some(limit) = policy.per_try {
        put("per_try_ms", &limit.as_millis(), "");
    }
    if let Some(retry) = &policy.retry {
        let on: Vec<&str> = retry.on.iter().map(|on| on.word()).collect();
        put("retry", &on.join(","), "\"");
        put("attempts", &retry.attempts.value(), "");
    }
    if hold {
        put("hold", &true, "");
    }
    json.push('}');
    json
}

/// The decision over a response.
pub(crate) fn response(hold: bool, close: bool) -> String {
    let body = if hold { "hold" } else { "stream" };
    let close = if close { ",\"close\":true" } else { "" };
    format!("{{\"phase\":\"response\",\"body\":\"{body}\"{close}}}")
}
