//! Rewrites a trace so that a real Envoy can run it. The simulator runs the same rewritten trace.
//!
//! - A long trace is scaled: all its times, all timeouts in its configurations, and those of its
//!   proxy. The interval of ticks stays, and so do Envoy's default timeouts.
//! - A drain record in shared data becomes a configuration with that drain, because only a plugin
//!   can write the shared data of an Envoy.
//! - A drain closes connections without a window: the time of a close depends on the connection id,
//!   which differs.
//! - A refused connection is refused without a pause.
//! - Metric checks are removed, because the counters of an Envoy include all earlier traces.

use std::time::Duration;

use serde_json::{Value, json};

/// The shortest window that a configuration accepts.
const SHORTEST_WINDOW: &str = "1ms";

/// Rewrites a trace and its first configuration, with all times divided by `factor`.
///
/// # Panics
/// If the trace writes shared data other than a drain record.
pub(super) fn for_real_proxy(text: &str, configuration: &Value, factor: f64) -> (String, Value) {
    let first = rewritten_configuration(configuration, factor);
    let mut in_force = first.clone();
    let text = map_events(text, |event| {
        scale(event, "at", factor);
        if event.get("metrics").is_some() {
            return false;
        }
        if let Some(proxy) = event.get_mut("proxy") {
            scale_proxy(proxy, factor);
            return true;
        }
        if event.get("shared_data").is_some() {
            push_drain(event, &in_force);
        }
        match event.get_mut("configure") {
            Some(pushed) => {
                *pushed = rewritten_configuration(pushed, factor);
                if event.pointer("/expect/accepted") != Some(&json!(false)) {
                    in_force = event["configure"].clone();
                }
            }
            None => scale_exchange(event, factor),
        }
        true
    });
    (text, first)
}

/// Changes the pause before each response of the upstreams.
pub(super) fn with_reply_delay(text: &str, pause: impl Fn(Duration) -> Duration) -> String {
    map_events(text, |event| {
        for attempt in attempts(event) {
            let after = attempt.get("after").and_then(Value::as_str).unwrap_or("0s");
            let after = humantime::parse_duration(after).expect("the trace has been parsed before");
            attempt["after"] = json!(format!("{}ns", pause(after).as_nanos()));
        }
        true
    })
}

/// Removes these exchanges.
pub(super) fn without_exchanges(text: &str, ids: &[String]) -> String {
    map_events(text, |event| !ids.iter().any(|id| event.get("id").is_some_and(|found| found == id)))
}

/// Changes each event in place; an event is removed if `keep` returns false.
fn map_events(text: &str, mut keep: impl FnMut(&mut Value) -> bool) -> String {
    let events = text.lines().filter(|line| !line.trim().is_empty()).filter_map(|line| {
        let mut event: Value =
            serde_json::from_str(line).expect("the trace has been parsed before");
        keep(&mut event).then(|| format!("{event}\n"))
    });
    events.collect()
}

/// The upstream's attempts in an event.
fn attempts(event: &mut Value) -> &mut [Value] {
    match event.get_mut("upstream") {
        Some(Value::Array(attempts)) => attempts,
        Some(one) => std::slice::from_mut(one),
        None => &mut [],
    }
}

/// Replaces a write of the drain record by a configuration push.
fn push_drain(event: &mut Value, in_force: &Value) {
    let fields = event.as_object_mut().expect("an event is an object");
    let write = fields.remove("shared_data").unwrap_or_default();
    assert_eq!(write["key"], "sluice.drain", "a real Envoy cannot be made to write {write}");
    let mut state = write["value"].clone();
    let record = state.as_object_mut().expect("a drain record is an object");
    record.retain(|name, _| matches!(name.as_str(), "epoch" | "mode" | "percent" | "routes"));
    let mut draining = in_force.clone();
    draining["drain"]["state"] = state;
    fields.insert("configure".to_owned(), draining);
}

fn scale_exchange(event: &mut Value, factor: f64) {
    event.as_object_mut().expect("an event is an object").remove("expect");
    if let Some(request) = event.get_mut("request") {
        scale_body(request, factor);
    }
    for attempt in attempts(event) {
        if attempt.get("end").is_some_and(|end| end == "refused") {
            attempt["after"] = json!("0s");
        }
        scale(attempt, "after", factor);
        scale_body(attempt, factor);
    }
}

fn scale_body(message: &mut Value, factor: f64) {
    let chunks = message.get_mut("body").and_then(Value::as_array_mut);
    chunks.into_iter().flatten().for_each(|chunk| scale(chunk, "after", factor));
}

fn rewritten_configuration(configuration: &Value, factor: f64) -> Value {
    let mut configuration = configuration.clone();
    let routes = configuration.get_mut("routes").and_then(Value::as_array_mut);
    let timeouts = routes.into_iter().flatten().filter_map(|route| route.get_mut("timeouts"));
    timeouts.for_each(|timeouts| scale_timeouts(timeouts, factor));
    if let Some(timeouts) = configuration.pointer_mut("/defaults/timeouts") {
        scale_timeouts(timeouts, factor);
    }
    if let Some(Value::Object(state)) = configuration.pointer_mut("/drain/state")
        && state.get("mode").is_some_and(|mode| mode != "off" && mode != "terminate")
    {
        state.insert("window".to_owned(), json!(SHORTEST_WINDOW));
    }
    configuration
}

fn scale_proxy(proxy: &mut Value, factor: f64) {
    let fields = [
        "route_timeout",
        "max_grpc_timeout",
        "route_idle_timeout",
        "stream_idle_timeout",
        "request_timeout",
        "max_stream_duration",
    ];
    fields.into_iter().for_each(|field| scale(proxy, field, factor));
    if let Some(policy) = proxy.get_mut("retry_policy") {
        scale(policy, "per_try_timeout", factor);
    }
}

/// A configuration has no unit below a millisecond.
fn scale_timeouts(timeouts: &mut Value, factor: f64) {
    for (_, timeout) in timeouts.as_object_mut().into_iter().flatten() {
        if let Some(span) = timeout.as_str().and_then(|text| humantime::parse_duration(text).ok()) {
            // 0s disables the timeout and must stay; other timeouts must not become 0s.
            let least = u128::from(!span.is_zero());
            *timeout = json!(format!("{}ms", span.div_f64(factor).as_millis().max(least)));
        }
    }
}

fn scale(value: &mut Value, field: &str, factor: f64) {
    let Some(text) = value.get(field).and_then(Value::as_str) else { return };
    let span = humantime::parse_duration(text).expect("the trace has been parsed before");
    let scaled: Duration = span.div_f64(factor);
    value[field] = json!(format!("{}ns", scaled.as_nanos()));
}
